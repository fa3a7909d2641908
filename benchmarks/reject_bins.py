"""Reject bins: labeled sets with no normal image, or with a few.

    python -m benchmarks.reject_bins --data FOLDER [--sets leather leaves wood "steel strip"] [--seeds 1]
        [--set section.key=value] [--write]

Where most images have one of a few defects, the same defect is in many images and could be taken for normal texture.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import configuration, known
from benchmarks._sets import LABELED, PANEL, labeled_sets
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.evaluate import run_and_score

BENCHMARK = Benchmark(
    name="reject_bins",
    title="Reject bins",
    text=(
        "All defective images of a set, and as many normal ones as make the given share of the bin. The number of groups "
        "is given. Found: defective images that are called anomalous. False alarms: normal images that are. Pixel AUROC: "
        "where masks exist, how well the maps tell defects from the rest."
    ),
    columns=(
        Column("set"),
        Column("normal", "number", "%"),
        Column("images", "integer"),
        Column("grouped by", "text"),
        Column("found", "spread"),
        Column("false alarms", "spread"),
        Column("pixel AUROC", "spread"),
        Column("NMI", "spread"),
    ),
)

SHARES = 0.0, 0.02, 0.05, 0.1
"""Normal images as a share of the bin."""


def reject_bin(data: LabeledSet, share: float, seed: int) -> LabeledSet:
    """The defective images of a set, and some of the normal ones."""
    defective = np.flatnonzero(data.is_anomalous)
    normal = np.flatnonzero(~data.is_anomalous)
    count = min(len(normal), round(len(defective) * share / (1 - share)))
    drawn = np.random.default_rng(seed).choice(normal, count, replace=False)
    return data.take(sorted([*defective.tolist(), *drawn.tolist()]))


def measure(data: LabeledSet, config: Config) -> tuple[str, float, float, float, float]:
    """The view, shares of defective and of normal images called, pixel AUROC, NMI."""
    result, scored = run_and_score(data, config.updated(n_clusters=len(data.classes)))
    truth, called = data.matching(result.paths).is_anomalous, result.is_anomalous
    found = float(called[truth].mean())
    alarms = float(called[~truth].mean()) if (~truth).any() else float("nan")
    return result.group_by, found, alarms, scored.scores["pixel_auroc"], scored.scores["nmi"]


def main() -> None:
    """Measure every set with every share of normal images."""
    options = parser(__doc__, data=True, settings=True)
    options.add_argument(
        "--sets", nargs="+", choices=[*LABELED, *PANEL], default=["leather", "leaves", "wood", "steel strip"]
    )
    options.add_argument("--seeds", type=int, default=1)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.seeds))
    with tempfile.TemporaryDirectory() as temporary:
        config = configuration(Path(temporary) / "cache", args.settings)
        for data in labeled_sets(args.data, args.sets):
            for share in SHARES if not data.is_anomalous.all() else SHARES[:1]:
                bins = [reject_bin(data, share, seed) for seed in range(args.seeds)]
                runs = [measure(one, config.updated(seed=seed)) for seed, one in enumerate(bins)]
                views, *scores = zip(*runs, strict=True)
                cells = (known(values) for values in scores)
                report.add(data.name, round(100 * share), len(bins[0]), " ".join(sorted(set(views))), *cells)
    report.end()


if __name__ == "__main__":
    main()
