"""Run blind on a labeled set, score afterwards: groups against types, maps against masks.

The pipeline is given image paths and settings only. The labels are read once it has ended, with one exception, which is
the published protocol too: the number of groups is the number of classes, unless it is given or ``auto`` is asked for.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from blemish.errors import ConfigError, InputError
from blemish.evaluation.datasets import LabeledSet, is_normal, read_mask
from blemish.evaluation.metrics import (
    ConfusionTable,
    PixelScores,
    average_precision,
    clustering_scores,
    confusion_table,
    image_auroc,
)
from blemish.results import Result, Skipped

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.config.schema import Config
    from blemish.pipeline import Advancing, Progress

SCORES: dict[str, str] = {
    "nmi": "NMI",
    "ari": "ARI",
    "f1": "F1",
    "purity": "purity",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
}
"""Every score with the name that tables show, in their order."""

MAX_FPR = 0.3
"""Share of false positive pixels up to which AUPRO integrates, as published tables do."""


@dataclass(frozen=True)
class RunScores:
    """What one run reached.

    Attributes:
        seed: of the run.
        scores: :data:`SCORES` by name; ``nan`` where one is not defined (no masks, no normal image).
        confusion: images of each class in each group.
        group_names: name of each group, the columns of ``confusion``.
        groups: how many there are.
        share_anomalous: share of the images called anomalous.
        skipped: files that could not be read; they are in no score.
        seconds: of the run, without the scoring.
        timings: seconds per stage.
        info: settings, versions, weights: what run.json repeats.
    """

    seed: int
    scores: dict[str, float]
    confusion: ConfusionTable
    group_names: list[str]
    groups: int
    share_anomalous: float
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = math.nan
    timings: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """One score over several runs or sets.

    Attributes:
        mean: of those where it is defined; ``nan`` if it is nowhere.
        deviation: standard deviation of a sample (n - 1); ``nan`` for fewer than two.
        low: the least. high: the greatest.
        count: how many the score is defined for.
    """

    mean: float
    deviation: float
    low: float
    high: float
    count: int


def spread(values: Iterable[float]) -> Spread:
    """Mean, standard deviation and range of the values that are numbers.

    >>> spread([0.5, 0.7, math.nan])
    Spread(mean=0.6, deviation=0.1414..., low=0.5, high=0.7, count=2)
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Spread(math.nan, math.nan, math.nan, math.nan, 0)
    deviation = statistics.stdev(known) if len(known) > 1 else math.nan
    return Spread(statistics.fmean(known), deviation, min(known), max(known), len(known))


@dataclass(frozen=True)
class Evaluation:
    """The runs on one set.

    Attributes:
        name: of the set.
        class_counts: images of each class, normal ones first.
        clusters: number of groups asked for, or ``auto``.
        clusters_from_labels: whether that number is the one fact taken from the labels.
        undrawn: images of defect types without masks, which pixel scores leave out.
        runs: one per seed.
    """

    name: str
    class_counts: dict[str, int]
    clusters: int | Literal["auto"]
    clusters_from_labels: bool
    undrawn: int
    runs: list[RunScores]

    @property
    def images(self) -> int:
        """Images in the set."""
        return sum(self.class_counts.values())

    def summary(self) -> dict[str, Spread]:
        """Each score over the seeds."""
        return {name: spread(run.scores[name] for run in self.runs) for name in SCORES}


def mean_over_sets(evaluations: Sequence[Evaluation]) -> dict[str, Spread]:
    """Each score's mean over sets, every set with the mean of its seeds; ``count`` says how many sets have the score."""
    means = [one.summary() for one in evaluations]
    return {name: spread(summary[name].mean for summary in means) for name in SCORES}


def evaluate(
    data: LabeledSet,
    config: Config | None = None,
    *,
    clusters: int | Literal["auto"] | None = None,
    seeds: Sequence[int] | None = None,
    backbone: Backbone | None = None,
    progress: Progress | None = None,
    after_run: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Run the pipeline on the images of a labeled set, once per seed, and score what it found.

    Args:
        data: what :func:`blemish.evaluation.datasets.load_dataset` returns, or a part of it.
        config: settings; default ``Config()``.
        clusters: number of groups, or ``auto`` for the blind estimate. None: ``config.clusters`` if that is a number,
            else the number of classes in ``data``, the only thing read from the labels before the runs.
        seeds: default: the one in ``config``.
        backbone: a network of the caller's in place of ``backbone.name``.
        progress: told of every stage of every run.
        after_run: given the evaluation as far as it is, after every run.

    Returns:
        Scores of every run.

    Raises:
        InputError: an empty set, nothing readable, a damaged mask. ConfigError: no seed, or settings that do not fit.

    Cost: that of the runs, plus some 30 ns per image pixel for the pixel scores.
    """
    settings, wanted = checked(data, config, seeds)
    k = groups_for(data, settings, clusters)
    counts = Counter(data.labels)
    undrawn = int((~data.is_drawn).sum()) if data.has_masks else 0
    from_labels = clusters is None and settings.clusters == "auto"
    found = Evaluation(data.name, {c: counts[c] for c in data.classes}, k, from_labels, undrawn, [])
    for number, seed in enumerate(wanted):
        show = Prefixed(progress, f"{data.name} {number + 1}/{len(wanted)}: ") if progress else None
        # without the cache: the seconds are part of the answer
        asked = settings.updated(clusters=k, seed=seed, **{"cache.enabled": False})
        scored = run_and_score(data, asked, backbone=backbone, progress=show)[1]
        found = replace(found, runs=[*found.runs, scored])
        if after_run is not None:
            after_run(found)
    return found


def checked(data: LabeledSet, config: Config | None, seeds: Sequence[int] | None) -> tuple[Config, list[int]]:
    """Settings and seeds with their defaults filled in.

    Raises:
        InputError: an empty set. ConfigError: no seed.
    """
    from blemish.config.schema import Config

    settings = config or Config()
    wanted = [settings.seed] if seeds is None else list(seeds)
    if not wanted or not len(data):
        raise (InputError if wanted else ConfigError)(f"{data.name}: give at least one image and one seed")
    return settings, wanted


def groups_for(
    data: LabeledSet, config: Config, clusters: int | Literal["auto"] | None = None
) -> int | Literal["auto"]:
    """How many groups to ask for: as given, else as the settings say, else as many as there are classes."""
    if clusters is not None:
        return clusters
    return len(data.classes) if config.clusters == "auto" else config.clusters


def run_and_score(
    data: LabeledSet, config: Config, *, backbone: Backbone | None = None, progress: Progress | None = None
) -> tuple[Result, RunScores]:
    """One run with exactly these settings (``clusters`` included), and its scores."""
    from blemish.pipeline import run

    start = time.perf_counter()
    found = run(list(data.paths), config, progress=progress, backbone=backbone)
    seconds = time.perf_counter() - start
    return found, score(found, data, seed=config.seed, seconds=seconds, progress=progress)


def score(
    result: Result, data: LabeledSet, *, seed: int = 0, seconds: float = math.nan, progress: Progress | None = None
) -> RunScores:
    """Scores of a finished run on the images of ``data``; images that the run could not read are in none of them.

    Raises:
        InputError: the run holds an image that the set does not; a mask that cannot be read.
    """
    from blemish.pipeline import Silent

    seen = data.matching(result.paths)
    scores = clustering_scores(seen.labels, result.labels)
    with (progress or Silent()).stage("Scoring", len(seen)) as bar:
        scores |= _pixel_scores(result, seen, bar.advance)
    scores["image_auroc"] = image_auroc(result.scores, seen.is_anomalous)
    scores["image_ap"] = average_precision(result.scores, seen.is_anomalous)
    table = _normal_first(confusion_table(seen.labels, result.labels))
    return RunScores(
        seed=seed,
        scores={name: scores[name] for name in SCORES},
        confusion=table,
        group_names=[result.cluster_name(label) for label in table.clusters],
        groups=result.n_clusters,
        share_anomalous=float(result.is_anomalous.mean()),
        skipped=list(result.skipped),
        seconds=seconds,
        timings=dict(result.timings),
        info=dict(result.info),
    )


def _pixel_scores(result: Result, seen: LabeledSet, done: Callable[[], None]) -> dict[str, float]:
    """At the size of the images; maps are brought there as the written masks and overlays are."""
    pixels = PixelScores(MAX_FPR)
    if not seen.has_masks:
        return pixels.scores()
    drawn = seen.is_drawn
    for index, mask in enumerate(seen.masks):
        if drawn[index]:
            truth = None if mask is None else read_mask(mask)
            height, width = (int(side) for side in result.sizes[index])
            pixels.update(np.asarray(result.maps[index]), truth, (height, width))
        done()
    return pixels.scores()


def _normal_first(table: ConfusionTable) -> ConfusionTable:
    order = sorted(range(len(table.classes)), key=lambda i: (not is_normal(table.classes[i]), i))
    classes, matching = [table.classes[i] for i in order], [table.matching[i] for i in order]
    return ConfusionTable(classes, table.clusters, table.counts[order], matching)


class Prefixed:
    """A progress display whose stages say which set and seed they belong to."""

    def __init__(self, inner: Progress, prefix: str) -> None:
        self.inner, self.prefix = inner, prefix

    def stage(self, name: str, total: int) -> AbstractContextManager[Advancing]:
        """A stage of the inner display, with the prefix."""
        return self.inner.stage(self.prefix + name, total)
