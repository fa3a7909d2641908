"""The report in a real browser: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.output.report import ReportData
from blemish.output.write import write_outputs
from helpers.reports import reviewed_result
from helpers.results import HOSTILE_NAMES, loader, make_result

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

from playwright.sync_api import Browser, Page, expect, sync_playwright  # noqa: E402

NORMAL, TYPES = 10, (7, 6, 5)
NAMES = [*HOSTILE_NAMES[:-1], "<img src=x onerror=alert(1)>.png"]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Report of a small made-up result with hostile names."""
    base = reviewed_result(NORMAL, TYPES)
    result = reviewed_result(NORMAL, TYPES, paths=[*base.paths[: -len(NAMES)], *NAMES])
    out = tmp_path_factory.mktemp("report") / "out"
    write_outputs(result, out, report=True, load_image=loader(result))
    return out / "report.html"


@pytest.fixture(scope="module")
def data(report: Path) -> ReportData:
    return ReportData.model_validate_json(report.with_name("report.json").read_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The page; whatever it says on the console, asks of another host or does wrong fails the test."""
    yield from opened(browser, report)


def opened(browser: Browser, report: Path, **options: Any) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("request", lambda request: None if is_local(request.url) else wrong.append(f"asked: {request.url}"))
    page.goto(report.as_uri())
    yield page
    context.close()
    assert wrong == []


def is_local(address: str) -> bool:
    return address.startswith(("file://", "data:", "blob:"))


def counts(page: Page) -> dict[str, int]:
    """Number of images per group as the cards say it."""
    names = page.locator(".card .name").all_inner_texts()
    sizes = page.locator(".card .size strong").all_inner_texts()
    return {name: int(size.split()[0]) for name, size in zip(names, sizes, strict=True)}


def downloaded(page: Page) -> list[dict[str, Any]]:
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == "review.jsonl"
    return [json.loads(line) for line in waiting.value.path().read_text().splitlines()]


def set_range(page: Page, selector: str, value: float) -> None:
    page.locator(selector).evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", str(value))
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def tiles(page: Page) -> list[str]:
    return page.locator(".tile .path").all_inner_texts()


def test_cards_have_the_numbers_of_the_data(page: Page, data: ReportData) -> None:
    assert counts(page) == {"type 1": 7, "type 2": 6, "type 3": 5, "normal": 10}
    assert page.locator("#lead").inner_text() == "18 of 28 images (64.3%) are anomalous, in 3 types."
    assert page.locator(".part .amount").all_inner_texts() == ["17", "2", "9"]
    words = page.locator(".card .words").first.inner_text()
    assert "one region" in words.lower()
    assert page.locator(".card .face img.photo").count() == 4
    assert page.evaluate("[...document.querySelectorAll('.card img')].every((one) => one.naturalWidth > 0)")
    assert [group.count for group in data.groups] == [10, 7, 6, 5]


def test_hostile_names_are_shown_as_text(page: Page) -> None:
    page.locator("label[for=layout-whole]").click()
    page.locator("#search").fill("onerror")
    assert tiles(page) == ["<img src=x onerror=alert(1)>.png"]
    page.locator(".tile").click()
    assert page.locator("#viewer-title bdi").inner_text() == "<img src=x onerror=alert(1)>.png"
    assert page.locator("img[src=x]").count() == 0


def test_tiles_are_sorted_and_filtered(page: Page, data: ReportData) -> None:
    page.locator("label[for=layout-whole]").click()
    page.locator("#filter").select_option("1")
    rows = [row for row in data.images if row.label == 1]
    for sort, key in (("score", lambda row: -row.score), ("distance", lambda row: row.distance)):
        page.locator("#sort").select_option(sort)
        assert page.locator(".tile").evaluate_all("(all) => all.map((one) => Number(one.dataset.key))") == [
            data.images.index(row) for row in sorted(rows, key=key)
        ]
    page.locator("#sort").select_option("borderline")
    assert page.locator(".tile").first.get_attribute("data-key") == str(NORMAL)
    page.locator("#sort").select_option("name")
    assert tiles(page) == sorted(row.path for row in rows)


def test_regions_are_in_the_gallery_of_their_own_type(page: Page) -> None:
    page.locator("#filter").select_option("1")
    keys = page.locator(".tile").evaluate_all("(all) => all.map((one) => one.dataset.key)")
    assert f"{NORMAL + TYPES[0]}:1" in keys
    assert f"{NORMAL + TYPES[0]}:0" not in keys


def test_the_large_picture_has_map_mask_and_regions(page: Page) -> None:
    page.locator("#filter").select_option("2")
    page.locator(f'.tile[data-key="{NORMAL + TYPES[0]}:0"]').click()
    assert page.locator("#viewer figcaption").all_inner_texts() == ["Photograph", "Heat map", "Mask"]
    for picture in page.locator("#viewer img").all():
        expect(picture).not_to_have_js_property("naturalWidth", 0)
    assert page.locator("#viewer-regions li").count() == 2
    title = page.locator("#viewer-title").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer-title").inner_text() != title
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("document.activeElement.className") == "tile"


def test_the_threshold_changes_everything_at_once(page: Page, data: ReportData) -> None:
    scores = np.array([row.score for row in data.images])
    top = data.histogram.edges[-1]
    for position in (500, 990, 100):
        set_range(page, "#threshold", position)
        expected = int((scores > position / 1000 * top).sum())
        found = counts(page)
        assert sum(amount for name, amount in found.items() if name != "normal") == expected
        assert f"{expected} of 28" in page.locator("#threshold-text").inner_text()
    page.locator("#back").click()
    assert counts(page) == {"type 1": 7, "type 2": 6, "type 3": 5, "normal": 10}


def test_the_cut_changes_the_galleries_and_one_click_returns(page: Page, data: ReportData) -> None:
    assert data.tree is not None
    for types in (2, 5, len(data.tree.leaves)):
        set_range(page, "#cut", types)
        found = counts(page)
        assert len(found) == types + 1
        assert sum(found.values()) == 28
    set_range(page, "#cut", 3)
    assert sorted(counts(page).values()) == [5, 6, 7, 10]  # the made-up types lie far apart
    page.locator("#grouping-other").check()
    assert counts(page) == {"type 1": 18, "normal": 10}
    page.locator("#grouping-reset").click()
    assert counts(page) == {"type 1": 7, "type 2": 6, "type 3": 5, "normal": 10}


def test_the_groups_of_a_cut_become_corrections(page: Page) -> None:
    for types in (5, 2):
        set_range(page, "#cut", types)
        sizes = sorted(counts(page).values())
        page.locator("#take-groups").click()
        assert page.locator("#grouping-run").is_checked()
        assert sorted(counts(page).values()) == sizes
    assert {line["op"] for line in downloaded(page)} == {"new_type", "move"}


def test_a_lasso_selects_and_pointing_shows_an_image(page: Page) -> None:
    page.locator("#scatter-panel summary").click()
    page.wait_for_selector("#scatter .points path")
    page.locator("#scatter").scroll_into_view_if_needed()
    point = page.locator("#scatter .points path").first.bounding_box()
    assert point is not None
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    page.wait_for_selector("#tip:not([hidden]) img")
    box = page.locator("#scatter .nsewdrag").first.bounding_box()
    assert box is not None
    left, top, right, bottom = box["x"] + 2, box["y"] + 2, box["x"] + box["width"] - 2, box["y"] + box["height"] - 2
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((right, top), (right, bottom), (left, bottom), (left, top + 4)):
        page.mouse.move(x, y, steps=4)
    page.mouse.up()
    expect(page.locator("#selected-count")).to_contain_text("28 selected")
    assert page.locator('.tile[aria-selected="true"]').count() > 10


def test_corrections_by_mouse_are_kept_undone_and_downloaded(page: Page, data: ReportData) -> None:
    page.locator("#type-1 .rename").click()
    page.locator("#type-1 input").fill("scratch <b>")
    page.keyboard.press("Enter")
    assert counts(page)["scratch <b>"] == 7
    page.locator("#type-2 .merge").select_option("1")
    assert counts(page) == {"scratch <b>": 13, "type 3": 5, "normal": 10}
    page.locator("label[for=layout-whole]").click()
    page.locator("#filter").select_option("3")
    for tile in (0, 1):
        page.locator(".tile").nth(tile).click(modifiers=["Control"])
    page.locator("#new-type").click()
    page.keyboard.type("hole")
    page.keyboard.press("Enter")
    assert counts(page) == {"scratch <b>": 13, "type 3": 3, "hole": 2, "normal": 10}
    page.locator("#filter").select_option("3")
    page.locator(".tile").first.click(modifiers=["Control"])
    page.locator("#mark-normal").click()
    assert counts(page)["normal"] == 11
    page.locator("#undo").click()
    assert counts(page)["normal"] == 10
    page.reload()
    assert counts(page) == {"scratch <b>": 13, "type 3": 3, "hole": 2, "normal": 10}
    page.locator("#redo").click()
    assert counts(page)["normal"] == 11

    lines = downloaded(page)
    assert [line["op"] for line in lines] == ["rename", "merge", "new_type", "move", "rename", "normal", "undo", "redo"]
    assert lines[0] | {"id": "", "time": ""} == {"id": "", "time": "", "op": "rename", "type": 1, "name": "scratch <b>"}
    assert (lines[1]["types"], lines[1]["into"]) == ([2, 1], 1)
    assert (lines[2]["label"], lines[3]["to"], lines[4]["type"]) == (4, 4, 4)
    assert set(lines[3]["images"]) < set(NAMES[-TYPES[2] :])  # exact, also where a name is not Unicode
    assert lines[6]["target"] == lines[7]["target"] == lines[5]["id"]
    assert len({line["id"] for line in lines}) == 8


def test_a_type_is_split_along_the_tree(page: Page) -> None:
    page.locator("#type-1 .split").click()
    found = counts(page)
    assert found["type 1"] + found["type 4"] == 7
    (line,) = downloaded(page)
    assert (line["op"], line["type"]) == ("split", 1)
    assert sorted(map(len, line["parts"])) == sorted((found["type 1"], found["type 4"]))


def test_regions_are_moved_on_their_own(page: Page) -> None:
    page.locator(f'.tile[data-key="{NORMAL + TYPES[0]}:1"]').click(modifiers=["Control"])
    page.locator("#move").select_option("3")
    (line,) = downloaded(page)
    assert line["images"] == []
    assert [one["region"] for one in line["regions"]] == [1]
    page.locator("#filter").select_option("3")
    assert page.locator(f'.tile[data-key="{NORMAL + TYPES[0]}:1"]').count() == 1


def test_everything_works_from_the_keyboard(page: Page) -> None:
    press = page.keyboard.press
    press("?")
    assert page.locator("#help").is_visible()
    press("Escape")
    for _ in range(3):  # skip link, theme, keys, then the groups of attention
        press("Tab")
    assert page.evaluate("document.activeElement.id") == "help-open"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press("2")
    press("g")
    press("ArrowRight")
    press("Space")
    press("Shift+ArrowRight")
    assert "2 selected" in page.locator("#selected-count").inner_text()
    press("n")
    assert counts(page)["type 2"] == 4
    press("z")
    assert counts(page)["type 2"] == 6
    press("y")
    assert counts(page)["type 2"] == 4
    press("r")
    page.keyboard.type("spot")
    press("Enter")
    assert "spot" in counts(page)
    press("0")
    press("+")
    press("+")
    assert len(counts(page)) == 5
    press("]")
    press("h")
    assert page.locator(".tile img.heat").count() > 0
    press("/")
    page.keyboard.type("zzz")
    assert tiles(page) == []


def test_dark_and_light_have_enough_contrast(browser: Browser, report: Path) -> None:
    for scheme in ("light", "dark"):
        for page in opened(browser, report, color_scheme=scheme):
            assert page.evaluate(CONTRAST) == []
            before = page.evaluate("getComputedStyle(document.body).backgroundColor")
            page.keyboard.press("t")
            page.keyboard.press("t" if scheme == "light" else "0")
            assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


CONTRAST = """() => {
  const light = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!/, 0\\)$|transparent/.test(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = "p, h1, h2, h3, h4, button, label, summary, dt, dd, li, select, .path, .score, .hint, .kind, .amount";
  return [...document.querySelectorAll(texts)]
    .filter((one) => one.checkVisibility() && one.textContent.trim() && !one.disabled)
    .filter((one) => {
      const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05) < 4.5;
    })
    .map((one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}`);
}"""


def test_a_narrow_window_does_not_scroll_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    page.locator("#grid").scroll_into_view_if_needed()
    expect(page.locator(".tile").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    page.locator(".tile").first.click()
    assert page.evaluate("document.querySelector('#viewer').scrollWidth <= 360")


def test_print_has_cards_and_pictures_but_no_controls(page: Page) -> None:
    expect(page.locator("#print figure")).to_have_count(10 + 7 + 6 + 5)
    page.emulate_media(media="print")
    assert not page.locator("#toolbar").is_visible()
    assert not page.locator("#work").is_visible()
    assert page.locator(".card").count() == 4
    assert page.evaluate("[...document.querySelectorAll('#print img')].every((one) => one.naturalWidth > 0)")
    assert len(page.pdf()) > 10_000


def test_a_single_file_has_its_pictures_and_its_charts(browser: Browser, tmp_path: Path) -> None:
    result = reviewed_result(NORMAL, TYPES)
    write_outputs(result, tmp_path / "out", report=True, report_mode="single", load_image=loader(result))
    alone = tmp_path / "alone.html"
    (tmp_path / "out" / "report.html").rename(alone)
    for page in opened(browser, alone):
        assert page.evaluate("[...document.querySelectorAll('.card img')].every((one) => one.naturalWidth > 0)")
        page.locator("#scatter-panel summary").click()
        page.wait_for_selector("#scatter .points path")


@pytest.mark.parametrize(
    ("probability", "lead"),
    [(0.02, "None of the 4 images is anomalous."), (0.3, "None of the 4 images is clearly anomalous, but 4 may be.")],
)
def test_doubt_is_in_the_first_sentence(browser: Browser, tmp_path: Path, probability: float, lead: str) -> None:
    result = make_result(4, (), anomaly_probability=np.full(4, probability, np.float32))
    write_outputs(result, tmp_path / "out", report=True, load_image=loader(result))
    for page in opened(browser, tmp_path / "out" / "report.html"):
        assert page.locator("#lead").inner_text() == lead


def test_without_the_chart_library_the_rest_works(browser: Browser, report: Path, tmp_path: Path) -> None:
    alone = tmp_path / "report.html"
    alone.write_bytes(report.read_bytes())
    context = browser.new_context()
    page = context.new_page()
    page.goto(alone.as_uri())
    page.locator("#scatter-panel summary").click()
    expect(page.locator("#scatter")).to_contain_text("missing")
    assert counts(page)["normal"] == 10
    context.close()


class TestServed:
    """The page as `blemish review` serves it: corrections go to the server, one request each."""

    @pytest.fixture
    def served(self, browser: Browser, report: Path) -> Iterator[tuple[Page, list[dict[str, Any]]]]:
        context, kept = browser.new_context(), list[dict[str, Any]]()
        page = context.new_page()

        def answer(route: Any) -> None:
            request = route.request
            name = request.url.removeprefix("http://127.0.0.1:9/")
            if name == "report.html":
                text = report.read_text().replace("<head>", '<head><meta name="blemish-review" content="TOKEN">', 1)
                route.fulfill(body=text, content_type="text/html")
            elif not name.startswith("api/"):
                route.fulfill(path=report.parent / name)
            elif request.headers.get("x-blemish-token") != "TOKEN":
                route.fulfill(status=403, body="no token")
            elif name == "api/split?type=1&parts=2":
                route.fulfill(json={"parts": [["kind-1/010.png"], ["kind-1/011.png", "kind-1/012.png"]]})
            elif request.method == "POST":
                kept.append(request.post_data_json)
                route.fulfill(json={"ok": True, "revision": len(kept)})
            else:
                route.fulfill(json={"operations": kept, "revision": len(kept)})

        page.route("**/*", answer)
        page.goto("http://127.0.0.1:9/report.html")
        yield page, kept
        context.close()

    def test_operations_are_sent_and_loaded(self, served: tuple[Page, list[dict[str, Any]]]) -> None:
        page, kept = served
        page.locator("#type-1 .rename").click()
        page.locator("#type-1 input").fill("scratch")
        page.keyboard.press("Enter")
        expect(page.locator("#selected-count")).to_contain_text("Saved")
        assert [one["op"] for one in kept] == ["rename"]
        kept.append({"id": "other-tab", "time": "2026-01-01T00:00:00Z", "op": "merge", "types": [2, 3], "into": 3})
        page.reload()
        expect(page.locator(".card")).to_have_count(3)
        assert counts(page) == {"scratch": 7, "type 3": 11, "normal": 10}

    def test_the_server_splits(self, served: tuple[Page, list[dict[str, Any]]]) -> None:
        page, kept = served
        page.locator("#type-1 .split").click()
        expect(page.locator(".card")).to_have_count(5)
        assert counts(page)["type 4"] == 2
        assert kept[0]["op"] == "split"
