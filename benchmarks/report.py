"""The report in a browser: time to the first paint, frames while scrolling, and the answer to a moved threshold.

    python -m benchmarks.report [--counts 1344 10000] [--loads 5] [--write]

Needs a Chromium (`chromium`, `chromium-browser` or `google-chrome`) and the package playwright of the extra `dev`. The
images are drawn: noise, with a bright block in a third of them.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from blemish.output.write import write_outputs
from blemish.results import Result
from blemish.types import FloatArray

BENCHMARK = Benchmark(
    name="report",
    title="The report in a browser",
    text="`report.html` of drawn images, opened from disk in headless Chromium, 1280 x 900 pixels, medians over several "
    "loads. Ready: everything is drawn and answers. Frames are those of a scroll through the gallery, 80 pixels per "
    "frame; the threshold is moved and the next frame awaited.",
    columns=(
        Column("images", "integer"),
        Column("written in", "number", "s", 1),
        Column("page", "number", "MB", 1),
        Column("first paint", "integer", "ms"),
        Column("ready", "integer", "ms"),
        Column("frames per second", "integer"),
        Column("slowest of 20 frames", "integer", "ms"),
        Column("threshold moved", "integer", "ms"),
    ),
)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

SIDE, GRID = 96, 12
"""Side of the drawn images in pixels, and of their maps in cells."""

SCROLL = """async () => {
  const frame = () => new Promise(requestAnimationFrame);
  document.querySelector("#images").scrollIntoView();
  await frame();
  const times = [];
  let last = await frame();
  for (let at = 0; at < 180; at++) {
    window.scrollBy(0, 80);
    const now = await frame();
    times.push(now - last);
    last = now;
  }
  return times;
}"""

MOVE = """async () => {
  const handle = document.querySelector("#threshold");
  const start = performance.now();
  handle.value = Number(handle.value) + 60;
  handle.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - start;
}"""

LOADED = """() => [
  performance.getEntriesByName("first-contentful-paint")[0].startTime,
  performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd,
]"""


@dataclass(frozen=True)
class Load:
    """What one load of a page took, in milliseconds."""

    paint: float
    ready: float
    frames: list[float]
    moved: float


def draw(count: int) -> tuple[Result, Callable[[int], FloatArray]]:
    """A made-up result of ``count`` images, a third of them with a defect of one of five types; and its photographs."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(count) % 3 == 1, 1 + np.arange(count) // 3 % 5, 0)
    maps = [rng.random((GRID, GRID), np.float32) * 0.3 for _ in range(count)]
    for values in (maps[i] for i in np.flatnonzero(labels)):
        y, x = rng.integers(0, GRID - 4, 2)
        values[y : y + 3, x : x + 4] += 0.6
    scores = np.array([values.max() for values in maps], np.float32)
    photos = [rng.random((SIDE, SIDE, 3), np.float32) * 0.3 + 0.3 for _ in range(16)]
    places = rng.normal(size=(count, 16)) + 5 * np.eye(16)[labels]
    result = Result(
        paths=[f"{label}/{i:05d}.png" for i, label in enumerate(labels)],
        sizes=np.full((count, 2), SIDE, np.int64),
        scores=scores,
        maps=maps,
        threshold=0.45,
        is_anomalous=scores > 0.45,
        labels=labels,
        normal_label=0,
        distances=rng.random(count).astype(np.float32),
        descriptors=places.astype(np.float32),
    )
    return result, lambda i: photos[i % len(photos)]


@contextmanager
def browser() -> Iterator[Any]:
    """A headless browser for one ``with`` statement."""
    from playwright.sync_api import sync_playwright

    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        sys.exit(f"error: no browser found: install one of {', '.join(BROWSERS)}")
    with sync_playwright() as driver:
        one = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield one
        one.close()


def load(one: Any, page: Path) -> Load:
    """Open a page once, scroll through it and move its threshold."""
    context = one.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto(page.as_uri(), wait_until="load")
    tab.wait_for_timeout(300)
    paint, ready = tab.evaluate(LOADED)
    measured = Load(paint, ready, tab.evaluate(SCROLL), tab.evaluate(MOVE))
    context.close()
    return measured


def main() -> None:
    """Measure every count."""
    options = parser(__doc__)
    options.add_argument("--counts", type=int, nargs="+", default=[1344, 10_000])
    options.add_argument("--loads", type=int, default=5, help="after one that warms the browser up")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    for count in args.counts:
        with tempfile.TemporaryDirectory() as place, browser() as one:
            result, load_image = draw(count)
            start = time.perf_counter()
            written = write_outputs(result, Path(place) / "out", overlays=False, report=True, load_image=load_image)
            seconds = time.perf_counter() - start
            assert written.report is not None
            loads = [load(one, written.report) for _ in range(args.loads + 1)][1:]
            report.add(count, round(seconds, 1), round(written.report.stat().st_size / 1e6, 1), *row(loads))
    report.end()


def row(loads: list[Load]) -> list[int]:
    """The cells of the measured columns."""
    frames = [one for load in loads for one in load.frames]
    return [
        round(statistics.median(load.paint for load in loads)),
        round(statistics.median(load.ready for load in loads)),
        round(1000 / statistics.fmean(frames)),
        round(statistics.quantiles(frames, n=20)[-1]),
        round(statistics.median(load.moved for load in loads)),
    ]


if __name__ == "__main__":
    main()
