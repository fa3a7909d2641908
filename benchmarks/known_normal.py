"""What a few known normal images gain, and what they cost: runs with and without them.

    python -m benchmarks.known_normal --data FOLDER [--sets "magnetic tiles" leather] [--known 50] [--draws 5]
        [--set section.key=value] [--write]

In each draw, some normal images of a set are known. Both runs are scored on the other images, so that a known image is
never among those that count.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import configuration, known
from benchmarks._sets import LABELED, PANEL, labeled_sets
from blemish.clustering import with_normal
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.metrics import image_auroc, nmi
from blemish.images import ImageSource
from blemish.pipeline import run
from blemish.results import Result

BENCHMARK = Benchmark(
    name="known_normal",
    title="Known normal images",
    text=(
        "Runs in which some normal images, drawn at random, are known to be normal, and a run without any knowledge, both "
        "scored on the other images of each draw. At most half of a set's normal images are known. The number of groups is "
        "given. Found: defective images that are called anomalous. False alarms: normal images that are."
    ),
    columns=(
        Column("set"),
        Column("known", "integer"),
        Column("others", "integer"),
        Column("grouped by", "text"),
        Column("image AUROC", "spread"),
        Column("found", "spread"),
        Column("false alarms", "spread"),
        Column("NMI", "spread"),
    ),
)


def main() -> None:
    """Measure every set without and with known normal images."""
    options = parser(__doc__, data=True, settings=True)
    options.add_argument("--sets", nargs="+", choices=[*LABELED, *PANEL], default=["magnetic tiles", "leather"])
    options.add_argument("--known", type=int, default=50)
    options.add_argument("--draws", type=int, default=5)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.draws))
    with tempfile.TemporaryDirectory() as temporary:
        config = configuration(Path(temporary) / "cache", args.settings)
        for data in labeled_sets(args.data, args.sets):
            config = config.updated(n_clusters=len(data.classes))
            normal = np.flatnonzero(~data.is_anomalous)
            count = min(args.known, len(normal) // 2)
            draws = [np.random.default_rng(seed).choice(normal, count, replace=False) for seed in range(args.draws)]
            plain = run(list(data.paths), config)
            _add(report, data, 0, draws, [plain] * len(draws))
            _add(report, data, count, draws, [_told(data, config, drawn) for drawn in draws])
    report.end()


def _told(data: LabeledSet, config: Config, drawn: np.ndarray) -> Result:
    """A run that knows that these images are normal."""
    source = ImageSource(list(data.paths), config.image)
    return run(source, config, knowledge=with_normal(None, [source.names[i] for i in drawn]))


def _add(report: Report, data: LabeledSet, count: int, draws: list[np.ndarray], results: list[Result]) -> None:
    """One row: each run scored on the images that its draw has left."""
    cells = zip(*(_scores(data, drawn, result) for drawn, result in zip(draws, results, strict=True)), strict=True)
    views = " ".join(sorted({result.group_by for result in results}))
    report.add(data.name, count, len(data) - len(draws[0]), views, *(known(values) for values in cells))


def _scores(data: LabeledSet, drawn: np.ndarray, result: Result) -> tuple[float, float, float, float]:
    """Image AUROC, found, false alarms and NMI on the other images."""
    rest = np.setdiff1d(np.arange(len(data)), drawn)
    truth, called = np.asarray(data.is_anomalous)[rest], result.is_anomalous[rest]
    labels = [data.labels[i] for i in rest]
    return (
        image_auroc(result.scores[rest], truth),
        float(called[truth].mean()),
        float(called[~truth].mean()),
        nmi(labels, result.labels[rest].tolist()),
    )


if __name__ == "__main__":
    main()
