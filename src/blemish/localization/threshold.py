"""The threshold on image scores between normal and anomalous images, estimated without labels."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.config.localization import Localization
from blemish.errors import InputError
from blemish.localization.scores import NormalTexture, estimate_normal_texture, log_scores
from blemish.types import FloatArray

MIN_SEPARATION = 1.1
"""Images are anomalous only if the median score above the threshold exceeds the median below it by this factor."""

STARTS = (
    ((0.05, 0.5), (0.1, 0.8), (0.2, 0.6), (0.3, 0.7), (0.4, 0.9), (0.5, 0.95)),
    ((0.05, 0.15, 0.6), (0.05, 0.3, 0.8), (0.1, 0.3, 0.7), (0.1, 0.5, 0.9), (0.2, 0.6, 0.9), (0.3, 0.7, 0.95)),
)
"""Quantiles of the log scores where the means of two and of three mixture components start. The most likely fit counts."""

START_DEVIATIONS = (1.0, 0.3)
"""Standard deviations that all components start with, relative to that of all log scores. Each is tried with each start."""

THREE_COMPONENTS_FROM = 30
"""Number of scores from which three components are considered: ten for each."""

STRONG_EVIDENCE = 10.0
"""Two or three components need a criterion lower by this amount where all images may be normal. Kass & Raftery (1995) call
this very strong evidence. It is needed because scores of normal images are not exactly Gaussian. Small sets cannot provide
it even with defects; for these, any lower criterion is enough."""

ONE_CLASS_DEVIATION = 0.1
"""Largest standard deviation of the log scores of a defect-free batch. Batches of leather, leaves and drawn materials had
0.03 to 0.10. Tiles had 0.15 and more where half of them had defects too faint to form a component."""

ONE_CLASS_SPREADS = 2.0
"""The same limit in units of :attr:`NormalTexture.spread`; the larger limit applies. Coarse surfaces differ among
themselves: photographs had 0.10 to 0.18."""

OUTLIER_DEVIATIONS = 3.0
"""In a defect-free batch, images are anomalous beyond this many standard deviations above the mean log score."""

EFFECTIVE_SCORES = 150
"""Largest number of scores that the criterion counts. Scores of normal images are not exactly Gaussian, so with more and
more scores the plain criterion would split them into two components."""

LEAST_FACTOR, MOST_FACTOR = 1.06, 1.4
"""The threshold lies between these multiples of :attr:`NormalTexture.score`."""

CLEARLY_APART = 5.0
"""Two sides count as clearly apart if their median log scores differ by more than this many standard deviations of the
lower side. In 67 of 70 subsets where nearly all images had a defect, the value was at most 4.8. Coarse surfaces with clear
defects had up to 11.6."""

LEAST_DEVIATION = 0.05
"""Smallest standard deviation assumed for the lower side, so that a few equal scores do not look clearly apart."""

CLEARLY_APART_MEDIAN = 1.15
"""Factor on :attr:`NormalTexture.largest_median` where the sides are clearly apart. Above it, the lower side consists of
defects even so. Coarse surfaces had at most 1.10; the three subsets with defects on both sides had 1.10, 1.25 and 1.31."""

RELIABLE_FROM = 30
"""Number of images from which the normal texture is estimated reliably."""

ESTIMATE_FROM = 8
"""Number of images from which the estimate is used at all."""


def find_threshold(maps: Sequence[FloatArray], scores: FloatArray, settings: Localization) -> float:
    """The threshold on image scores, from the scores and, where the method allows it, from the maps.

    Args:
        maps: N maps, finite.
        scores: N, see :func:`blemish.localization.scores.image_scores`.
        settings: the method and the quantile decide whether the maps are used, see :func:`threshold_warning`.

    Returns:
        The threshold; images with a higher score are anomalous.

    Raises:
        InputError: as :func:`split_scores`.

    Cost: two passes over the maps and :func:`split_scores`.
    """
    if not _maps_show_normal_texture(settings) or len(maps) < ESTIMATE_FROM:
        return split_scores(scores)
    normal = estimate_normal_texture(maps, settings.score_quantile)
    return split_scores(scores, normal, rough=len(maps) < RELIABLE_FROM)


def _maps_show_normal_texture(settings: Localization) -> bool:
    """Only nearest-neighbor distances have the same level in all images, and only quantiles up to 0.99 were measured."""
    return settings.method == "knn" and settings.score_quantile <= 0.99


def threshold_warning(count: int, settings: Localization) -> str | None:
    """Warning shown when the anomaly decision is unreliable; None otherwise.

    Args:
        count: number of images that the threshold was estimated from.
        settings: a threshold that the user has set needs no warning.

    >>> threshold_warning(8, Localization()) is threshold_warning(1, Localization()) is None
    True
    """
    if settings.threshold != "auto" or count < 2:
        return None
    if not _maps_show_normal_texture(settings):
        return (
            f"With localization.method {settings.method} and localization.score_quantile {settings.score_quantile:g}, a "
            "defect-free batch is split like one with defects, so the threshold is not reliable. Use the order of the scores, "
            "or set localization.threshold."
        )
    if count < ESTIMATE_FROM:
        return (
            f"{count} images are too few to distinguish a defect-free batch from one with defects, so the threshold is not "
            "reliable. Use the order of the scores, or add images."
        )
    return None


def split_scores(scores: FloatArray, normal: NormalTexture | None = None, *, rough: bool = False) -> float:
    """The threshold on image scores between normal and anomalous images, without labels.

    A Gaussian mixture is fitted to the log scores. Normal images resemble each other and form a narrow component; defects
    differ in size and form a broad one. Components therefore have their own variances; a criterion with one variance for
    both (Otsu's) would cut through the defects. Faint and strong defects can form separate components, so there are two or
    three, whichever has the lower Bayesian information criterion, with a sample size of at most `EFFECTIVE_SCORES`. The
    threshold lies where, coming from the lowest component, the others together become as likely. No image is anomalous if
    the two sides hardly differ (`MIN_SEPARATION`); the threshold is then the largest score.

    A mixture always splits somewhere, also in a defect-free batch. All images except outliers (`OUTLIER_DEVIATIONS`) count
    as normal if the scores form one narrow component (`ONE_CLASS_DEVIATION`, `ONE_CLASS_SPREADS`) that several components
    do not explain much better (`STRONG_EVIDENCE`), and if their median is compatible with normal texture.

    Scores alone do not distinguish faint defects from normal images that differ among themselves. The threshold is
    therefore limited to `LEAST_FACTOR` to `MOST_FACTOR` times the score of normal texture. In an all-defective batch the
    lowest component consists of defects: if the median of the lower side exceeds :attr:`NormalTexture.largest_median`, no
    component is normal, and the threshold is the score of normal texture.

    Two sides that are `CLEARLY_APART` are accepted as they are: the threshold may exceed `MOST_FACTOR`, and the median may
    be `CLEARLY_APART_MEDIAN` times higher. With three components, the two lowest may both belong to a coarse surface: the
    upper gap is used if it is clearly apart, more so than the lower gap, and if the median below it is that of normal
    texture.

    Args:
        scores: N, finite, >= 0.
        normal: from :func:`blemish.localization.scores.estimate_normal_texture`; None: the scores decide alone, and they
            are always split.
        rough: ``normal`` is a rough estimate from a small set. It then neither moves the threshold nor provides a spread,
            and any lower criterion is enough for more components.

    Returns:
        The threshold. Scaling all scores scales it; their order does not matter.

    Raises:
        InputError: there is no score, or one is NaN or infinite.

    Source: ours; not in Ardelean & Weyrich, who do not decide which images are anomalous.

    >>> split_scores(np.array([1.0, 1.1, 0.9, 1.05, 5.0, 6.0], np.float32)) < 5
    True
    >>> split_scores(np.ones(4, np.float32))
    1.0
    >>> round(split_scores(np.array([1.0, 1.1, 0.9, 1.05, 5.0, 6.0], np.float32), NormalTexture(0.5, 0.0)), 3)
    0.5
    """
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError("the threshold needs at least one score, and all of them finite")
    values = scores.astype(np.float64)
    top = float(values.max())
    if top <= 0:
        return top
    reliable = None if rough else normal
    logs = np.sort(log_scores(values))  # sums depend on the order of their terms; the threshold must not
    cut = _cut(logs, values, normal, reliable, rough)
    threshold = float(np.exp(cut)) * top
    if reliable:
        threshold = _limited(threshold, values, logs, cut, reliable)
    lower, upper = values[values <= threshold], values[values > threshold]
    if not len(upper) or (len(lower) and np.median(upper) < MIN_SEPARATION * np.median(lower)):
        return top
    return threshold


def _cut(
    logs: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    normal: NormalTexture | None,
    reliable: NormalTexture | None,
    rough: bool,
) -> float:
    """Where the mixture, or the limits of a defect-free batch, split the sorted log scores."""
    if len(np.unique(logs)) < 3:
        return float(np.mean([logs.min(), logs.max()]))
    maybe_defect_free = normal is not None and np.median(values) <= normal.largest_median
    deviation = max(ONE_CLASS_DEVIATION, ONE_CLASS_SPREADS * reliable.spread) if reliable else ONE_CLASS_DEVIATION
    cuts = _mixture_cuts(logs, deviation if maybe_defect_free else 0.0, 0.0 if rough else STRONG_EVIDENCE)
    return _clearest(logs, cuts, float(np.log(reliable.largest_median / values.max()))) if reliable else cuts[0]


def _limited(
    threshold: float,
    values: npt.NDArray[np.float64],
    logs: npt.NDArray[np.float64],
    cut: float,
    normal: NormalTexture,
) -> float:
    """The threshold within the limits that the normal texture sets."""
    median, clear = np.median(values[values <= threshold]), _separation(logs, cut) > CLEARLY_APART
    if median > normal.largest_median * (CLEARLY_APART_MEDIAN if clear else 1.0):
        return normal.score
    threshold = max(threshold, LEAST_FACTOR * normal.score)
    return threshold if clear else min(threshold, MOST_FACTOR * normal.score)


def _separation(logs: npt.NDArray[np.float64], cut: float) -> float:
    """Difference of the two sides' medians, in standard deviations of the lower side; 0 if one side is empty."""
    lower, upper = logs[logs <= cut], logs[logs > cut]
    if not len(lower) or not len(upper):
        return 0.0
    return float((np.median(upper) - np.median(lower)) / max(lower.std(), LEAST_DEVIATION))


def _clearest(logs: npt.NDArray[np.float64], cuts: Sequence[float], normal_median: float) -> float:
    """The first cut, or a higher one with a larger and clear separation if the median below it can be normal."""
    separation = {cut: _separation(logs, cut) for cut in cuts}
    higher = [
        cut for cut in cuts[1:] if separation[cut] > CLEARLY_APART and np.median(logs[logs <= cut]) <= normal_median
    ]
    return max([cuts[0], *higher], key=separation.__getitem__)


def _mixture_cuts(logs: npt.NDArray[np.float64], one_class_deviation: float, evidence: float) -> list[float]:
    """The cuts between components, lowest first.

    Args:
        logs: log scores.
        one_class_deviation: all scores may form one component if their standard deviation is below this; 0 = never.
        evidence: several components need a criterion lower than that of one component by this amount.

    Returns:
        Where the lowest component gives way to the others and, of three, where the lowest two give way to the third;
        ``inf`` if they never do. For one component: where outliers begin.
    """
    column = np.sort(logs)[:, None]  # sums depend on the order of their terms; the result must not
    counts = STARTS if len(logs) >= THREE_COMPONENTS_FROM else STARTS[:1]
    mixtures = [_likeliest_mixture(column, starts) for starts in counts]
    effective = min(len(logs), EFFECTIVE_SCORES)

    def criterion(components: int, likelihood: float) -> float:
        # a mean and a variance for each component, and all weights but one
        return float((3 * components - 1) * np.log(effective) - 2 * effective * likelihood)

    criteria = [criterion(mixture.n_components, mixture.score(column)) for mixture in mixtures]
    # a single component, with the same smallest variance as in the mixtures
    mean, square = float(column.mean()), float(column.var())
    deviation = (square + 1e-4) ** 0.5
    one = criterion(1, -np.log(deviation * np.sqrt(2 * np.pi)) - square / (2 * deviation**2))
    if deviation < one_class_deviation and one < min(criteria) + evidence:
        return [mean + OUTLIER_DEVIATIONS * deviation]
    chosen = mixtures[int(np.argmin(criteria))]
    order, cuts = np.argsort(chosen.means_[:, 0]), []
    for count in range(1, len(order)):
        between = np.linspace(chosen.means_[order[count - 1], 0], logs.max(), 4096)
        upper = chosen.predict_proba(between[:, None])[:, order[:count]].sum(1) < 0.5
        cuts.append(float(between[upper.argmax()]) if upper.any() else float("inf"))
    return cuts


def _likeliest_mixture(column: npt.NDArray[np.float64], starts: Sequence[Sequence[float]]) -> Any:
    """The most likely mixture over all starting points; N x 1 log scores."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    best = None
    variance = max(float(column.var()), 1e-4)
    with warnings.catch_warnings():
        # a fit that has not fully converged gives a usable cut; repeated scores can leave a component empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        for start, deviation in itertools.product(starts, START_DEVIATIONS):
            components = len(start)
            # smallest variance (1 %)^2 of the score, or a few equal scores would form a component. Weights and variances
            # are given because k-means, which would set them otherwise, numbers its components arbitrarily
            mixture = GaussianMixture(
                components,
                means_init=np.quantile(column, start)[:, None],
                weights_init=np.full(components, 1 / components),
                precisions_init=np.full((components, 1, 1), 1 / (deviation**2 * variance)),
                reg_covar=1e-4,
                random_state=0,
                max_iter=500,
            ).fit(column)
            if best is None or mixture.lower_bound_ > best.lower_bound_ + 1e-9:
                best = mixture
    assert best is not None
    return best
