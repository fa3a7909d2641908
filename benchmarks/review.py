"""What twenty corrections of a person are worth: NMI before and after, the images of next_to_check.csv or random ones.

    python -m benchmarks.review --data FOLDER [--seeds 3] [--draws 10] [--write]

A simulated person looks at twenty images and says for each whether it belongs into its group, and if not, into which. The
groups stand for the labeled types that they match best. The images are those of ``next_to_check.csv``, or random ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._sets import labeled_sets
from blemish.clustering.constraints import follow_corrections
from blemish.config.schema import Config
from blemish.evaluation.metrics import nmi
from blemish.output.next_to_check import next_to_check
from blemish.pipeline import run
from blemish.results import Result
from blemish.types import IntArray

BENCHMARK = Benchmark(
    name="review",
    title="Twenty corrections",
    text=(
        "NMI before and after a person has looked at twenty images: those of next_to_check.csv, or random ones. `alone`: "
        "only the images that were looked at change. `followed`: images around corrected ones follow, as in a run with "
        "--review. `wrong`: how many of the twenty were in a wrong group."
    ),
    columns=(
        Column("set"),
        Column("images", "integer"),
        Column("chosen"),
        Column("wrong", "spread", digits=1),
        Column("NMI before", "spread"),
        Column("NMI after, alone", "spread"),
        Column("NMI after, followed", "spread"),
    ),
)

CORRECTIONS = 20


@dataclass
class Scores:
    """One list entry per seed, or per seed and draw."""

    wrong: list[float]
    before: list[float]
    alone: list[float]
    followed: list[float]


def true_groups(result: Result, types: list[str]) -> IntArray:
    """The group that each image belongs to: groups and types are matched one to one, so that most images agree."""
    names = sorted(set(types))
    truth = np.array([names.index(one) for one in types])
    shared = np.zeros((len(names), max(result.n_clusters, len(names))))
    np.add.at(shared, (truth, result.labels), 1)
    return linear_sum_assignment(shared, maximize=True)[1][truth].astype(np.int64)


def add(scores: Scores, result: Result, types: list[str], images: npt.NDArray[np.int64]) -> None:
    """Score the corrections of some images."""
    truth = true_groups(result, types)
    alone = result.labels.copy()
    alone[images] = truth[images]
    followed = follow_corrections(result.descriptors, result.labels, images, truth[images])
    scores.wrong.append(float((result.labels[images] != truth[images]).sum()))
    for values, labels in ((scores.before, result.labels), (scores.alone, alone), (scores.followed, followed)):
        values.append(nmi(types, labels.tolist()))


def main() -> None:
    """Measure leather and leaves."""
    options = parser(__doc__, data=True)
    options.add_argument("--seeds", type=int, default=3, help="runs of each set")
    options.add_argument("--draws", type=int, default=10, help="random choices for each run")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.seeds))
    for data in labeled_sets(args.data, ("leather", "leaves")):
        types = list(data.labels)
        listed, random = (Scores([], [], [], []) for _ in range(2))
        for seed in range(args.seeds):
            config = Config.from_values({"n_clusters": len(set(types)), "seed": seed, "cache.enabled": False})
            result = run(list(data.paths), config)
            add(listed, result, types, np.array([row for row, _ in next_to_check(result, CORRECTIONS)]))
            rng = np.random.default_rng(seed)
            for _ in range(args.draws):
                add(random, result, types, rng.choice(len(types), CORRECTIONS, replace=False))
        for name, scores in (("next to check", listed), ("at random", random)):
            report.add(data.name, len(types), name, scores.wrong, scores.before, scores.alone, scores.followed)
    report.end()


if __name__ == "__main__":
    main()
