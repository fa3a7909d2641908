from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import ConfigError, OutputError
from blemish.output.report import ReportData, render, write_report
from blemish.output.report.build import heat_scale
from blemish.output.report.looks import measure_look, median_look
from blemish.output.report.page import as_inline_script, as_json_script, page_script, page_texts, warnings
from blemish.output.report.projections import project
from blemish.output.report.tree import build_tree, mean_map, nearest, separation
from blemish.output.report.write import first_images
from blemish.output.write import write_outputs
from blemish.results import Result, Skipped
from helpers.reports import report_data, report_files, reviewed_result
from helpers.results import HOSTILE_NAMES, loader, make_result


class Page(HTMLParser):
    """Ids, links, attribute values, texts and embedded data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.labels: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.handlers: list[str] = []
        self.headings: list[int] = []
        self.scripts: dict[str, str] = {}
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.tags.append(tag)
        self.labels += [values["aria-labelledby"]] if "aria-labelledby" in values else []
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values["href"]] if "href" in values else []
        self.sources += [values["src"]] if "src" in values else []
        self.handlers += [key for key in values if key.startswith("on")]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "script":
            self._script = values.get("id", "main")

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, text: str) -> None:
        if self._script is not None:
            self.scripts[self._script] = self.scripts.get(self._script, "") + text


def test_data_survive_json() -> None:
    result = reviewed_result()
    text = report_files(result, loader(result, vanished=(1,)))["report.json"].decode()
    data = ReportData.model_validate_json(text)
    assert data.to_json() + "\n" == text
    assert data.not_drawn == 1
    assert data.images[1].photo is None
    assert (data.schema_name, data.schema_version) == ("blemish.report", 1)


def test_numbers_come_from_the_result() -> None:
    result = make_result(9, (4, 2))
    data = report_data(result, loader(result))
    assert [(g.label, g.name, g.count) for g in data.groups] == [(0, "normal", 9), (1, "type 1", 4), (2, "type 2", 2)]
    assert [row.path for row in data.images] == result.paths
    assert np.array_equal(np.array([row.score for row in data.images], np.float32), result.scores)
    assert sum(data.histogram.normal) == 9
    assert sum(data.histogram.anomalous) == 6
    first, second = data.groups[1].look, data.groups[2].look
    assert first is not None
    assert second is not None
    assert (first.regions, second.regions) == (1, 2)
    assert first.elongation > 3 > second.elongation
    assert first.lightness is not None
    assert first.lightness < -10  # the drawn defects are dark
    assert data.groups[0].look is None


def test_the_page_holds_the_same_data_as_the_file() -> None:
    result = reviewed_result(paths=None)
    files = report_files(result, loader(result), "folder")
    page = Page(files["report.html"].decode())
    assert json.loads(page.scripts["report"]) == json.loads(files["report.json"])
    assert {name for name in files if name.endswith(".jpg")} >= {
        row.photo for row in ReportData.model_validate_json(files["report.json"]).images
    }


def test_pictures_of_a_single_page_are_in_it() -> None:
    result = reviewed_result()
    files = report_files(result, loader(result), "single")
    assert set(files) == {"report.html", "report.json"}
    embedded = json.loads(Page(files["report.html"].decode()).scripts["page"])["pictures"]
    named = {row.photo for row in ReportData.model_validate_json(files["report.json"]).images}
    assert named <= set(embedded)
    assert all(base64.b64decode(uri.partition(",")[2])[:3] in (b"\xff\xd8\xff", b"\x89PN") for uri in embedded.values())


def test_a_single_page_holds_the_first_images_of_each_group_in_turn() -> None:
    result = make_result(6, (4, 2))
    chosen = first_images(result, 6)
    assert sorted(np.bincount(result.labels[list(chosen)])) == [2, 2, 2]
    nearest_normal = int(np.argmin(np.where(result.labels == 0, result.distances, np.inf)))
    assert nearest_normal in chosen
    assert len(first_images(result, 1000)) == 12


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match="folder or single"):
        report_files(make_result(1, ()), mode="zip")  # type: ignore[arg-type]


def test_page_needs_no_network_and_its_links_resolve() -> None:
    text = report_files(make_result(source="/photos/leather"), mode="folder")["report.html"].decode()
    page = Page(text)
    assert not re.search(
        r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text.replace("http://www.w3.org/2000/svg", ""), re.IGNORECASE
    )
    assert "@import" not in text
    assert "url(" not in text
    assert page.sources == []
    assert {link[1:] for link in page.links if link.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "unsafe-eval" not in policy[1]
    assert policy[1].count("unsafe-inline") == 1  # styles only


def test_headings_are_nested_and_sections_are_named() -> None:
    page = Page(report_files(make_result(), mode="folder")["report.html"].decode())
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert set(page.labels) <= set(page.ids)
    assert len(page.labels) >= page.tags.count("section") + page.tags.count("dialog")


def test_all_texts_are_in_one_file_and_all_of_them_are_used() -> None:
    texts, script = page_texts(), page_script()
    template = (Path(__file__).parents[2] / "src/blemish/output/report/report.html").read_text()
    asked = set(re.findall(r'\bt\("(\w+)"', script)) | set(re.findall(r'"(\w+)" \| text', template))
    asked |= {f"{key}_{form}" for key in re.findall(r'\bcount\("(\w+)"', script) for form in ("one", "other")}
    assert asked <= set(texts)
    known = re.sub(r"\s+", " ", script + template)
    built = re.compile(r"^(attention|sort|layout|view|theme|did|fact|key|fairly|un)?_?")
    unused = [key for key in texts if key not in asked and f'"{key}"' not in known and not built.match(key)[0]]  # type: ignore[index]
    assert {key.removesuffix("_one").removesuffix("_other") for key in unused} <= {
        "borderline",
        "skipped",
        "not_drawn",
        "single_image_type",
        "tiles",
        "given",
        "estimate",
        "stable",
        "regions",
        "scattered",
    }


def test_hostile_names_are_text() -> None:
    result = make_result(
        5,
        (3,),
        paths=HOSTILE_NAMES,
        source="/x/<img src=x onerror=alert(2)>",
        skipped=[Skipped("<script>a", "<b>reason</b>")],
        info={"<i>key</i>": {"</script>": "</style><script>"}},
        type_names={1: "</script><script>alert(3)</script>"},
    )
    text = report_files(result, mode="folder")["report.html"].decode()
    page = Page(text)
    assert page.tags.count("script") == 3  # data, texts, script
    assert not page.handlers
    assert not {"b", "i", "img"} & set(page.tags)
    rows = json.loads(page.scripts["report"])["images"]
    assert [row["path"] for row in rows[:6]] == HOSTILE_NAMES[:6]
    assert rows[4]["shown"] == r"line\nbreak\r.png"
    assert rows[6]["path"] == r"bad\udcff\udcfebytes.png"


def test_nothing_ends_a_script_element() -> None:
    assert as_json_script('{"a": "</script><!--&\u2028"}') == '{"a": "\\u003c/script\\u003e\\u003c!--\\u0026\\u2028"}'
    assert as_inline_script('x = "</script><!--"') == 'x = "<\\/script><\\!--"'


def test_warnings_say_what_a_reader_must_know() -> None:
    result = reviewed_result(drift_warning="The material has changed.", threshold_warning="Few images.")
    said = warnings(report_data(result))
    assert said[:2] == ["Few images.", "The material has changed."]
    assert any(text.startswith("2 images should be checked") for text in said)
    assert any("1 file could not be read" in text for text in said)
    assert any("single image" in text for text in warnings(report_data(make_result(3, (2, 1)))))
    assert warnings(report_data(make_result(3, (2,), skipped=[]))) == []


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
        make_result(3, (3,), descriptors=np.ones((6, 4), np.float32)),
        make_result(0, (3, 2), other_labels=np.zeros(5, np.int64)),
    ],
    ids=[
        "normal", "anomalous", "one", "one-anomalous", "zero-maps", "shapes", "sizes", "no-threshold", "many-types", "equal", "other-view",
    ],
)  # fmt: skip
def test_corner_cases_give_a_page(result: Result, tmp_path: Path) -> None:
    write_outputs(result, tmp_path / "out", load_image=loader(result))
    page = Page(write_report(result, tmp_path / "out", loader(result)).read_text(encoding="utf-8"))
    text = page.scripts["report"]
    assert "NaN" not in text
    assert "Infinity" not in text
    data = ReportData.model_validate_json(text)
    assert len(data.images) == len(result.paths)
    assert json.loads(data.to_json()) == json.loads(text)
    low, high = heat_scale(result)
    assert 0 <= low < high < np.inf


def test_large_sets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.output.report.projections.MAX_TSNE", 100)
    monkeypatch.setattr("blemish.output.report.tree.MAX_TREE", 80)
    labels = np.repeat([0, 1, 2], [60, 90, 50])
    descriptors = np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32) + 5 * labels[:, None]
    data = report_data(_plain_result(200, labels=labels, is_anomalous=labels > 0, descriptors=descriptors))
    assert data.projected == 100
    assert len(data.images) == 200
    assert data.tree is not None
    assert data.tree.sampled == 80
    assert sum(data.tree.leaves) == 140
    leaf = np.array([row.leaf for row in data.images[60:]])
    assert not set(leaf[:90]) & set(leaf[90:])  # images join the leaf of the most similar one


def test_thumbnails_are_small_even_for_noise() -> None:
    result = make_result(1, (), size=(400, 600))
    noise = np.random.default_rng(0).random((400, 600, 3)).astype(np.float32) * 0.2 + 0.4
    files = report_files(result, lambda _: noise, "folder")
    assert len(files["report_files/000000.jpg"]) < 14_000


def test_regions_have_crops_on_their_pixels() -> None:
    result = reviewed_result()
    row = report_data(result, loader(result)).images[17]
    assert [(one.box, one.label) for one in row.regions] == [((30, 20, 16, 12), 2), ((90, 50, 16, 12), 1)]
    for one in row.regions:
        assert one.crop_box is not None
        left, top, width, height = one.crop_box
        assert left <= one.box[0]
        assert top <= one.box[1]
        assert left + width >= one.box[0] + one.box[2]
        assert top + height >= one.box[1] + one.box[3]
    assert row.outline is not None
    assert row.outline.count("M") == 2
    assert row.outline.startswith("M30 20L46 20")


def test_measures_agree_with_a_known_rectangle() -> None:
    values = np.zeros((64, 128), dtype=np.float32)
    values[30:34, 20:100] = 1
    photo = np.full((64, 128, 3), 0.6, np.float32)
    photo[30:34, 20:100] = (0.8, 0.4, 0.4)
    look = measure_look(values, 0.5, photo, [], (64, 128))
    assert look is not None
    assert look.area == pytest.approx(4 * 80 / (64 * 128), rel=0.1)
    assert look.regions == 1
    assert look.elongation == pytest.approx(20, rel=0.15)
    assert not look.border
    assert look.color is not None
    assert look.color > 15
    assert measure_look(values, 2.0, photo, [], (64, 128)) is None
    assert median_look([look, look]) == look


def test_separation_agrees_with_its_definition() -> None:
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(9, 3)), np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    values, others = separation(rows.astype(np.float32), labels)
    for i, row in enumerate(rows):
        distances = [float(np.linalg.norm(row - rows[labels == k].mean(axis=0))) for k in range(3)]
        own = distances[labels[i]]
        other = min(d for k, d in enumerate(distances) if k != labels[i])
        assert values[i] == pytest.approx((other - own) / max(own, other), abs=1e-5)
        assert distances[others[i]] == other


def test_cuts_of_the_small_tree_are_cuts_of_the_whole_one() -> None:
    from scipy.cluster.hierarchy import fcluster, linkage

    rows = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32)
    tree, leaf_of = build_tree(rows, np.arange(60), [np.zeros((4, 4), np.float32)] * 60, (0.0, 1.0))
    assert tree is not None
    assert len(tree.leaves) == 20
    for k in (2, 7, 20):
        members: list[set[int]] = [{leaf} for leaf in range(20)]
        for merge in tree.merges:
            members.append(members[merge.a] | members[merge.b])
        gone = {node for merge in tree.merges[: 20 - k] for node in (merge.a, merge.b)}
        kept = [members[node] for node in range(20 + 20 - k) if node not in gone]
        ours = {frozenset(np.flatnonzero(np.isin(leaf_of, list(leaves))).tolist()) for leaves in kept}
        labels = fcluster(linkage(rows.astype(np.float64), "ward"), k, "maxclust")
        assert ours == {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels)}
    for merge in tree.merges:  # no branches cross
        assert max(members[merge.a]) < min(members[merge.b])


def test_scatter_plots_keep_neighbors_and_repeat() -> None:
    labels = np.repeat([0, 1], 30)
    rows = np.random.default_rng(0).normal(size=(60, 10)).astype(np.float32) + 9 * labels[:, None]
    pca, tsne, placed = project(rows)
    assert placed == 60
    for places in (pca, tsne):
        assert np.abs(places).max() <= 1
        assert (nearest(places, np.stack([places[labels == k].mean(axis=0) for k in (0, 1)])) == labels).mean() in (
            1.0,
        )
    assert np.array_equal(project(rows)[1], tsne)


def test_a_mean_map_is_the_mean() -> None:
    maps = [np.full((5, 7), value, np.float32) for value in (0.0, 1.0)]
    values = base64.b64decode(mean_map(maps, np.array([0, 1]), (0.0, 1.0)).values)
    assert set(values) == {128}
    assert set(base64.b64decode(mean_map(maps, np.array([], np.int64), (0.0, 1.0)).values)) == {0}


def test_report_is_reproducible_and_replaced(tmp_path: Path) -> None:
    result = reviewed_result()
    out = tmp_path / "out"
    write_outputs(result, out, report=True, load_image=loader(result))
    first = _files_of_report(out)
    slower = dataclasses.replace(result, timings={"features": 99.0}, info={**result.info, "cache": {"maps": [3, 3]}})
    write_outputs(slower, out, report=True, load_image=loader(result))
    assert _files_of_report(out) == first
    assert "report_files/plotly.min.js" in first
    write_report(result, out, loader(result))
    write_outputs(result, out)
    assert not list(out.glob("report*"))


def _files_of_report(out: Path) -> dict[str, bytes]:
    names = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in names.items() if name.startswith("report")}


def test_report_refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputError, match="not made by blemish"):
        write_report(make_result(1, ()), tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"


def test_rendering_the_data_again_gives_the_same_page() -> None:
    result = reviewed_result()
    files = report_files(result, loader(result), "folder")
    assert render(ReportData.model_validate_json(files["report.json"])).encode() == files["report.html"]


@pytest.mark.parametrize(("inner", "outer", "mixed"), [(0.1, 0.9, True), (0.1, 0.1, False), (0.9, 0.9, False)])
def test_a_dark_hole_with_a_bright_edge_is_neither_darker_nor_brighter(inner: float, outer: float, mixed: bool) -> None:
    y, x = np.mgrid[:64, :64]
    distance = np.hypot(y - 32, x - 32)
    gray = np.where(distance < 6, inner, np.where(distance < 9, outer, 0.5))
    values = (distance < 9).astype(np.float32)
    look = measure_look(values, 0.5, np.repeat(gray[..., None], 3, 2).astype(np.float32), [], (64, 64))
    assert look is not None
    assert look.mixed is mixed
    coarse = np.where((y + x) % 2, 0.05, 0.95)  # the material itself is darker and brighter
    look = measure_look(values, 0.5, np.repeat(coarse[..., None], 3, 2).astype(np.float32), [], (64, 64))
    assert look is not None
    assert look.mixed is False
