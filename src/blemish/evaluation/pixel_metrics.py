"""Scores of anomaly maps against defect masks, over all pixels of a set.

The pixels of a set can be hundreds of millions, so they are not sorted but counted in bins. The sign, the exponent and
the first 12 bits of the mantissa of a value name its bin, so a bin is 0.02 % wide relative to its values. Values in one
bin count as tied. :meth:`PixelScores.error_bounds` gives the largest error that this can cause.

A score that is not defined is ``nan``: pixel AUROC without defect pixels or without normal ones, pixel AP without
defect pixels, AUPRO without a defect region or without a normal pixel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError

MaskLike = npt.NDArray[Any] | None

_SHIFT = 11  # the lowest bits of a float32 that are ignored: 2^21 bins, 16 MB per histogram
_BINS = 1 << (32 - _SHIFT)
_BATCH = 1 << 22  # number of pixels collected before they are counted


class PixelScores:
    """Pixel scores of a set of images, which are added one at a time in bounded memory.

    Args:
        max_fpr: false positive rate up to which AUPRO is integrated, in (0, 1].

    Attributes:
        n_regions: number of defect regions so far.

    Each map is resized (bilinear) to the size of its mask. A defect-free image counts with the size that
    :meth:`update` is given. Memory: about 150 MB, whatever the size of the set. Cost: about 20 ns per pixel, without
    the resizing.

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

    def update(
        self,
        anomaly_map: npt.NDArray[Any],
        mask: MaskLike = None,
        size: tuple[int, int] | None = None,
        *,
        ignored: MaskLike = None,
    ) -> None:
        """Add one image.

        Args:
            anomaly_map: float h x w, finite; a higher value is more anomalous.
            mask: H x W, non-zero for defect pixels; None for a defect-free image.
            size: H and W of a defect-free image; default: the size of the map.
            ignored: H x W like the mask, non-zero for pixels that no score counts; None if all pixels count.

        Raises:
            InputError: a map or mask that is empty or not two-dimensional, or a map that is not finite.
        """
        values = np.asarray(anomaly_map, dtype=np.float32)
        truth = None if mask is None else np.asarray(mask) > 0
        _check_shapes(values, truth)
        height, width = truth.shape if truth is not None else size or values.shape
        keys = _bins_of(_at_size(values, height, width))
        counted = None if ignored is None else np.asarray(ignored) == 0
        if truth is not None and truth.any():
            defect = truth if counted is None else truth & counted
            self._add_defects(keys, defect)
            counted = ~truth if counted is None else counted & ~truth
        normal = keys.ravel() if counted is None else keys[counted]
        self._waiting.append(normal)
        self._n_waiting += normal.size
        if self._n_waiting >= _BATCH:
            self._count()

    def auroc(self) -> float:
        """Area under the ROC curve over all pixels; ties count half."""
        normal, anomalous, _ = self._curves()
        return _area(normal, anomalous)

    def average_precision(self) -> float:
        """Area under the precision-recall curve over all pixels, as a sum of steps."""
        normal, anomalous, _ = self._curves()
        total = int(anomalous[-1])
        if not total:
            return math.nan
        gained = np.diff(anomalous)
        found = anomalous[1:] + normal[1:]
        return float(np.sum(gained / total * anomalous[1:] / np.maximum(found, 1)))

    def aupro(self) -> float:
        """Area under the per-region overlap curve for false positive rates from 0 to ``max_fpr``, in [0, 1].

        Regions are the 8-connected components of the masks. All regions have equal weight, whatever their size. The
        curve is integrated by the trapezoid rule, cut off at ``max_fpr`` by linear interpolation, and the area is
        divided by ``max_fpr``.
        """
        normal, _, overlap = self._curves()
        return _area(normal, overlap, self.max_fpr) if self.n_regions else math.nan

    def error_bounds(self) -> dict[str, float]:
        """Upper bound of the error that the bins can cause, for each score by name."""
        normal, anomalous, overlap = self._curves()
        reach = self.max_fpr * float(normal[-1])
        steps = np.minimum(normal[1:], reach) - np.minimum(normal[:-1], reach)

        def bound(gained: npt.NDArray[Any], widths: npt.NDArray[Any], whole: float) -> float:
            area = float(gained[-1]) * whole
            return float(np.sum(np.diff(gained) * widths)) / area if area else math.nan

        # AP: precision is best if the defect pixels come first in their bin, and worst if they come last
        best = anomalous[1:] / np.maximum(anomalous[1:] + normal[:-1], 1)
        worst = (anomalous[:-1] + 1) / (anomalous[:-1] + 1 + normal[1:])
        # AUROC: the order inside a bin adds or removes half a rectangle; at the cut-off of AUPRO, up to a whole one
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
        # a defect has few pixels, so adding at its distinct bins is cheaper than a histogram over all bins
        bins, where = np.unique(inside, return_inverse=True)
        self._anomalous[bins] += np.bincount(where)
        self._overlap[bins] += np.bincount(where, weights=weights)
        self.n_regions += int(count)

    def _count(self) -> None:
        if self._waiting:
            self._normal += np.bincount(np.concatenate(self._waiting), minlength=_BINS)
        self._waiting, self._n_waiting = [], 0

    def _curves(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Cumulative sums from the highest bin down, starting at 0: normal pixels, defect pixels, region shares."""
        self._count()
        used = np.flatnonzero((self._normal > 0) | (self._anomalous > 0))[::-1]
        normal, anomalous, overlap = (
            np.concatenate([[0], np.cumsum(histogram[used])])
            for histogram in (self._normal, self._anomalous, self._overlap)
        )
        return normal, anomalous, overlap


def pixel_auroc(maps: Iterable[npt.NDArray[Any]], masks: Iterable[MaskLike]) -> float:
    """Probability that a defect pixel scores above a normal one, over all pixels of a set; ties count half.

    >>> pixel_auroc([np.array([[0.1, 0.9], [0.2, 0.1]])], [np.array([[0, 1], [0, 0]])])
    1.0
    """
    result = PixelScores()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        result.update(anomaly_map, mask)
    return result.auroc()


def _check_shapes(values: npt.NDArray[np.float32], truth: npt.NDArray[np.bool_] | None) -> None:
    if values.ndim != 2 or not values.size or (truth is not None and (truth.ndim != 2 or not truth.size)):
        shapes = f"{values.shape} and {None if truth is None else truth.shape}"
        raise InputError(f"map and mask have shapes {shapes}; both must be two-dimensional and not empty")
    if not np.isfinite(values).all():
        raise InputError("an anomaly map holds NaN or infinite values; scores need finite maps")


def _at_size(values: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    from blemish.images import resize

    return values if values.shape == (height, width) else resize(values[..., None], height, width)[..., 0]


def _bins_of(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint32]:
    """Bin of each value, in the order of the values; bits of floats have that order once negative ones are flipped."""
    bits = np.ascontiguousarray(values + np.float32(0)).view(np.uint32)  # adding 0 turns -0.0 into 0.0
    keys: npt.NDArray[np.uint32] = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000)) >> np.uint32(_SHIFT)
    return keys


def _area(x: npt.NDArray[Any], y: npt.NDArray[Any], limit: float = 1.0) -> float:
    """Trapezoid area from 0 to ``limit`` below a curve that is scaled to [0, 1] on both axes, divided by ``limit``."""
    if not x[-1] or not y[-1]:
        return math.nan
    rate, share = x / x[-1], y / y[-1]
    last = int(np.searchsorted(rate, limit, side="right"))
    end = float(np.interp(limit, rate[max(last - 1, 0) :], share[max(last - 1, 0) :]))
    rate, share = np.append(rate[:last], limit), np.append(share[:last], end)
    return float(np.sum(np.diff(rate) * (share[1:] + share[:-1]) / 2)) / limit
