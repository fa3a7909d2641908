"""The fitted model on images that it has not seen, against a run on all images.

    python -m benchmarks.fitted_model --data FOLDER [--sets leather leaves] [--seeds 3] [--cache-dir DIR] [--write]

Each set is divided in two at random, every type by itself. The model is fitted to one half and predicts the other. A run
on all images is scored on the images of that same half, so that both columns speak of the same images. For each type, a
model is fitted to the other types alone; the share of that type that it calls unlike anything seen is averaged over types.
Ten updates fold in a tenth of the other half each, at most 30 images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Cell, Column
from benchmarks._scoring import configuration
from benchmarks._sets import LABELED, named_set
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet, is_normal
from blemish.evaluation.metrics import nmi
from blemish.model import FittedModel, update
from blemish.pipeline import run
from blemish.results import Result

BENCHMARK = Benchmark(
    name="fitted_model",
    title="A fitted model on further images",
    text=(
        "NMI on one half of the images: with a run on all of them, and predicted by a model fitted to the other half. Own "
        "labels: share of the fitted images that a prediction puts into the group that the run gave them; maps: largest "
        "difference between its maps and those of the run, relative to the threshold. Sure: images "
        "whose type is said to be at least 90 % probable, and how often the type is then right. Unlike: share of a type "
        "that the model has never seen that is called unlike anything seen, and the same for types that it has seen. "
        "Updated: NMI on all images, predicted after ten updates of a model that was fitted to half of them."
    ),
    columns=(
        Column("set"),
        Column("settings"),
        Column("model, MB", "number", digits=1),
        Column("own labels", "spread"),
        Column("maps", "scientific"),
        Column("NMI, run on all", "spread"),
        Column("NMI, predicted", "spread"),
        Column("share sure", "spread"),
        Column("right if sure", "spread"),
        Column("new type unlike", "spread"),
        Column("known types unlike", "spread"),
        Column("NMI, one fit to all", "spread"),
        Column("NMI, updated", "spread"),
    ),
)

UPDATES, UPDATE_IMAGES = 10, 30
"""Number of updates, and most images of one."""


def main() -> None:
    """Measure every set with the default settings and with the paper's preset."""
    options = parser(__doc__, data=True, cache=True)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--sets", nargs="+", default=[*LABELED, "drawn weave"])
    options.add_argument("--limit", type=int, help="images of each set at most")
    options.add_argument("--presets", nargs="+", default=["default"])
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.seeds))
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            data = named_set(args.data, Path(folder), name, limit=args.limit)
            for preset in args.presets:
                config = configuration(args.cache_dir or Path(folder) / "cache", preset=preset)
                report.add(name, preset, *_measured(data, config, args.seeds))
    report.end()


@dataclass
class Scores:
    """The columns with one value per seed, in the order of the table."""

    own: list[float] = field(default_factory=list)
    on_all: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    sure: list[float] = field(default_factory=list)
    right: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)
    known: list[float] = field(default_factory=list)
    one_fit: list[float] = field(default_factory=list)
    updated: list[float] = field(default_factory=list)


def _measured(data: LabeledSet, config: Config, seeds: int) -> list[Cell]:
    """The cells of one row."""
    paths, labels = list(data.paths), list(data.labels)
    scores, difference, size = Scores(), 0.0, 0.0
    for seed in range(seeds):
        whole = config.updated(n_clusters=len(set(labels)), seed=seed)
        complete = run(paths, whole)
        again = _model(complete).predict(paths)
        difference = max(difference, _largest_difference(complete, again))
        scores.own.append(float((again.labels == complete.labels).mean()))
        fit, rest = halves(labels, seed)
        half = run([paths[i] for i in fit], whole)
        model = _model(half)
        size = len(model.content) / 1e6
        result = model.predict([paths[i] for i in rest], cache=config.cache)
        truth = [labels[i] for i in rest]
        scores.on_all.append(nmi(truth, complete.labels[rest].tolist()))
        scores.predicted.append(nmi(truth, result.labels.tolist()))
        share, correct = _when_sure(half, [labels[i] for i in fit], result, truth)
        scores.sure.append(share)
        scores.right.append(correct)
        scores.known.append(_unlike(result))
        scores.new.append(_new_types(paths, labels, config.updated(seed=seed)))
        scores.one_fit.append(nmi(labels, complete.labels.tolist()))
        scores.updated.append(_after_updates(model, paths, labels, rest, config, seed))
    s = scores
    return [size, s.own, difference, s.on_all, s.predicted, s.sure, s.right, s.new, s.known, s.one_fit, s.updated]


def _largest_difference(run_result: Result, again: Result) -> float:
    """Largest difference of two results' maps, relative to the threshold."""
    pairs = zip(run_result.maps, again.maps, strict=True)
    return max(float(np.abs(one - other).max()) for one, other in pairs) / run_result.threshold


def _after_updates(
    model: FittedModel, paths: Sequence[Path], labels: Sequence[str], rest: Sequence[int], config: Config, seed: int
) -> float:
    """NMI on all images, predicted after the other images have been folded in, some at a time."""
    order = np.random.default_rng([seed, 1]).permutation(rest)
    for part in np.array_split(order[: UPDATES * UPDATE_IMAGES], UPDATES):
        model = update(model, model.predict([paths[i] for i in part], cache=config.cache)).model
    return nmi(labels, model.predict(paths, cache=config.cache).labels.tolist())


def _model(result: Result) -> FittedModel:
    assert isinstance(result.model, FittedModel)
    return result.model


def halves(labels: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Indices of the two halves, every type divided by itself."""
    rng, fit = np.random.default_rng(seed), set[int]()
    for label in sorted(set(labels)):
        members = [i for i, one in enumerate(labels) if one == label]
        fit.update(int(i) for i in rng.permutation(members)[: (len(members) + 1) // 2])
    return sorted(fit), [i for i in range(len(labels)) if i not in fit]


def _when_sure(fitted: Result, truth: Sequence[str], result: Result, labels: Sequence[str]) -> tuple[float, float]:
    """Share of images with a probability of at least 0.9, and how many of them have the most frequent type of their group."""
    names = {}
    for group in range(fitted.n_clusters):
        members = [one for one, label in zip(truth, fitted.labels, strict=True) if label == group]
        names[group] = max(sorted(set(members)), key=members.count)
    assert result.type_probability is not None
    sure = (result.type_probability >= 0.9) & (result.labels >= 0)
    right = [names[int(result.labels[i])] == labels[i] for i in np.flatnonzero(sure).tolist()]
    return float(sure.mean()), float(np.mean(right)) if right else float("nan")


def _unlike(result: Result) -> float:
    """Share of the anomalous images that are called unlike anything seen."""
    anomalous = result.is_anomalous
    return float((result.labels[anomalous] == -1).mean()) if anomalous.any() else 0.0


def _new_types(paths: Sequence[Path], labels: Sequence[str], config: Config) -> float:
    """Mean over types of the share that a model fitted without the type calls unlike anything seen."""
    shares = []
    for label in sorted(set(labels)):
        if is_normal(label):
            continue
        seen = [path for path, one in zip(paths, labels, strict=True) if one != label]
        unseen = [path for path, one in zip(paths, labels, strict=True) if one == label]
        model = _model(run(seen, config.updated(n_clusters=len(set(labels)) - 1)))
        shares.append(_unlike(model.predict(unseen)))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
