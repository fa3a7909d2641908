"""Image scores, and what the anomaly maps of a set say about the scores of normal images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from blemish.config.localization import Localization
from blemish.types import FloatArray

QUANTILES = 0.25, 0.5, 0.75
"""Quantiles of a map that show its normal texture: defects are local, so most cells are normal in nearly every image. With
0.9 in place of 0.25, the level of defective images alone came out 0.2 higher (natural logarithm) than that of normal ones:
a defect of a twentieth of the image raises that quantile, because cells around it are raised as well."""


def score_quantiles(
    maps: Sequence[FloatArray], cell_sides: Sequence[float], settings: Localization
) -> npt.NDArray[np.float64]:
    """The quantile of each map that is its image's score, N float64 in [0, 1].

    It is ``score_quantile`` or, with ``smallest_defect``, the quantile that leaves as many cells above it as a defect of
    that size covers: at least one, at most half of the map. The latter does not depend on the area of the image.

    Args:
        maps: N maps.
        cell_sides: N, side of a cell of each map in pixels of the stored image.
        settings: ``score_quantile`` and ``smallest_defect``.

    >>> settings = Localization(smallest_defect=32)
    >>> score_quantiles([np.zeros((10, 16)), np.zeros((10, 10))], [16.0, 80.0], settings).tolist()
    [0.978125, 0.995]
    """
    if settings.smallest_defect is None:
        return np.full(len(maps), settings.score_quantile)
    sizes = np.array([one.size for one in maps], np.float64)
    covered = (settings.smallest_defect / np.asarray(cell_sides, np.float64)) ** 2
    # the k-th highest of n cells lies at the quantile 1 - (k - 0.5) / n
    return np.maximum(1 - (np.maximum(np.round(covered), 1) - 0.5) / sizes, 0.5)


def image_scores(maps: Sequence[FloatArray], quantiles: npt.NDArray[np.float64]) -> FloatArray:
    """One score per image: a quantile of its anomaly map, N float32. Cost: one pass over the maps.

    Args:
        maps: N maps.
        quantiles: N, see :func:`score_quantiles`.
    """
    return np.array([np.quantile(one, quantile) for one, quantile in zip(maps, quantiles, strict=True)], np.float32)


def log_scores(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Natural logarithms of scores relative to the largest score, with a lower limit of log(0.001).

    Returns:
        N float64, <= 0. All are 0 if no score is positive.
    """
    values = scores.astype(np.float64)
    top = values.max(initial=0.0)
    return np.log(np.maximum(values / top, 1e-3)) if top > 0 else np.zeros(len(values))


def expected_normal_score(maps: Sequence[FloatArray], quantiles: npt.NDArray[np.float64]) -> float:
    """Score that a typical image of the set would have without a defect, from the normal cells of all images.

    The tail of a map of normal texture is close to Gaussian, and a little heavier (see
    :data:`blemish.localization.two_groups.HEAVIER_TAIL`). Its slope, taken between the quartiles, is extrapolated to the
    quantile of the scores. Defects can only raise the slope, more above the median than below, so the lower extrapolation
    counts in each image, and the median image counts in the set.

    Args:
        maps: N maps, finite, >= 0.
        quantiles: N, the quantile of each map that defines its score, between 0 and 1, both excluded.

    Returns:
        The score, >= 0; 0 if most maps are 0 in three quarters of their cells.

    Cost: one pass over the maps.
    Source: ours; not in Ardelean & Weyrich, who do not decide which images are anomalous.

    >>> expected_normal_score([np.array([[1.0, 1.0]])] * 9, np.full(9, 0.99))
    1.0
    """
    z = NormalDist().inv_cdf
    wanted = np.array([z(float(quantile)) for quantile in quantiles])
    lower, middle, upper = np.array([np.quantile(one, QUANTILES) for one in maps], np.float64).T
    least = np.full(len(maps), np.inf)
    for (p, start), (q, end) in itertools.pairwise(zip(QUANTILES, (lower, middle, upper), strict=True)):
        least = np.minimum(least, end + (end - start) * (wanted - z(q)) / (z(q) - z(p)))
    return float(np.median(least))
