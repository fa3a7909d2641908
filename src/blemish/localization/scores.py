"""Image scores, and what the anomaly maps of a set say about the scores of normal images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from blemish.types import FloatArray

BULK_QUANTILE, UPPER_QUANTILE = 0.75, 0.9
"""Quantiles of a map. Defects are local, so these fractions of the cells are normal texture in most images, whether the
image has a defect or not."""

REFERENCE_QUANTILE = 0.1
"""Quantile of those quantiles over the images. It is low because large defects raise them in some images."""

LARGEST_SPREAD = 0.2
"""Upper limit of :attr:`NormalTexture.spread`. Sets that are not mostly defective had 0.01 to 0.18. More than this points
to large defects in most images."""

MEDIAN_FACTORS = 1.13, 1.4
"""Factors of :attr:`NormalTexture.score` and :attr:`NormalTexture.level` in :attr:`NormalTexture.largest_median`. Median
scores of normal images were 0.90 to 1.20 times the first, and above 1.13 in 6 of 112 sets; they were 1.08 to 1.46 times
the second."""


@dataclass(frozen=True)
class NormalTexture:
    """What the maps of a set say about its normal texture, whichever images have defects.

    Attributes:
        score: score that a typical image without a defect would have, > 0.
        spread: difference, in natural logarithms, between the map level of the median image and that of the lowest tenth
            of the images, 0 to `LARGEST_SPREAD`.
        level: map level of the lowest tenth of the images, >= 0. It is lower than ``score``, but defects hardly raise it.
    """

    score: float
    spread: float
    level: float = 0.0

    @property
    def largest_median(self) -> float:
        """The median score of normal images does not exceed this value."""
        score_factor, level_factor = MEDIAN_FACTORS
        return max(score_factor * self.score, level_factor * self.level)


def image_scores(maps: Sequence[FloatArray], quantile: float) -> FloatArray:
    """One score per image: a quantile of its anomaly map, N float32. Cost: one pass over the maps."""
    return np.array([np.quantile(one, quantile) for one in maps], np.float32)


def log_scores(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Natural logarithms of scores relative to the largest score, with a lower limit of log(0.001).

    Returns:
        N float64, <= 0. All are 0 if no score is positive.
    """
    values = scores.astype(np.float64)
    top = values.max(initial=0.0)
    return np.log(np.maximum(values / top, 1e-3)) if top > 0 else np.zeros(len(values))


def estimate_normal_texture(maps: Sequence[FloatArray], quantile: float) -> NormalTexture | None:
    """Estimate the score of a normal image from the normal cells of all images, those with defects included.

    The estimate starts from the `UPPER_QUANTILE` of the maps in the lowest tenth of the images. It is multiplied by the
    ratio between the median image and that tenth, taken at the `BULK_QUANTILE`, and extrapolated to the quantile of the
    scores: the tail of log map values is taken to be Gaussian, with the slope between the two quantiles.

    Args:
        maps: N maps, finite, >= 0.
        quantile: quantile that defines the scores, between 0 and 1, both excluded.

    Returns:
        The estimate; None if a tenth of the maps are 0 in three quarters of their cells.

    Cost: two passes over the maps.
    Source: ours; not in Ardelean & Weyrich, who do not decide which images are anomalous.

    >>> estimate_normal_texture([np.array([[1.0, 1.0]])] * 9, 0.99)
    NormalTexture(score=1.0, spread=0.0, level=1.0)
    """
    bulk, upper = (image_scores(maps, q).astype(np.float64) for q in (BULK_QUANTILE, UPPER_QUANTILE))
    low = float(np.quantile(bulk, REFERENCE_QUANTILE))
    if low <= 0:
        return None
    z = NormalDist().inv_cdf
    steps = (z(quantile) - z(UPPER_QUANTILE)) / (z(UPPER_QUANTILE) - z(BULK_QUANTILE))
    tail = float(np.quantile(upper[bulk > 0] / bulk[bulk > 0], REFERENCE_QUANTILE))
    spread = min(LARGEST_SPREAD, float(np.log(np.median(bulk) / low)))
    level = float(np.quantile(upper, REFERENCE_QUANTILE))
    return NormalTexture(level * float(np.exp(spread)) * tail**steps, spread, level)
