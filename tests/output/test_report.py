from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import OutputError
from blemish.output.report import ReportData, build_report, render, write_report
from blemish.output.report.data import heat_scale
from blemish.output.report.page import bars
from blemish.output.report.shapes import Shape, measure_image
from blemish.output.report.words import compare_shapes, describe_shape, percent
from blemish.output.write import write_outputs
from blemish.results import Result, Skipped
from helpers.results import HOSTILE_NAMES, loader, make_result

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
]


class Page(HTMLParser):
    """Ids, links, attribute values and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.labels: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.headings: list[int] = []
        self.missing_alt = 0
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.labels += [values["aria-labelledby"]] if "aria-labelledby" in values else []
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.sources += [values["src"]] if "src" in values else []
        self.handlers += [key for key in values if key.startswith("on")]
        self.missing_alt += tag == "img" and not values.get("alt")
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def page_of(result: Result, photos: bool = True) -> tuple[str, Page]:
    text = render(build_report(result, loader(result) if photos else None))
    return text, Page(text)


def test_data_survive_json() -> None:
    result = make_result(5, (3,), paths=HOSTILE_NAMES)
    data = build_report(result, loader(result, vanished=(1,)))
    again = ReportData.model_validate_json(data.model_dump_json())
    assert again == data
    assert render(again) == render(data)
    assert data.not_drawn == 1


def test_numbers_come_from_the_result() -> None:
    result = make_result(9, (4, 2))
    data = build_report(result)
    assert (data.images, data.anomalous, data.types) == (15, 6, 2)
    assert [(g.name, g.count) for g in data.groups] == [("type 1", 4), ("type 2", 2), ("normal", 9)]
    assert [r.score for r in data.rows] == sorted(map(float, result.scores), reverse=True)
    assert sum(data.histogram.normal) == 9
    assert sum(data.histogram.anomalous) == 6
    assert [g.shape.regions for g in data.groups[:2]] == [1, 2]
    assert data.groups[0].description.startswith("Long and thin, one region")
    assert data.groups[1].description.startswith("Compact, 2 regions")
    assert data.groups[2].description == "No pixel lies above the threshold."


def test_page_needs_no_network_and_its_links_resolve() -> None:
    text, page = page_of(make_result(source="/photos/leather"))
    assert not re.search(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", re.sub(r'data:image/[^"]+', "", text), re.IGNORECASE)
    assert "@import" not in text
    assert "url(" not in text
    assert all(source.startswith("data:image/") for source in page.sources)
    assert len(page.sources) == 2 * 12
    fragments = [link[1:] for link in page.links if link.startswith("#")]
    assert fragments
    assert set(fragments) <= set(page.ids)
    assert [link for link in page.links if not link.startswith("#")] == ["images.csv"]
    assert len(page.ids) == len(set(page.ids))


def test_headings_are_nested_and_pictures_have_a_text() -> None:
    _, page = page_of(make_result())
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(page.headings, page.headings[1:], strict=False))
    assert page.missing_alt == 0


def test_sections_are_named_by_their_headings() -> None:
    text, page = page_of(make_result())
    assert len(page.labels) == page.tags.count("section") + page.tags.count("article") + page.tags.count("dialog")
    assert set(page.labels) <= set(page.ids)
    assert text.count("labelledby=") == len(page.labels)


def test_hostile_names_are_text() -> None:
    result = make_result(
        5,
        (3,),
        paths=HOSTILE_NAMES,
        source="/x/<img src=x onerror=alert(2)>",
        skipped=[Skipped("<script>a", "<b>reason</b>")],
        info={"<i>key</i>": {"</script>": "</style><script>"}},
    )
    text, page = page_of(result)
    assert page.tags.count("script") == 1
    assert not page.handlers
    assert not {"b", "i"} & set(page.tags)
    assert any("<script>alert(1)</script>.png" in part for part in page.texts)
    assert r"line\nbreak\r.png" in text
    text.encode("utf-8")


def test_numbers_are_never_rounded_to_perfect() -> None:
    assert percent(9999 / 10000) == "99.9%"
    assert percent(0.999999) == "99.9%"
    assert percent(1 / 10000) == "< 0.1%"
    assert percent(0.29) == "29.0%"  # 0.29 * 1000 is below 290 in binary
    labels = np.repeat([0, 1], [1, 1999])
    text, _ = page_of(_plain_result(2000, labels=labels, is_anomalous=labels == 1), photos=False)
    assert "(99.9%)" in text
    assert "(100%)" not in text


def _plain_result(count: int, **changes: object) -> Result:
    base = make_result(1, ())
    scores = np.linspace(0, 1, count, dtype=np.float32)
    fields: dict[str, object] = {
        "paths": [f"{i:05d}.png" for i in range(count)],
        "sizes": np.tile(base.sizes, (count, 1)),
        "scores": scores,
        "maps": [base.maps[0]] * count,
        "labels": np.zeros(count, dtype=np.int64),
        "is_anomalous": np.zeros(count, dtype=bool),
        "distances": 1 - scores,
        "descriptors": np.zeros((count, 2), np.float32),
    }
    return dataclasses.replace(base, **{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "result",
    [
        make_result(4, (), skipped=[]),
        make_result(0, (3, 2)),
        make_result(1, ()),
        make_result(0, (1,)),
        make_result(3, (), maps=[np.zeros((4, 5), np.float32)] * 3, scores=np.zeros(3, np.float32), threshold=0.0),
        make_result(1, (1,), maps=[np.ones((1, 1), np.float32), np.ones((7, 3), np.float32)]),
        make_result(2, (1,), sizes=np.array([[1, 1], [2000, 3], [5, 900]])),
        make_result(1, (1,), threshold=float("inf")),
        make_result(2, (1,) * 12),
    ],
    ids=["normal", "anomalous", "one", "one-anomalous", "zero-maps", "shapes", "sizes", "no-threshold", "many-types"],
)
def test_corner_cases_give_a_page(result: Result, tmp_path: Path) -> None:
    write_outputs(result, tmp_path / "out", load_image=loader(result))
    text = write_report(result, tmp_path / "out", loader(result)).read_text(encoding="utf-8")
    page = Page(text)
    assert {f"type-{label}" for label in range(result.n_clusters)} <= set(page.ids)
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "nan" not in "".join(page.texts[2:]).lower()
    low, high = heat_scale(result)
    assert 0 <= low < high < np.inf


def test_large_sets_show_a_sample_and_say_so() -> None:
    count = 10_000
    labels = np.repeat([0, 1, 2], [8000, 1500, 500])
    result = _plain_result(count, labels=labels, is_anomalous=labels > 0)
    loaded: list[int] = []

    def load(i: int) -> np.ndarray:
        loaded.append(i)
        return np.full((96, 128, 3), 0.5, np.float32)

    start = time.perf_counter()
    text = render(data := build_report(result, load))
    assert time.perf_counter() - start < 20
    assert len(loaded) == 72
    assert len(data.rows) == 2000
    assert text.count("24 of ") == 3
    assert "with the highest scores of 10000" in text
    assert "Shape measured on 100 of 8000 images" in text
    assert len(text) < 3_000_000


def test_gallery_shows_the_most_typical_then_the_highest_scores() -> None:
    distances = np.random.default_rng(1).permutation(60).astype(np.float32)
    scores = np.random.default_rng(2).permutation(60).astype(np.float32)
    pictures = build_report(_plain_result(60, distances=distances, scores=scores)).groups[0].pictures
    assert [p.distance for p in pictures[:18]] == list(range(18))
    others = sorted((float(s) for s, d in zip(scores, distances, strict=True) if d >= 18), reverse=True)
    assert [p.score for p in pictures[18:]] == others[:6]


def test_thumbnails_are_small_even_for_noise() -> None:
    result = make_result(1, (), size=(400, 600))
    noise = np.random.default_rng(0).random((400, 600, 3)).astype(np.float32) * 0.2 + 0.4
    photo = build_report(result, lambda _: noise).groups[0].pictures[0].photo
    assert photo is not None
    assert len(photo) * 3 / 4 < 12_000


def test_measures_agree_with_a_known_rectangle() -> None:
    values = np.zeros((64, 128), dtype=np.float32)
    values[30:34, 20:100] = 1
    result = make_result(0, (1,), size=(64, 128), maps=[values])
    measured = measure_image(result, 0)
    assert measured is not None
    area, regions, elongation = measured
    assert area == pytest.approx(4 * 80 / (64 * 128), rel=0.1)
    assert regions == 1
    assert elongation == pytest.approx(20, rel=0.15)


def test_words_compare_types_only_where_they_differ() -> None:
    small = Shape(measured=3, with_region=3, area=0.01, regions=1, elongation=1.2)
    large = small.model_copy(update={"area": 0.4})
    assert compare_shapes({"type 1": small, "type 2": small}) == {"type 1": "", "type 2": ""}
    words = compare_shapes({"type 1": small, "type 2": large})
    assert words == {"type 1": "Smallest area of all types.", "type 2": "Largest area of all types."}
    assert compare_shapes({"type 1": large}) == {"type 1": ""}
    assert "2 of 3 images measured" in describe_shape(small.model_copy(update={"with_region": 1}))


def test_histogram_bars_stack_to_the_counts() -> None:
    data = build_report(make_result(9, (4, 2)))
    drawn = bars(data.histogram)
    tallest = max(a + b for a, b in zip(data.histogram.normal, data.histogram.anomalous, strict=True))
    assert sum(low + high for _, _, low, high, _ in drawn) == pytest.approx(15 * 100 / tallest)


def test_report_is_reproducible_and_replaced(tmp_path: Path) -> None:
    result = make_result()
    write_outputs(result, tmp_path / "out")
    first = write_report(result, tmp_path / "out", loader(result)).read_bytes()
    slower = dataclasses.replace(result, timings={"features": 99.0})
    assert write_report(slower, tmp_path / "out", loader(result)).read_bytes() == first
    write_outputs(result, tmp_path / "out")
    assert not (tmp_path / "out" / "report.html").exists()


def test_report_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputError, match="not made by blemish"):
        write_report(make_result(1, ()), tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_browser_runs_the_page_without_errors(tmp_path: Path) -> None:
    result = make_result(5, (3,), paths=HOSTILE_NAMES)
    (tmp_path / "out").mkdir()
    report = write_report(result, tmp_path / "out", loader(result))
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", report.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.search(r'<html[^>]* class="js"', done.stdout)
    assert done.stdout.count('<button type="button" class="frame">') == len(HOSTILE_NAMES)
    assert 'type="search"' in done.stdout
    assert not re.search(r"CONSOLE", done.stderr), done.stderr
