"""Two windows of one review in a real browser, against the real server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from blemish.output import write_outputs
from blemish.review.session import Session
from helpers.reports import reviewed_result
from helpers.results import loader
from helpers.served import served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytest.importorskip("playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")

from playwright.sync_api import Page, expect, sync_playwright  # noqa: E402


@pytest.fixture
def session(tmp_path: Path) -> Session:
    result = reviewed_result()
    write_outputs(result, tmp_path / "results", report=True, load_image=loader(result))
    return Session(tmp_path / "results", result)


@pytest.fixture
def windows(session: Session) -> Iterator[tuple[Page, Page]]:
    """Two windows that have both loaded the review before anything was corrected, and do not look again by themselves."""
    with served(session) as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900})
        pages = context.new_page(), context.new_page()
        for page in pages:
            page.set_default_timeout(10_000)
            page.add_init_script("addEventListener('focus', (event) => event.stopImmediatePropagation())")
            with page.expect_response("**/api/operations"):
                page.goto(address)
        yield pages
        browser.close()


def rename(page: Page, label: int, name: str) -> None:
    page.locator(f"#type-{label} .rename").click()
    page.locator(f"#type-{label} input").fill(name)
    page.keyboard.press("Enter")


def names(page: Page) -> list[str]:
    return page.locator(".card .name").all_inner_texts()


def saved(page: Page, text: str) -> None:
    """Wait until the page says that this many corrections are saved."""
    expect(page.locator("#selected-count")).to_have_text(f"{text}. Saved.")


def new_type(page: Page, tile: int) -> None:
    """Make a type of one image."""
    page.locator(".tile .tick").nth(tile).click()
    page.locator("#new-type").click()


def test_a_window_takes_over_what_another_one_has_saved(session: Session, windows: tuple[Page, Page]) -> None:
    first, second = windows
    rename(first, 1, "scratch")
    saved(first, "1 correction")
    rename(second, 2, "stain")
    saved(second, "2 corrections")
    assert names(second) == ["scratch", "stain", "type 3", "normal"]
    rename(first, 3, "hole")
    saved(first, "3 corrections")
    assert names(first) == ["scratch", "stain", "hole", "normal"]
    assert [(one.op, one.type) for one in session.operations()] == [("rename", 1), ("rename", 2), ("rename", 3)]


def test_a_type_that_another_window_has_made_is_not_taken_for_the_own_one(
    session: Session, windows: tuple[Page, Page]
) -> None:
    first, second = windows
    new_type(first, 0)
    saved(first, "2 corrections")
    new_type(second, 1)
    expect(second.locator("#status")).to_contain_text("another window")
    saved(second, "2 corrections")
    assert [one.op for one in session.operations()] == ["new_type", "move"]
    assert names(second)[3] == "type 4"
    new_type(second, 1)
    saved(second, "4 corrections")
    assert [one.label for one in session.operations() if one.op == "new_type"] == [4, 5]
