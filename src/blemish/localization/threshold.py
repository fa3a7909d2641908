"""Which images are anomalous, without labels: image scores, a threshold on them, and weights that fade the normal ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from blemish.config.schema import Localize
from blemish.errors import InputError
from blemish.types import FloatArray

MIN_SEPARATION = 1.1
"""Images are called anomalous only if the upper group's median score exceeds the lower group's by this factor."""

STARTS = (
    ((0.05, 0.5), (0.1, 0.8), (0.2, 0.6), (0.3, 0.7), (0.4, 0.9), (0.5, 0.95)),
    ((0.05, 0.15, 0.6), (0.05, 0.3, 0.8), (0.1, 0.3, 0.7), (0.1, 0.5, 0.9), (0.2, 0.6, 0.9), (0.3, 0.7, 0.95)),
)
"""Quantiles of the log scores at which the means of two and of three peaks start; the likeliest end of all these counts."""

START_SPREADS = (1.0, 0.3)
"""Deviation that every peak starts with, in units of that of all log scores: each of these with each of the starts above."""

THREE_PEAKS_FROM = 30
"""Scores from which three peaks are thought of: ten for each."""

TWO_KINDS_BY = 10.0
"""By how much two or three peaks must have the lower criterion where all images may be normal: what is called very strong
evidence (Kass & Raftery 1995), since scores of one kind are no exact Gaussian. Few scores cannot give it, even those of two
kinds: there a lower criterion is enough."""

ONE_KIND_SPREAD = 0.1
"""Deviation of the log scores of such images at most: 0.03 to 0.10 in clean batches of leather, leaves and drawn materials, but 0.15
and more where half of the tiles have defects so faint that they make no peak of their own."""

ONE_KIND_SPREADS = 2.0
"""The same in units of :attr:`Sound.spread`, whichever is more: coarse surfaces differ among themselves, 0.10 to 0.18 on photographs."""

OUTLYING = 3.0
"""Deviations of the log scores above their mean, beyond which an image is anomalous where there is but one peak."""

EFFECTIVE_SCORES = 150
"""For how many scores a third peak must pay at most. Scores of normal images are no exact Gaussian: the more of them there are,
the likelier the plain criterion gives them two peaks, with the threshold between. How many scores there are is no reason."""

BULK, MOST = 0.75, 0.9
"""Quantiles of a map: defects are local, so that so much of it is sound material in most images, defective ones too."""

SOUND_IMAGES = 0.1
"""Quantile of them over the images: low, since large defects raise them in theirs."""

SPREAD_MOST = 0.2
"""Of :attr:`Sound.spread`, which was 0.01 to 0.18 in sets that are not mostly defective: more is large defects in most images."""

SOUND_MEDIAN, LEVEL_MEDIAN = 1.13, 1.4
"""In units of :attr:`Sound.reach` and of :attr:`Sound.level`: a median above both is none of normal images. Theirs were 0.90 to 1.20,
above the first in 6 of 112 sets, and 1.08 to 1.46."""

SOUND_LEAST, SOUND_MOST = 1.06, 1.4
"""Between these, in the same units, normal images end."""

CLEARLY_APART = 5.0
"""Two sides whose median log scores are more deviations of the lower side apart are what they look like. Where nearly all images had a
defect and the lower side was above `Sound.median`, 67 of 70 parts of sets had at most 4.8: defects are of all sizes. Coarse surfaces with
clear defects had up to 11.6."""

LEAST_DEVIATION = 0.05
"""Of the lower side, so that a few equal scores are not clearly apart from their neighbors."""

CLEARLY_APART_MEDIAN = 1.15
"""In units of :attr:`Sound.median`: a lower side above that is one of defects even where the upper is clearly apart. Those of such coarse
surfaces were at most 1.10, those of the other three parts 1.10, 1.25 and 1.31."""

SOUND_FROM = 30
"""Images from which a set shows well what sound material reaches: in fewer, much of it has nothing like it elsewhere."""

ONE_KIND_FROM = 8
"""Images from which that is any use at all, see :func:`split_scores`."""


@dataclass(frozen=True)
class Sound:
    """What the maps of a set show of its sound material, whichever images have defects.

    Attributes:
        reach: score that a median image of it would have, > 0.
        spread: how far, in natural logarithms, the level of the median image lies above that of the lowest tenth, 0 to `SPREAD_MOST`.
        level: what the cells of the lowest tenth of the images reach, >= 0: less than ``reach``, but hardly raised by defects.
    """

    reach: float
    spread: float
    level: float = 0.0

    @property
    def median(self) -> float:
        """What the median score of normal images does not exceed."""
        return max(SOUND_MEDIAN * self.reach, LEVEL_MEDIAN * self.level)


def sound_material(maps: Sequence[FloatArray], quantile: float) -> Sound | None:
    """What sound images would score, from the cells that are sound in defective images, too.

    The lowest tenth of the images' `MOST` quantiles; from there to the median image by the ratio that their `BULK` quantiles
    have; and from there to the score's quantile as the tail of a Gaussian over log values goes on that leads from `BULK` to `MOST`.

    Args:
        maps: N maps, finite, >= 0. quantile: of the scores, 0 < quantile < 1.

    Returns:
        None where a tenth of the maps are 0 in three quarters of their cells: then nothing can be said in multiples.

    Source: none; what it was measured on is in docs/method.md, section 5.

    >>> sound_material([np.array([[1.0, 1.0]])] * 9, 0.99)
    Sound(reach=1.0, spread=0.0, level=1.0)
    """
    bulk, most = (image_scores(maps, q).astype(np.float64) for q in (BULK, MOST))
    low = float(np.quantile(bulk, SOUND_IMAGES))
    if low <= 0:
        return None
    z = NormalDist().inv_cdf
    steps = (z(quantile) - z(MOST)) / (z(MOST) - z(BULK))
    tail = float(np.quantile(most[bulk > 0] / bulk[bulk > 0], SOUND_IMAGES))
    spread = min(SPREAD_MOST, float(np.log(np.median(bulk) / low)))
    level = float(np.quantile(most, SOUND_IMAGES))
    return Sound(level * float(np.exp(spread)) * tail**steps, spread, level)


def find_threshold(maps: Sequence[FloatArray], scores: FloatArray, settings: Localize) -> float:
    """:func:`split_scores` with what sound material reaches, where that is known.

    Args:
        maps: N maps, finite. scores: N, see :func:`image_scores`.
        settings: those that :func:`doubt` says nothing of; others split without it.

    Raises:
        InputError: as :func:`split_scores`.

    Cost: 2 N quantiles and that of :func:`split_scores`.
    """
    if not _shows_sound(settings) or len(maps) < ONE_KIND_FROM:
        return split_scores(scores)
    return split_scores(scores, sound_material(maps, settings.score_quantile), roughly=len(maps) < SOUND_FROM)


def _shows_sound(settings: Localize) -> bool:
    """Whether maps show what sound material reaches: only distances to the rest of the set have that on one level, and only
    scores up to their 0.99 quantile have been compared with it.
    """
    return settings.method == "neighbors" and settings.score_quantile <= 0.99


def doubt(count: int, settings: Localize) -> str | None:
    """What to say to the reader of a threshold that :func:`find_threshold` cannot found on sound material; None: nothing.

    Args:
        count: images that the threshold was found on. One alone is never anomalous, so that nothing need be said.
        settings: a threshold of the user's own is theirs.

    >>> doubt(8, Localize()) is doubt(1, Localize()) is None
    True
    """
    if settings.threshold != "auto" or count < 2:
        return None
    if not _shows_sound(settings):
        return (
            f"With localize.method {settings.method} and localize.score_quantile {settings.score_quantile:g} a sound batch is split as "
            "one with defects is: the threshold lies somewhere among the scores. Go by their order, or set localize.threshold."
        )
    if count < ONE_KIND_FROM:
        return (
            f"{count} images are too few to tell a sound batch from one with defects: the threshold lies somewhere among their "
            "scores. Go by the order of the scores, or add images."
        )
    return None


def split_scores(scores: FloatArray, sound: Sound | None = None, *, roughly: bool = False) -> float:
    """Threshold on image scores between normal and anomalous, without labels.

    A mixture of Gaussians over the logarithms, each with a spread of its own: normal images resemble each other and make
    a narrow peak, defects of all sizes a broad one, so that a criterion with one spread for both (Otsu's) cuts through
    the defects. Faint and strong defects can make a peak each, and two Gaussians would then join the faint ones and the
    normal images: there are two or three, whichever has the lower Bayesian information criterion (with the
    likelihood of ``EFFECTIVE_SCORES`` scores if there are more). The threshold is where, coming from the lowest peak, the
    others together are as likely. Nothing is anomalous if the two sides are hardly apart (``MIN_SEPARATION``): then the
    answer is the largest score.

    Two peaks always split somewhere, and would halve a clean batch. So all images count as normal, but for what lies
    ``OUTLYING`` deviations above the mean, if the scores are one narrow peak (``ONE_KIND_SPREAD``, ``ONE_KIND_SPREADS``), which
    more peaks do not explain much better (``TWO_KINDS_BY``), and the median score looks like sound material.

    Scores alone cannot tell faint defects from normal images either, nor where sound material ends that differs from image
    to image. So the threshold is brought between ``SOUND_LEAST`` and ``SOUND_MOST`` times what it reaches. Where (nearly) every
    image has a defect, a bin of rejects, the lowest peak is one of defects: if the median of the lower side lies above
    :attr:`Sound.median`, no peak is one of sound material, and the threshold is what that reaches.

    Defects are of all sizes, sound images resemble each other. So two sides that are ``CLEARLY_APART`` in units of the lower one's
    deviation are believed: the threshold may lie above ``SOUND_MOST``, and the median up to ``CLEARLY_APART_MEDIAN`` times higher.
    Where there are three peaks, the two lowest may both be of a coarse surface: the gap above them counts if it is clearly apart,
    more so than the one below, and what lies below has the median of sound material.

    Args:
        scores: N, >= 0.
        sound: from :func:`sound_material`; None: the scores decide alone, and there are always two peaks at least.
        roughly: whether that is a rough value, of a small set. Then it does not move the threshold, its spread is not used, and
            more peaks are preferred by any difference of the criterion, in place of ``TWO_KINDS_BY``.

    Returns:
        Threshold; scores above it are anomalous. Scaling all scores scales it.

    Raises:
        InputError: no score, or one that is NaN or infinite.

    Source: not part of Ardelean & Weyrich, who do not decide which images are anomalous.

    >>> split_scores(np.array([1.0, 1.1, 0.9, 1.05, 5.0, 6.0], np.float32)) < 5
    True
    >>> split_scores(np.ones(4, np.float32))
    1.0
    >>> round(split_scores(np.array([1.0, 1.1, 0.9, 1.05, 5.0, 6.0], np.float32), Sound(0.5, 0.0)), 3)
    0.5
    """
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError("the threshold needs at least one score, and all of them finite")
    values = scores.astype(np.float64)
    top = float(values.max())
    if top <= 0:
        return top
    firm = None if roughly else sound
    logs = np.sort(log_scores(values))  # what is added up depends on the order, and the threshold must not
    if len(np.unique(logs)) < 3:
        cut = float(np.mean([logs.min(), logs.max()]))
    else:
        maybe_one_kind = sound is not None and np.median(values) <= sound.median
        spread = max(ONE_KIND_SPREAD, ONE_KIND_SPREADS * firm.spread) if firm else ONE_KIND_SPREAD
        cuts = _mixture_cuts(logs, spread if maybe_one_kind else 0.0, 0.0 if roughly else TWO_KINDS_BY)
        cut = _clearest(logs, cuts, float(np.log(firm.median / top))) if firm else cuts[0]
    threshold = float(np.exp(cut)) * top
    if firm:
        median, apart = np.median(values[values <= threshold]), _apart(logs, cut) > CLEARLY_APART
        if median > firm.median * (CLEARLY_APART_MEDIAN if apart else 1.0):
            threshold = firm.reach
        else:
            threshold = max(threshold, SOUND_LEAST * firm.reach)
            threshold = threshold if apart else min(threshold, SOUND_MOST * firm.reach)
    lower, upper = values[values <= threshold], values[values > threshold]
    if not len(upper) or (len(lower) and np.median(upper) < MIN_SEPARATION * np.median(lower)):
        return top
    return threshold


def image_scores(maps: Sequence[FloatArray], quantile: float) -> FloatArray:
    """One number per image, a quantile of its map; N float32."""
    return np.array([np.quantile(one, quantile) for one in maps], np.float32)


def log_scores(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Logarithms of scores in units of the largest, nothing below a thousandth; N float64 <= 0. All 0 without a score > 0."""
    values = scores.astype(np.float64)
    top = values.max(initial=0.0)
    return np.log(np.maximum(values / top, 1e-3)) if top > 0 else np.zeros(len(values))


def _apart(logs: npt.NDArray[np.float64], cut: float) -> float:
    """How far the medians of the two sides lie apart, in deviations of the lower side; 0 if there is but one."""
    lower, upper = logs[logs <= cut], logs[logs > cut]
    if not len(lower) or not len(upper):
        return 0.0
    return float((np.median(upper) - np.median(lower)) / max(lower.std(), LEAST_DEVIATION))


def _clearest(logs: npt.NDArray[np.float64], cuts: Sequence[float], sound_median: float) -> float:
    """The first of the cuts, or another that is clearly apart, and more so, if its lower side looks like sound material."""
    apart = {cut: _apart(logs, cut) for cut in cuts}
    higher = [cut for cut in cuts[1:] if apart[cut] > CLEARLY_APART and np.median(logs[logs <= cut]) <= sound_median]
    return max([cuts[0], *higher], key=apart.__getitem__)


def _mixture_cuts(logs: npt.NDArray[np.float64], one_kind_spread: float, two_kinds_by: float) -> list[float]:
    """Where the lowest peak gives way to the others, the two lowest to the third, ``inf`` if they never do; of one peak,
    where outliers begin.

    There is one peak if its deviation is below ``one_kind_spread`` (0: never), unless the others' criterion is lower than its
    own by ``two_kinds_by``.
    """
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    # sums depend on the order of what is added, and the threshold must not depend on that of the images
    column, likeliest = np.sort(logs)[:, None], []
    variance = max(float(column.var()), 1e-4)
    with warnings.catch_warnings():
        # too few steps for the last digit of the likelihood still give a usable cut; repeated scores leave a peak empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        for starts in STARTS if len(logs) >= THREE_PEAKS_FROM else STARTS[:1]:
            best = None
            for start, spread in itertools.product(starts, START_SPREADS):
                peaks = len(start)
                # variances: at least (1 %)^2 of the score, or a few equal scores would become a peak of their own.
                # Shares and variances are given too: k-means, which sets them otherwise, numbers its peaks as it likes
                mixture = GaussianMixture(
                    peaks,
                    means_init=np.quantile(column, start)[:, None],
                    weights_init=np.full(peaks, 1 / peaks),
                    precisions_init=np.full((peaks, 1, 1), 1 / (spread**2 * variance)),
                    reg_covar=1e-4,
                    random_state=0,
                    max_iter=500,
                ).fit(column)
                if best is None or mixture.lower_bound_ > best.lower_bound_ + 1e-9:
                    best = mixture
            assert best is not None
            likeliest.append(best)
    effective = min(len(logs), EFFECTIVE_SCORES)

    def criterion(peaks: int, likelihood: float) -> float:
        # two numbers for each peak and the shares but one, against the likelihood of as many scores as count
        return float((3 * peaks - 1) * np.log(effective) - 2 * effective * likelihood)

    criteria = [criterion(mixture.n_components, mixture.score(column)) for mixture in likeliest]
    # one peak, with the same least variance as those above
    mean, square = float(column.mean()), float(column.var())
    spread = (square + 1e-4) ** 0.5
    one = criterion(1, -np.log(spread * np.sqrt(2 * np.pi)) - square / (2 * spread**2))
    if spread < one_kind_spread and one < min(criteria) + two_kinds_by:
        return [mean + OUTLYING * spread]
    chosen = likeliest[int(np.argmin(criteria))]
    order, cuts = np.argsort(chosen.means_[:, 0]), []
    for count in range(1, len(order)):
        between = np.linspace(chosen.means_[order[count - 1], 0], logs.max(), 4096)
        upper = chosen.predict_proba(between[:, None])[:, order[:count]].sum(1) < 0.5
        cuts.append(float(between[upper.argmax()]) if upper.any() else float("inf"))
    return cuts


def anomaly_weights(scores: FloatArray, threshold: float, width: float, floor: float = 0.0) -> FloatArray:
    """How far each image counts as anomalous: a logistic step of its log score over the threshold's, from a floor to 1.

    Ward's trees split what has the largest sum of squares, and that of the normal images grows with their number: at full
    length a majority of them is split before two types are told apart, while a few normal images that resemble each other
    are a group like any other, and fading them only makes doubtful images look like them. So the floor is lowered by A / B
    where A anomalous images face more, B, normal ones.

    Args:
        scores: N, >= 0.
        threshold: >= 0, half way from the floor to 1.
        width: > 0, of the step, as a share of the score: an image ``width`` above the threshold is 0.73 of the way up.
        floor: 0 to 1, the weight far below the threshold, if at least half of the images are above it.

    Returns:
        N float32 in [0, 1], rising with the score. With a threshold of 0 every positive score has weight 1.

    >>> anomaly_weights(np.array([0.0, 1.0, 1.05, 9.0], np.float32), 1.0, 0.05).round(2).tolist()
    [0.0, 0.5, 0.7300000190734863, 1.0]
    >>> anomaly_weights(np.array([0.1, 0.1, 9.0], np.float32), 1.0, 0.05, 0.5).tolist()
    [0.25, 0.25, 1.0]
    """
    smallest = np.finfo(np.float64).tiny  # in place of 0, which has no logarithm
    values = scores.astype(np.float64)
    steps = (np.log(np.maximum(values, smallest)) - np.log(max(threshold, smallest))) / width
    # the limits keep products of weights and descriptors within float32
    rising = np.where(values > 0, 1 / (1 + np.exp(-np.clip(steps, -30, 30))), 0.0)
    above = int((scores > threshold).sum())
    least = floor * min(1.0, above / max(1, len(scores) - above))
    return (least + (1 - least) * rising).astype(np.float32)
