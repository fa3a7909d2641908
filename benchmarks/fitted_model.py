"""The fitted model on images that it has not seen, against a run on all images.

    python -m benchmarks.fitted_model --data FOLDER [--sets leather leaves] [--seeds 3] [--write]

Each set is divided in two at random, every type by itself. The model is fitted to one half and predicts the other. A run
on all images is scored on the images of that same half, so that both columns speak of the same images. For each type, a
model is fitted to the other types alone; the share of that type that it calls unlike anything seen is averaged over types.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import configuration
from benchmarks._sets import LABELED, drawn_sets, labeled_sets
from blemish.backbones import load_backbone
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet, is_normal
from blemish.evaluation.metrics import nmi
from blemish.features import Extractor
from blemish.model import FittedModel
from blemish.pipeline import run
from blemish.results import Result

BENCHMARK = Benchmark(
    name="fitted_model",
    title="A fitted model on further images",
    text=(
        "NMI on one half of the images: with a run on all of them, and predicted by a model fitted to the other half. Own "
        "labels: share of the fitted images that a prediction puts into the group that the run gave them. Sure: images "
        "whose type is said to be at least 90 % probable, and how often the type is then right. Unlike: share of a type "
        "that the model has never seen that is called unlike anything seen, and the same for types that it has seen."
    ),
    columns=(
        Column("set"),
        Column("settings"),
        Column("model, MB", "number", digits=1),
        Column("own labels", "spread"),
        Column("NMI, run on all", "spread"),
        Column("NMI, predicted", "spread"),
        Column("share sure", "spread"),
        Column("right if sure", "spread"),
        Column("new type unlike", "spread"),
        Column("known types unlike", "spread"),
        Column("ms per image", "number", digits=0),
        Column("network and map alone, ms", "number", digits=0),
    ),
)

DRAWN = ("scratch", "stain", "hole", "thread", "color")


def main() -> None:
    """Measure every set with the default settings and with the paper's preset."""
    options = parser(__doc__, data=True)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--sets", nargs="+", default=[*LABELED, "drawn weave"])
    options.add_argument("--limit", type=int, help="images of each set at most")
    options.add_argument("--presets", nargs="+", default=["default"])
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.seeds))
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            if name in LABELED:
                data = next(iter(labeled_sets(args.data, [name], args.limit)))
            else:
                data = drawn_sets(Path(folder), DRAWN, 60)[name](0)
            for preset in args.presets:
                config = configuration(Path(folder) / "cache", preset=preset)
                report.add(name, preset, *_measured(data, config, args.seeds))
    report.end()


def _measured(data: LabeledSet, config: Config, seeds: int) -> list[object]:
    """The cells of one row."""
    paths, labels = [Path(path) for path in data.paths], list(data.labels)
    whole = config.updated(n_clusters=len(set(labels)))
    own, on_all, predicted, sure, right, known, new = ([] for _ in range(7))
    size = model = None
    for seed in range(seeds):
        complete = run(paths, whole.updated(seed=seed))
        again = _model(complete).predict(paths)
        own.append(float((again.labels == complete.labels).mean()))
        fit, rest = _halves(labels, seed)
        half = run([paths[i] for i in fit], whole.updated(seed=seed))
        model = _model(half)
        size = len(model.content) / 1e6
        result = model.predict([paths[i] for i in rest])
        truth = [labels[i] for i in rest]
        on_all.append(nmi(truth, complete.labels[rest].tolist()))
        predicted.append(nmi(truth, result.labels.tolist()))
        share, correct = _when_sure(half, [labels[i] for i in fit], result, truth)
        sure.append(share)
        right.append(correct)
        known.append(_unlike(result))
        new.append(_new_types(paths, labels, config.updated(seed=seed)))
    assert model is not None
    each, alone = _milliseconds(model, paths[:20])
    return [size, own, on_all, predicted, sure, right, new, known, each, alone]


def _model(result: Result) -> FittedModel:
    assert isinstance(result.model, FittedModel)
    return result.model


def _halves(labels: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
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
    right = [names[int(result.labels[i])] == labels[i] for i in np.flatnonzero(sure)]
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


def _milliseconds(model: FittedModel, paths: Sequence[Path]) -> tuple[float, float]:
    """Median time of a prediction of one image after the start, and of network and map alone on the same images."""
    network = load_backbone(model.config.backbone.name)
    extractor = Extractor(network, model.config.backbone)
    whole, alone = [], []
    for path in [paths[0], *paths]:  # the first one warms up
        start = time.perf_counter()
        model.predict([path], backbone=network, device="cpu")
        whole.append(time.perf_counter() - start)
        source = model.source([path])
        pixels = torch.from_numpy(source.small(0))[None]
        start = time.perf_counter()
        features = model.localization.normalizer.apply(extractor.raw(pixels)[0])
        model.localization.map_model.anomaly_map(features)
        alone.append(time.perf_counter() - start)
    return 1000 * float(np.median(whole[1:])), 1000 * float(np.median(alone[1:]))


if __name__ == "__main__":
    main()
