"""Scores against ground truth: do the groups match the defect types, and do the maps find the defects.

Only evaluation imports this module; the method never sees a label. Clustering scores take two equally long label
sequences of any hashable kind and do not depend on how the labels are named. Localization scores take anomaly maps and
masks of any sizes.

What is not defined is ``nan``, never a made-up number: an AUROC without positives or without negatives, an AP without
positives, AUPRO without a defect region or without a normal pixel, everything on empty input.

Pixels of a set run to hundreds of millions, so they are not sorted but counted in bins (:class:`PixelScores`): a
value's sign, exponent and first 12 bits of mantissa name its bin, which makes bins 0.02 % wide relative to the value.
Values that differ by less count as tied. The greatest error that this can cause is computed along with the scores, see
:meth:`PixelScores.error_bounds`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.types import IntArray

Labels = Sequence[Hashable] | npt.NDArray[Any]
MaskLike = npt.NDArray[Any] | None

_SHIFT = 11  # of a float32's 32 bits, this many low ones are ignored: 2^21 bins, 16 MB per histogram
_BINS = 1 << (32 - _SHIFT)
_BATCH = 1 << 22  # pixels collected before they are counted


@dataclass(frozen=True)
class ConfusionTable:
    """How the images of each class spread over the clusters.

    Attributes:
        classes: distinct true labels, sorted by their text; the rows.
        clusters: distinct predicted labels, sorted alike (numbers by value); the columns.
        counts: int64 len(classes) x len(clusters).
        matching: for each row the column of its partner, -1 where none is left. The one-to-one matching with the most
            images in common (Hungarian method).
    """

    classes: list[Any]
    clusters: list[Any]
    counts: IntArray
    matching: list[int]


def confusion_table(truth: Labels, predicted: Labels) -> ConfusionTable:
    """Contingency of classes and clusters with their best one-to-one matching.

    >>> table = confusion_table(["good", "cut", "cut", "good"], [1, 0, 0, 0])
    >>> table.classes, table.clusters, table.counts.tolist(), table.matching
    (['cut', 'good'], [0, 1], [[2, 0], [1, 1]], [0, 1])
    """
    from scipy.optimize import linear_sum_assignment

    classes, rows = _encode(truth)
    clusters, columns = _encode(predicted)
    if len(rows) != len(columns):
        raise InputError(f"{len(rows)} true labels against {len(columns)} predicted ones; give one of each per image")
    flat = np.bincount(rows * len(clusters) + columns, minlength=len(classes) * len(clusters))
    counts = flat.reshape(len(classes), len(clusters)).astype(np.int64)
    matching = [-1] * len(classes)
    for row, column in zip(*linear_sum_assignment(counts, maximize=True), strict=True):
        matching[int(row)] = int(column)
    return ConfusionTable(classes, clusters, counts, matching)


def nmi(truth: Labels, predicted: Labels) -> float:
    """Normalized mutual information in [0, 1], arithmetic mean of the entropies; 1 where both are one single group."""
    from sklearn.metrics import normalized_mutual_info_score

    rows, columns = _pair(truth, predicted)
    if not len(rows):
        return math.nan
    return float(normalized_mutual_info_score(rows, columns, average_method="arithmetic"))


def ari(truth: Labels, predicted: Labels) -> float:
    """Adjusted Rand index in [-0.5, 1]; 0 expected by chance, 1 where the partitions are equal."""
    from sklearn.metrics import adjusted_rand_score

    rows, columns = _pair(truth, predicted)
    return float(adjusted_rand_score(rows, columns)) if len(rows) else math.nan


def matched_f1(truth: Labels, predicted: Labels) -> float:
    """Micro-F1 after Hungarian matching of clusters to classes, in [0, 1].

    With one label per image, micro-precision, micro-recall and accuracy are one number: the share of images whose
    cluster is matched to their class. Images in clusters left without a class (more clusters than classes) count as
    wrong, images of classes left without a cluster too.

    >>> matched_f1(["a", "a", "b", "b", "b"], [7, 7, 3, 3, 9])
    0.8
    """
    table = confusion_table(truth, predicted)
    total = int(table.counts.sum())
    hits = sum(int(table.counts[row, column]) for row, column in enumerate(table.matching) if column >= 0)
    return hits / total if total else math.nan


def purity(truth: Labels, predicted: Labels) -> float:
    """Share of images that belong to the most frequent class of their cluster, in (0, 1]; grows with clusters."""
    counts = confusion_table(truth, predicted).counts
    return int(counts.max(axis=0).sum()) / int(counts.sum()) if counts.size else math.nan


def clustering_scores(truth: Labels, predicted: Labels) -> dict[str, float]:
    """NMI, ARI, matched F1 and purity by name."""
    scores = {"nmi": nmi, "ari": ari, "f1": matched_f1, "purity": purity}
    return {name: score(truth, predicted) for name, score in scores.items()}


def image_auroc(scores: npt.ArrayLike, is_anomalous: npt.ArrayLike) -> float:
    """Chance that an anomalous image scores above a normal one, ties counting half; nan unless both kinds are there."""
    from sklearn.metrics import roc_auc_score

    values, positive = _scored(scores, is_anomalous)
    return float(roc_auc_score(positive, values)) if 0 < positive.sum() < len(positive) else math.nan


def average_precision(scores: npt.ArrayLike, is_anomalous: npt.ArrayLike) -> float:
    """Area under precision against recall, as a sum of steps (no interpolation); nan without an anomalous entry."""
    from sklearn.metrics import average_precision_score

    values, positive = _scored(scores, is_anomalous)
    return float(average_precision_score(positive, values)) if positive.any() else math.nan


class PixelScores:
    """Pixel-level scores of a set, fed one image at a time in bounded memory.

    Args:
        max_fpr: share of false positives up to which AUPRO integrates, in (0, 1].

    Every image is compared at the size of its mask, maps are brought there bilinearly. A defect-free image counts with
    the size
    that :meth:`update` is given. Memory: about 150 MB whatever the set. Cost: some 20 ns per pixel, apart from the
    resizing.

    >>> scores = PixelScores()
    >>> scores.update(np.array([[0.1, 0.7], [0.8, 0.1]]), mask=np.array([[0, 0], [1, 0]]))
    >>> scores.update(np.array([[0.2, 0.1]]))
    >>> scores.scores()
    {'pixel_auroc': 1.0, 'pixel_ap': 1.0, 'aupro': 1.0}
    """

    def __init__(self, max_fpr: float = 0.3) -> None:
        if not 0 < max_fpr <= 1:
            raise InputError(f"max_fpr {max_fpr} must lie above 0 and at most at 1")
        self.max_fpr = max_fpr
        self.n_regions = 0
        self._normal = np.zeros(_BINS, dtype=np.int64)
        self._anomalous = np.zeros(_BINS, dtype=np.int64)
        self._overlap = np.zeros(_BINS, dtype=np.float64)
        self._waiting: list[npt.NDArray[np.uint32]] = []
        self._n_waiting = 0

    def update(self, anomaly_map: npt.NDArray[Any], mask: MaskLike = None, size: tuple[int, int] | None = None) -> None:
        """Add one image.

        Args:
            anomaly_map: float h x w, finite, higher = more anomalous.
            mask: H x W, above 0 = defect; None for a defect-free image.
            size: H and W of a defect-free image; the map's own size by default.

        Raises:
            InputError: a map or a mask that is not two-dimensional, empty, or not finite.
        """
        values = np.asarray(anomaly_map, dtype=np.float32)
        truth = None if mask is None else np.asarray(mask) > 0
        if values.ndim != 2 or not values.size or (truth is not None and (truth.ndim != 2 or not truth.size)):
            shapes = f"{values.shape} and {None if truth is None else truth.shape}"
            raise InputError(f"map and mask have shapes {shapes}; both must be two-dimensional and not empty")
        if not np.isfinite(values).all():
            raise InputError("an anomaly map holds NaN or infinite values; scores need finite maps")
        height, width = truth.shape if truth is not None else size or values.shape
        keys = _bins_of(_at_size(values, height, width))
        if truth is not None and truth.any():
            self._add_defects(keys, truth)
            keys = keys[~truth]
        self._waiting.append(keys.ravel())
        self._n_waiting += keys.size
        if self._n_waiting >= _BATCH:
            self._count()

    def auroc(self) -> float:
        """Area under the ROC curve over all pixels, ties counting half."""
        normal, anomalous, _ = self._curves()
        return _area(normal, anomalous)

    def average_precision(self) -> float:
        """Area under precision against recall over all pixels, as a sum of steps."""
        normal, anomalous, _ = self._curves()
        total = int(anomalous[-1])
        if not total:
            return math.nan
        gained = np.diff(anomalous)
        found = anomalous[1:] + normal[1:]
        return float(np.sum(gained / total * anomalous[1:] / np.maximum(found, 1)))

    def aupro(self) -> float:
        """Per-region overlap, averaged over defect regions and over false positive rates from 0 to ``max_fpr``, in [0,
        1].

        Regions are 8-connected components of the masks; each counts alike, however small. The curve is integrated by
        the
        trapezoid rule, cut off at ``max_fpr`` by linear interpolation, and divided by it.
        """
        normal, _, overlap = self._curves()
        return _area(normal, overlap, self.max_fpr) if self.n_regions else math.nan

    def error_bounds(self) -> dict[str, float]:
        """Greatest distance of each score from its value without binning, whatever the order inside the bins."""
        normal, anomalous, overlap = self._curves()
        reach = self.max_fpr * float(normal[-1])
        steps = np.minimum(normal[1:], reach) - np.minimum(normal[:-1], reach)

        def bound(gained: npt.NDArray[Any], widths: npt.NDArray[Any], whole: float) -> float:
            area = float(gained[-1]) * whole
            return float(np.sum(np.diff(gained) * widths)) / area if area else math.nan

        # AP: defects first in their bin make the best precision, last the worst
        best = anomalous[1:] / np.maximum(anomalous[1:] + normal[:-1], 1)
        worst = (anomalous[:-1] + 1) / (anomalous[:-1] + 1 + normal[1:])
        # AUROC: the order inside a bin moves half a rectangle up or down. At the cut-off of AUPRO a whole one may go.
        return {
            "pixel_auroc": bound(anomalous, np.diff(normal), float(normal[-1])) / 2,
            "pixel_ap": bound(anomalous, np.maximum(best - worst, 0), 1.0),
            "aupro": bound(overlap, steps, reach),
        }

    def scores(self) -> dict[str, float]:
        """Pixel AUROC, pixel AP and AUPRO by name."""
        return {"pixel_auroc": self.auroc(), "pixel_ap": self.average_precision(), "aupro": self.aupro()}

    def _add_defects(self, keys: npt.NDArray[np.uint32], truth: npt.NDArray[np.bool_]) -> None:
        from scipy.ndimage import label

        regions, count = label(truth, structure=np.ones((3, 3), dtype=int))
        inside, region = keys[truth], regions[truth]
        weights = 1.0 / np.bincount(region, minlength=count + 1)[region]
        # a defect has few pixels: adding at distinct bins is cheaper than a histogram of all of them
        bins, where = np.unique(inside, return_inverse=True)
        self._anomalous[bins] += np.bincount(where)
        self._overlap[bins] += np.bincount(where, weights=weights)
        self.n_regions += int(count)

    def _count(self) -> None:
        if self._waiting:
            self._normal += np.bincount(np.concatenate(self._waiting), minlength=_BINS)
        self._waiting, self._n_waiting = [], 0

    def _curves(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Cumulated from the highest bin down, starting at 0: normal pixels, anomalous pixels, sum of region shares."""
        self._count()
        used = np.flatnonzero((self._normal > 0) | (self._anomalous > 0))[::-1]
        normal, anomalous, overlap = (
            np.concatenate([[0], np.cumsum(histogram[used])])
            for histogram in (self._normal, self._anomalous, self._overlap)
        )
        return normal, anomalous, overlap


def pixel_scores(
    maps: Iterable[npt.NDArray[Any]],
    masks: Iterable[MaskLike],
    *,
    sizes: Iterable[tuple[int, int]] | None = None,
    max_fpr: float = 0.3,
) -> PixelScores:
    """All images of a set at once; see :class:`PixelScores`. ``sizes`` matter for defect-free images only."""
    result = PixelScores(max_fpr)
    if sizes is None:
        for anomaly_map, mask in zip(maps, masks, strict=True):
            result.update(anomaly_map, mask)
    else:
        for anomaly_map, mask, size in zip(maps, masks, sizes, strict=True):
            result.update(anomaly_map, mask, size)
    return result


def pixel_auroc(maps: Iterable[npt.NDArray[Any]], masks: Iterable[MaskLike]) -> float:
    """Chance that a defect pixel scores above a normal one, over all pixels of the set; see :class:`PixelScores`.

    >>> pixel_auroc([np.array([[0.1, 0.9], [0.2, 0.1]])], [np.array([[0, 1], [0, 0]])])
    1.0
    """
    return pixel_scores(maps, masks).auroc()


def pixel_average_precision(maps: Iterable[npt.NDArray[Any]], masks: Iterable[MaskLike]) -> float:
    """Average precision over all pixels of the set; see :class:`PixelScores`."""
    return pixel_scores(maps, masks).average_precision()


def aupro(maps: Iterable[npt.NDArray[Any]], masks: Iterable[MaskLike], max_fpr: float = 0.3) -> float:
    """Area under the per-region overlap up to a false positive rate, divided by it; see :meth:`PixelScores.aupro`.

    >>> aupro([np.array([[0.1, 0.9], [0.2, 0.1]])], [np.array([[0, 1], [0, 0]])])
    1.0
    """
    return pixel_scores(maps, masks, max_fpr=max_fpr).aupro()


def _encode(labels: Labels) -> tuple[list[Any], IntArray]:
    """Distinct labels in a stable order and each entry's place among them."""
    values = labels.tolist() if isinstance(labels, np.ndarray) else list(labels)
    distinct: list[Any] = list(dict.fromkeys(values))
    try:
        distinct.sort()
    except TypeError:  # labels of several kinds have no order of their own
        distinct.sort(key=repr)
    place = {label: i for i, label in enumerate(distinct)}
    return distinct, np.array([place[v] for v in values], dtype=np.int64)


def _pair(truth: Labels, predicted: Labels) -> tuple[IntArray, IntArray]:
    rows, columns = _encode(truth)[1], _encode(predicted)[1]
    if len(rows) != len(columns):
        raise InputError(f"{len(rows)} true labels against {len(columns)} predicted ones; give one of each per image")
    return rows, columns


def _scored(
    scores: npt.ArrayLike, is_anomalous: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    values, positive = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(is_anomalous).astype(bool).ravel()
    if len(values) != len(positive):
        raise InputError(f"{len(values)} scores against {len(positive)} labels; give one of each")
    if not np.isfinite(values).all():
        raise InputError("a score is NaN or infinite; scores must be finite")
    return values, positive


def _at_size(values: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    from blemish.images import resize

    return values if values.shape == (height, width) else resize(values[..., None], height, width)[..., 0]


def _bins_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Bin of each value, rising with it: bits of floats are ordered like the floats once negative ones are flipped."""
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.uint32)  # + 0 turns -0.0 into 0.0
    keys: npt.NDArray[np.uint32] = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000)) >> np.uint32(_SHIFT)
    return keys


def _area(x: npt.NDArray[Any], y: npt.NDArray[Any], limit: float = 1.0) -> float:
    """Trapezoid area below a cumulated curve scaled to [0, 1] on both axes, from 0 to ``limit``, divided by it."""
    if not x[-1] or not y[-1]:
        return math.nan
    rate, share = x / x[-1], y / y[-1]
    last = int(np.searchsorted(rate, limit, side="right"))
    end = float(np.interp(limit, rate[max(last - 1, 0) :], share[max(last - 1, 0) :]))
    rate, share = np.append(rate[:last], limit), np.append(share[:last], end)
    return float(np.sum(np.diff(rate) * (share[1:] + share[:-1]) / 2)) / limit
