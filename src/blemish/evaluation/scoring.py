"""Scores of a finished run against a labeled set: groups against classes, maps against masks, image scores."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from blemish.errors import InputError, shown
from blemish.evaluation.labeled_set import LabeledSet, is_normal
from blemish.evaluation.masks import read_mask_of
from blemish.evaluation.metrics import (
    ConfusionTable,
    average_precision,
    clustering_scores,
    confusion_table,
    image_auroc,
)
from blemish.evaluation.pixel_metrics import PixelScores
from blemish.results import Result, Skipped

if TYPE_CHECKING:
    from blemish.runtime.progress import Progress

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
"""Each score's key with its name in tables, in the order of the columns."""

MAX_FPR = 0.3
"""False positive rate up to which AUPRO is integrated, as in published tables."""


@dataclass(frozen=True)
class RunScores:
    """The scores of one run.

    Attributes:
        seed: the seed of the run.
        scores: one value per key of :data:`SCORES`; ``nan`` if a score is not defined (no masks, no normal image).
        confusion: number of images of each class in each group.
        group_names: name of each group, in the order of the columns of ``confusion``.
        groups: number of groups.
        share_anomalous: share of the images that the run calls anomalous.
        skipped: images that the run could not read; no score includes them.
        left_out: images, or their masks, that no pixel score includes, each with the reason.
        ignored_pixels: pixels that masks mark as "ignore"; no pixel score includes them.
        pixel_error_bounds: upper bound of the error of each pixel score, see :meth:`PixelScores.error_bounds`.
        seconds: duration of the run without the scoring.
        timings: seconds per stage.
        info: settings, versions and weights, as in ``run.json``.
    """

    seed: int
    scores: dict[str, float]
    confusion: ConfusionTable
    group_names: list[str]
    groups: int
    share_anomalous: float
    skipped: list[Skipped] = field(default_factory=list)
    left_out: list[Skipped] = field(default_factory=list)
    ignored_pixels: int = 0
    pixel_error_bounds: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    timings: dict[str, float] = field(default_factory=dict)
    info: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreSummary:
    """One score over several runs or several sets.

    Attributes:
        mean: mean of the defined values; ``nan`` if there is none.
        deviation: sample standard deviation (n - 1); ``nan`` for fewer than two values.
        low: smallest value.
        high: largest value.
        count: number of defined values.
    """

    mean: float
    deviation: float
    low: float
    high: float
    count: int


def summarize(values: Iterable[float]) -> ScoreSummary:
    """Mean, standard deviation and range of the values that are not ``nan``.

    >>> summarize([0.5, 0.7, math.nan])
    ScoreSummary(mean=0.6, deviation=0.1414..., low=0.5, high=0.7, count=2)
    """
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return ScoreSummary(math.nan, math.nan, math.nan, math.nan, 0)
    deviation = statistics.stdev(known) if len(known) > 1 else math.nan
    return ScoreSummary(statistics.fmean(known), deviation, min(known), max(known), len(known))


def score(
    result: Result, data: LabeledSet, *, seed: int = 0, seconds: float = math.nan, progress: Progress | None = None
) -> RunScores:
    """Score a finished run on the images of a labeled set.

    Args:
        result: the run; images that it could not read are in no score.
        data: the set that the run's images come from.
        seed: the seed of the run, for the record.
        seconds: the duration of the run, for the record.
        progress: is told about the scoring as one stage.

    Raises:
        InputError: the run holds an image that is not in the set. A mask that cannot be used is no error: it is in
            ``left_out``.
    """
    from blemish.runtime.progress import SilentProgress, Stage

    seen = data.matching(result.paths)
    scores = clustering_scores(seen.labels, result.labels)
    with (progress or SilentProgress()).stage(Stage.SCORING, len(seen)) as bar:
        pixels, left_out, ignored = _score_pixels(result, seen, bar.advance)
    scores |= pixels.scores()
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
        left_out=left_out,
        ignored_pixels=ignored,
        pixel_error_bounds=pixels.error_bounds(),
        seconds=seconds,
        timings=dict(result.timings),
        info=dict(result.info),
    )


def _score_pixels(
    result: Result, seen: LabeledSet, advance: Callable[[], None]
) -> tuple[PixelScores, list[Skipped], int]:
    """Scores at the size of the images, the images without a usable mask, and the number of ignored pixels.

    Types without any mask are not compared; an image without a mask in a type with masks is left out by name.
    """
    pixels, left_out, ignored = PixelScores(MAX_FPR), list[Skipped](), 0
    if not seen.has_masks:
        return pixels, left_out, ignored
    types_with_masks = {label for label, mask in zip(seen.labels, seen.masks, strict=True) if mask is not None}
    for index, file in enumerate(seen.masks):
        height, width = (int(side) for side in result.sizes[index])
        if file is not None:
            try:
                mask = read_mask_of(file, height, width)
            except InputError as error:
                left_out.append(Skipped(file.as_posix(), str(error).removeprefix(f"{shown(file)}: ")))
            else:
                pixels.update(np.asarray(result.maps[index]), mask.defect, ignored=mask.ignored)
                ignored += 0 if mask.ignored is None else int(mask.ignored.sum())
        elif is_normal(seen.labels[index]):
            pixels.update(np.asarray(result.maps[index]), None, (height, width))
        elif seen.labels[index] in types_with_masks:
            reason = "has no mask, although other images of its type have one; add its mask"
            left_out.append(Skipped(seen.paths[index].as_posix(), reason))
        advance()
    return pixels, left_out, ignored


def _normal_first(table: ConfusionTable) -> ConfusionTable:
    order = sorted(range(len(table.classes)), key=lambda i: (not is_normal(table.classes[i]), i))
    classes, matching = [table.classes[i] for i in order], [table.matching[i] for i in order]
    return ConfusionTable(classes, table.clusters, table.counts[order], matching)
