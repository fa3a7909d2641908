"""Peak memory and seconds against the number of images, through the command line; large_images has their size.

    python -m benchmarks.memory [--counts 100 1000 10000] [--side 64] [--threads 2] [--set section.key=value] [--write]

The images are noise with a bright block in every third.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import blemish_run
from benchmarks._results import Column

BENCHMARK = Benchmark(
    name="memory",
    title="Memory and time against the number of images",
    text="`blemish run` on drawn images of 64 x 64 pixels, default settings, without a cache, all files written.",
    columns=(
        Column("images", "integer"),
        Column("time", "number", "s", 1),
        Column("time per image", "number", "ms", 1),
        Column("peak memory", "integer", "MB"),
    ),
)

COUNTS = (100, 1000, 3000, 10_000)


def draw(folder: Path, count: int, side: int) -> None:
    """Write ``count`` PNG files of side x side pixels."""
    for index in range(count):
        rng = np.random.default_rng(index)
        pixels = rng.integers(60, 120, (side, side), dtype=np.uint8)
        if index % 3 == 1:
            y, x = rng.integers(0, side // 2, 2)
            pixels[y : y + side // 4, x : x + side // 4] = rng.integers(180, 250)
        Image.fromarray(pixels).save(folder / f"{index:06d}.png")


def main() -> None:
    """Measure every count."""
    options = parser(__doc__, settings=True)
    options.add_argument("--counts", type=int, nargs="+", default=list(COUNTS))
    options.add_argument("--side", type=int, default=64, help="of the images, in pixels")
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    settings = [f"image.size={args.side}", *args.settings]
    for count in args.counts:
        with tempfile.TemporaryDirectory() as place:
            images = Path(place) / "images"
            images.mkdir()
            draw(images, count, args.side)
            out = Path(place) / "out"
            done = blemish_run(images, out, "--no-cache", threads=args.threads, settings=settings)
        report.add(count, round(done.seconds, 1), round(1000 * done.seconds / count, 1), round(done.peak_mb))
    report.end()


if __name__ == "__main__":
    main()
