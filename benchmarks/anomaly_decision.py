"""Which images are called anomalous: in defect-free batches, in all-defective batches and in between.

    python -m benchmarks.anomaly_decision --data FOLDER [--small] [--draws 1] [--sets labeled drawn photographs]
        [--most 80] [--set section.key=value] [--write]

Random subsets of each set are run with the number of groups estimated. Labels choose the subsets and score them; no run
sees one. With ``--small`` the subsets have 8, 12 and 20 images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import configuration, known
from benchmarks._sets import drawn_sets, labeled_sets, photograph_sets
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet
from blemish.pipeline import run
from blemish.synthetic.demo import defects

BENCHMARK = Benchmark(
    name="anomaly_decision",
    title="Defect-free and all-defective batches",
    text=(
        "The share of the normal and of the defective images that is called anomalous, in random subsets with so many "
        "of each. The number of groups is estimated; a defect-free batch should have one."
    ),
    columns=(
        Column("set"),
        Column("normal", "integer"),
        Column("defective", "integer"),
        Column("normal called anomalous", "spread", digits=2),
        Column("defective called anomalous", "spread", digits=2),
        Column("groups", "integers"),
    ),
)

SUBSETS = ((None, 0), (None, 3), (None, 12), (30, 30), (4, None), (0, None))
"""Normal and defective images of each subset; None: all, up to ``--most``."""

SMALL = tuple((count - bad, bad) for count in (8, 12, 20) for bad in (0, 1, 3, count // 2))
"""As SUBSETS, for small batches."""

DRAWN_IMAGES = 150
"""Images that are drawn of each material."""


def all_sets(data: Path, kinds: Sequence[str], folder: Path) -> Iterator[tuple[str, LabeledSet]]:
    """The sets of these kinds under their names."""
    if "labeled" in kinds:
        yield from ((one.name, one) for one in labeled_sets(data))
    if "drawn" in kinds:
        yield from ((name, draw(0)) for name, draw in drawn_sets(folder, defects(), DRAWN_IMAGES).items())
    if "photographs" in kinds:
        yield from ((name, draw(0)) for name, draw in photograph_sets(data, folder, defects(), DRAWN_IMAGES).items())


def subset(
    data: LabeledSet, composition: tuple[int | None, int | None], most: int, draw: int
) -> tuple[list[Path], int]:
    """Paths of a random subset, normal images first, and how many are normal."""
    normal, defective = composition
    order = np.random.default_rng(draw).permutation(len(data))
    anomalous = data.is_anomalous[order]
    chosen = [order[~anomalous][:most][:normal], order[anomalous][:most][:defective]]
    return [data.paths[index] for part in chosen for index in part], len(chosen[0])


def measure(paths: list[Path], normal: int, config: Config) -> tuple[float, float, int]:
    """Share called anomalous of the normal and of the other images (nan where there are none), number of groups."""
    result = run(paths, config)
    parts = np.split(result.is_anomalous, [normal])
    shares = [float(part.mean()) if len(part) else float("nan") for part in parts]
    return shares[0], shares[1], result.n_clusters


def main() -> None:
    """Measure every subset of every set."""
    options = parser(__doc__, data=True, settings=True)
    options.add_argument("--sets", nargs="+", choices=("labeled", "drawn", "photographs"), default=["labeled", "drawn"])
    options.add_argument("--small", action="store_true", help="subsets of 8, 12 and 20 images")
    options.add_argument("--most", type=int, default=80, help="images of one kind at most")
    options.add_argument("--draws", type=int, default=1, help="random subsets of each composition")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.draws))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = configuration(folder / "cache", args.settings).updated(n_clusters="auto")
        for name, data in all_sets(args.data, args.sets, folder):
            for composition in SMALL if args.small else SUBSETS:
                drawn = [subset(data, composition, args.most, draw) for draw in range(args.draws)]
                normal, defective, groups = zip(*(measure(*one, config) for one in drawn), strict=True)
                paths, count = drawn[0]
                report.add(name, count, len(paths) - count, known(normal), known(defective), list(groups))
    report.end()


if __name__ == "__main__":
    main()
