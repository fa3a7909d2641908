"""Peak memory, temporary files and seconds of runs on large images, through the command line.

    python -m benchmarks.large_images [--sizes 2000x8000:8 20000x20000:4] [--threads 2] [--set section.key=value] [--write]

Sizes are HEIGHTxWIDTH:IMAGES. The images are gray 8-bit PNG files of drawn texture with small dark and bright defects in
every second one. Temporary files are measured by what the disk of TMPDIR has less while the run is on.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import blemish_run
from benchmarks._results import Column

BENCHMARK = Benchmark(
    name="large_images",
    title="Memory and time of large images",
    text="`blemish run` on drawn gray images with `image.size=native` and `384`, otherwise default settings, without a "
    "cache, all files written. Memory is the peak of resident memory; the images are on the same disk as temporary files.",
    columns=(
        Column("images", "text"),
        Column("image.size", "text"),
        Column("reduced", "number", "times", 1),
        Column("time per image", "number", "s", 1),
        Column("peak memory", "integer", "MB"),
        Column("temporary files", "integer", "MB"),
        Column("regions", "integer"),
    ),
)

BLOCK = 1024
"""Side of the drawn block of texture that images repeat, each with its own shift and noise."""


def draw(folder: Path, count: int, height: int, width: int) -> None:
    """Write ``count`` PNG files of height x width pixels."""
    rng = np.random.default_rng(0)
    block = gaussian_filter(rng.normal(size=(BLOCK, BLOCK)), 1.5, mode="wrap")
    block = 120 + 25 * block / block.std()
    for index in range(count):
        rng = np.random.default_rng(index + 1)
        own = np.roll(block, rng.integers(0, BLOCK, 2).tolist(), (0, 1)) + rng.normal(0, 4, block.shape)
        repeats = -(-height // BLOCK), -(-width // BLOCK)
        pixels = np.tile(np.clip(own, 0, 255).astype(np.uint8), repeats)[:height, :width].copy()
        for _ in range(6 if index % 2 else 0):
            y, x = int(rng.integers(0, height - 24)), int(rng.integers(0, width - 24))
            pixels[y : y + 24, x : x + 24] = rng.choice([15, 240])
        Image.fromarray(pixels).save(folder / f"{index:03d}.png", compress_level=1)


class _DiskWatch:
    """The largest drop of free space on the disk of temporary files while the block runs, in MB."""

    def __init__(self) -> None:
        self._place, self._done = tempfile.gettempdir(), threading.Event()
        self.most_mb = 0.0

    def __enter__(self) -> _DiskWatch:
        self._before = shutil.disk_usage(self._place).free
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            self.most_mb = max(self.most_mb, (self._before - shutil.disk_usage(self._place).free) / 2**20)


def main() -> None:
    """Measure every size."""
    options = parser(__doc__, settings=True)
    options.add_argument("--sizes", nargs="+", default=["2000x8000:8", "300x60000:8", "20000x20000:4"])
    options.add_argument("--resolutions", nargs="+", default=["native", "384"], metavar="IMAGE_SIZE")
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    for size in args.sizes:
        shape, _, count = size.partition(":")
        height, width = map(int, shape.split("x"))
        with tempfile.TemporaryDirectory() as place:
            images = Path(place) / "images"
            images.mkdir()
            draw(images, int(count), height, width)
            for resolution in args.resolutions:
                settings = [f"image.size={resolution}", *args.settings]
                with _DiskWatch() as disk:
                    out = Path(place) / resolution
                    done = blemish_run(images, out, "--no-cache", threads=args.threads, settings=settings)
                report.add(
                    f"{count} of {height} x {width}",
                    resolution,
                    done.document["resolution"]["reduction"]["median"],
                    round(done.seconds / int(count), 1),
                    round(done.peak_mb),
                    round(disk.most_mb),
                    done.document["counts"]["regions"],
                )
    report.end()


if __name__ == "__main__":
    main()
