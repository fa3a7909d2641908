"""FCA against the straightforward PyTorch form (pad, unfold, sort, gather, blur, fold): seconds, ratio, difference.

    python benchmarks/fca_speed.py [--threads 2] [--repeats 3] [--quick] [--json FILE]

Both sides run in this process with the same number of threads, turn by turn, and the fastest turn of each counts: what
else the machine does disturbs both alike. The straightforward form lives with the tests, which hold both to one result.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from blemish.localization.fca import fca_map
from helpers.reference_fca import pytorch_fca

CASES = [  # images, channels, height, width, patch
    (1, 512, 64, 64, 7),
    (1, 128, 64, 64, 7),
    (8, 128, 32, 32, 7),
    (1, 256, 48, 80, 9),
    (1, 64, 64, 64, 15),
    (1, 64, 128, 128, 3),
]


def timed(function: Callable[[], Tensor]) -> tuple[float, Tensor]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def compare(case: tuple[int, int, int, int, int], repeats: int) -> dict[str, object]:
    *shape, size = case
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    slow, fast = [], []
    for _ in range(repeats):
        seconds, expected = timed(lambda: pytorch_fca(x, size, stable=False))
        slow.append(seconds)
        for _ in range(5):
            seconds, found = timed(lambda: fca_map(x, patch_size=size))
            fast.append(seconds)
    # At the border reflection makes ties, which an unstable sort may place anywhere: compare with the stable one.
    expected = pytorch_fca(x, size)
    difference = (found - expected).abs()
    return {
        "features": "x".join(map(str, shape)),
        "patch": size,
        "straightforward_s": min(slow),
        "blemish_s": min(fast),
        "ratio": min(slow) / min(fast),
        "max_abs_difference": float(difference.max()),
        "max_rel_difference": float((difference / expected).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="turns of the slow side; five of ours to each")
    parser.add_argument("--quick", action="store_true", help="the first case only")
    parser.add_argument("--json", type=Path, help="write the table to this file, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    fca_map(torch.rand(1, 2, 8, 8))  # compile or load the kernel
    rows = []
    print(
        f"{'features':>14} {'patch':>5} {'PyTorch s':>10} {'blemish s':>10} {'ratio':>7} {'max abs':>9} {'max rel':>9}"
    )
    for case in CASES[:1] if arguments.quick else CASES:
        row = compare(case, arguments.repeats)
        rows.append(row)
        print(
            f"{row['features']:>14} {row['patch']:>5} {row['straightforward_s']:>10.3f} {row['blemish_s']:>10.4f} "
            f"{row['ratio']:>7.0f} {row['max_abs_difference']:>9.1e} {row['max_rel_difference']:>9.1e}",
            flush=True,
        )
    if arguments.json:
        machine = {"machine": platform.machine(), "threads": arguments.threads, "torch": str(torch.__version__)}
        arguments.json.write_text(json.dumps({**machine, "cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
