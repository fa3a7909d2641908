"""Peak resident memory and seconds for sets of growing size, each in a process of its own.

    python benchmarks/memory.py [--counts 100 1000 10000] [--side 64] [--set section.key=value ...]

The images are noise with a bright block in every third; they are drawn before the clock starts. The run ends with the
groups; nothing is written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COUNTS = (100, 1000, 10_000)


def draw(folder: Path, count: int, side: int) -> None:
    """PNG files of side x side pixels."""
    import numpy as np
    from PIL import Image

    for index in range(count):
        rng = np.random.default_rng(index)
        pixels = rng.integers(60, 120, (side, side), dtype=np.uint8)
        if index % 3 == 1:
            y, x = rng.integers(0, side // 2, 2)
            pixels[y : y + side // 4, x : x + side // 4] = rng.integers(180, 250)
        Image.fromarray(pixels).save(folder / f"{index:06d}.png")


def measure(folder: Path, settings: list[str]) -> None:
    """Run and print one line of JSON."""
    from blemish.config.sources import gather
    from blemish.pipeline import run
    from stages import peak_megabytes

    config = gather({"cache": False}, settings, None, {})
    before, start = peak_megabytes(), time.perf_counter()
    result = run(folder, config)
    seconds = time.perf_counter() - start
    print(
        json.dumps(
            {
                "images": len(result.paths),
                "seconds": round(seconds, 1),
                "peak_mb": round(peak_megabytes()),
                "mb_before": round(before),
                "timings": result.timings,
            }
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=COUNTS)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        measure(args.folder, args.settings)
        return
    settings = [f"image.size={args.side}", *args.settings]
    for count in args.counts:
        with tempfile.TemporaryDirectory() as name:
            draw(Path(name), count, args.side)
            flags = [part for text in settings for part in ("--set", text)]
            subprocess.run([sys.executable, __file__, "--folder", name, *flags], check=True)


if __name__ == "__main__":
    main()
