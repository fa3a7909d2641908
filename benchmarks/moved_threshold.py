"""How much the groups change if the threshold is wrong by a fifth.

    python -m benchmarks.moved_threshold --data FOLDER [--seeds 1] [--sets leather wood ...] [--drawn]
        [--set section.key=value] [--write]

Each set is run with the number of groups given: with the threshold that the run finds, and with 0.8 and 1.2 times that
threshold. With ``--drawn``, defects drawn on materials and photographs follow, with and without the normal images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import configuration, known
from benchmarks._sets import LABELED, PANEL, drawn_sets, labeled_sets, photograph_sets
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.metrics import nmi
from blemish.pipeline import run

FACTORS = 0.8, 1.0, 1.2
"""The threshold relative to the one that the run finds."""

TYPES = ("scratch", "stain", "hole", "thread", "color")
"""Defects that are drawn."""

DRAWN_IMAGES = 60
"""Images that are drawn of each material."""

BENCHMARK = Benchmark(
    name="moved_threshold",
    title="Groups with a wrong threshold",
    text=(
        "NMI of the groups, their number given, with the threshold that the run finds and with one that is a fifth lower "
        "or higher."
    ),
    columns=(
        Column("set"),
        Column("images", "integer"),
        *(Column(f"{factor:g} x threshold" if factor != 1 else "as found", "spread") for factor in FACTORS),
    ),
)


def all_sets(data: Path, names: Sequence[str], drawn: bool, folder: Path) -> Iterator[tuple[str, LabeledSet]]:
    """The sets under their names; of drawn ones also the defective images alone."""
    yield from ((one.name, one) for one in labeled_sets(data, names))
    kinds = (
        drawn_sets(folder, TYPES, DRAWN_IMAGES) | photograph_sets(data, folder, TYPES, DRAWN_IMAGES) if drawn else {}
    )
    for name, draw in kinds.items():
        one = draw(0)
        yield name, one
        yield f"{name}, defects only", one.take(np.flatnonzero(one.is_anomalous).tolist())


def measure(data: LabeledSet, config: Config) -> list[float]:
    """NMI with the threshold moved by each of `FACTORS`."""
    config = config.updated(n_clusters=len(data.classes))
    found = run(data.paths, config)
    runs = [
        found
        if factor == 1
        else run(data.paths, config.updated(**{"localization.threshold": factor * found.threshold}))
        for factor in FACTORS
    ]
    return [nmi(list(data.labels), one.labels.tolist()) for one in runs]


def main() -> None:
    """Measure every set with every seed."""
    options = parser(__doc__, data=True, settings=True)
    choices = [*LABELED, *PANEL]
    options.add_argument("--sets", nargs="*", choices=choices, default=["leather", "leaves", "wood"])
    options.add_argument("--drawn", action="store_true", help="drawn defects as well")
    options.add_argument("--seeds", type=int, default=1)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.seeds))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = configuration(folder / "cache", args.settings)
        for name, data in all_sets(args.data, args.sets, args.drawn, folder):
            runs = [measure(data, config.updated(seed=seed)) for seed in range(args.seeds)]
            report.add(name, len(data), *(known(values) for values in zip(*runs, strict=True)))
    report.end()


if __name__ == "__main__":
    main()
