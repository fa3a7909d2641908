"""Feature correspondence analysis (FCA) against its direct form in PyTorch: pad, unfold, sort, gather, blur, fold.

    python -m benchmarks.fca_speed [--threads 2] [--rounds 3] [--quick] [--write]

Both sides run in this process with the same threads, turn by turn, and the fastest turn of each counts. The direct form
is one of the tests' helpers.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import interleaved
from benchmarks._results import Cell, Column
from blemish.localization.fca import fca_map

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from helpers.reference_fca import pytorch_fca

BENCHMARK = Benchmark(
    name="fca_speed",
    title="Feature correspondence analysis against its direct form",
    text=(
        "Least seconds of one call. The differences are those of the anomaly maps from the direct form with ties broken "
        "by position."
    ),
    columns=(
        Column("images x channels x height x width"),
        Column("patch size", "integer"),
        Column("direct form", "number", "s"),
        Column("blemish", "number", "s", 4),
        Column("ratio", "number", digits=0),
        Column("largest difference", "scientific"),
        Column("largest relative difference", "scientific"),
    ),
)

CASES = (
    (1, 512, 64, 64, 7),
    (1, 128, 64, 64, 7),
    (8, 128, 32, 32, 7),
    (1, 256, 48, 80, 9),
    (1, 64, 64, 64, 15),
    (1, 64, 128, 128, 3),
)
"""Images, channels, height, width and patch size."""

OURS = 5
"""Calls of the fast side for each call of the slow side."""


def measure(case: tuple[int, int, int, int, int], rounds: int) -> list[Cell]:
    """The cells of one row."""
    *shape, size = case
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    seconds = interleaved(
        {
            "direct": lambda: pytorch_fca(features, size, stable=False),
            "ours": lambda: [fca_map(features, patch_size=size) for _ in range(OURS)],
        },
        rounds,
    )
    slow, fast = seconds["direct"], seconds["ours"] / OURS
    # At the border reflection makes ties, which an unstable sort may place anywhere: compare with the stable one.
    expected = pytorch_fca(features, size)
    difference = (fca_map(features, patch_size=size) - expected).abs()
    worst = float(difference.max()), float((difference / expected).max())
    return [" x ".join(map(str, shape)), size, round(slow, 4), round(fast, 5), round(slow / fast, 1), *worst]


def main() -> None:
    """Measure every case."""
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--quick", action="store_true", help="the last case only")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    fca_map(torch.rand(1, 2, 8, 8))  # compile or load the kernel
    report = Report(BENCHMARK, args.write)
    for case in CASES[-1:] if args.quick else CASES:
        report.add(*measure(case, args.rounds))
    report.end()


if __name__ == "__main__":
    main()
