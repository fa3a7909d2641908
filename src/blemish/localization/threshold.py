"""Which images are anomalous: a probability for each score, and the threshold, estimated without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.config.localization import Localization
from blemish.errors import InputError
from blemish.localization.scores import expected_normal_score, log_scores
from blemish.localization.two_groups import HEAVIER_TAIL, NormalScores, known_scores, posterior
from blemish.types import BoolArray, FloatArray

ESTIMATE_FROM = 8
"""Number of images below which the estimate is called unreliable."""

POSSIBLE = 0.1
"""Probability from which an image may be a defect for a user who gives the number of types. Where a batch without normal
images cannot be told from one without defects, no image is called, and the given number still has to count."""

FEWEST_KNOWN = 8
"""Known normal images from which they alone tell what is normal. Fewer do not show how a surface varies."""

KNOWN_FALSE_ALARMS = 0.02
"""Share of normal images that may lie above the threshold that known normal images give, unless the settings state one."""

JUST_BELOW = 1e-3
"""How much lower than the lowest log score of a reject bin the threshold is at least."""


@dataclass(frozen=True)
class ScoreModel:
    """The fitted model: what a score says about an image, also about one that the model was not fitted to.

    Attributes:
        threshold: images with a higher score are anomalous.
        scores: ascending scores, >= 0, at which the probability is known; none if only the threshold is known.
        probabilities: ascending, 0 to 1; the probability that an image with this score is anomalous.
    """

    threshold: float
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] = ()

    def probability(self, scores: FloatArray) -> FloatArray | None:
        """Probability of being anomalous, N float32 in [0, 1], of images with these N scores; None if it is not known.

        >>> ScoreModel(2.0, (1.0, 3.0), (0.0, 1.0)).probability(np.array([0.5, 2.0, 9.0], np.float32)).tolist()
        [0.0, 0.5, 1.0]
        """
        if not self.scores:
            return None
        return np.interp(scores, self.scores, self.probabilities).astype(np.float32)

    def anomalous(self, scores: FloatArray) -> BoolArray:
        """N bool: images above the threshold."""
        above: BoolArray = scores > self.threshold
        return above

    def possible(self, scores: FloatArray) -> BoolArray:
        """N bool: images above the threshold, and those that are anomalous with a probability above `POSSIBLE`."""
        probability = self.probability(scores)
        above = self.anomalous(scores)
        return above if probability is None else above | (probability > POSSIBLE)


def fit_score_model(
    maps: Sequence[FloatArray],
    scores: FloatArray,
    settings: Localization,
    quantiles: npt.NDArray[np.float64] | None = None,
    normal: Sequence[int] = (),
) -> ScoreModel:
    """Fit the two-group model of normal and anomalous scores.

    The log score of a normal image is normally distributed. That of an anomalous image exceeds it by a gamma-distributed
    amount. The maps tell the level of normal scores beforehand (:func:`blemish.localization.scores.expected_normal_score`),
    because most cells are normal also in defective images. All other quantities have a prior distribution as well, and
    the probability is the average over all their values, weighted by how well they explain the scores. One model therefore
    holds for defect-free, mixed and all-defective batches; where they cannot be distinguished, probabilities are moderate.

    Args:
        maps: N maps, finite.
        scores: N, finite, >= 0, see :func:`blemish.localization.scores.image_scores`.
        settings: ``method`` (see :func:`threshold_warning`), ``score_quantile``, ``false_alarms`` and ``rejects``.
        quantiles: N, the quantile of each map that is its score, see :func:`blemish.localization.scores.score_quantiles`;
            None: ``score_quantile`` for all.
        normal: rows of images that are known to be normal, whose maps come from a comparison with the others of them. From
            `FEWEST_KNOWN` on, their scores tell the level and the spread of normal scores, in place of the maps.

    Returns:
        The model. Its threshold is the score from which an image is more likely anomalous than normal or, if the settings
        state a false alarm rate, the score that this share of normal images exceeds. With known normal images, it is the
        prediction limit that this share of further normal images exceeds, or `KNOWN_FALSE_ALARMS` of them. With
        ``rejects``, it is the level of normal texture or, if an image scores less, just below the lowest score. Scaling
        all maps scales it; the order of the images does not matter. If all scores are 0, the threshold is 0. Where
        neither maps nor known images tell the level of normal scores, the lower quartile of the scores takes its place,
        and there are no probabilities.

    Raises:
        InputError: there is no score, or one is NaN or infinite.

    Cost: quantiles of each map, and some 0.2 s for any number of images.
    Source: empirical Bayes two-group model (Efron 2008), fully Bayesian here because batches are small; not in Ardelean &
    Weyrich, who do not decide which images are anomalous.

    >>> scores = np.array([1.0, 1.1, 0.9, 1.05, 5.0, 6.0], np.float32)
    >>> model = fit_score_model([np.full((4, 4), score) for score in scores], scores, Localization())
    >>> 1.1 < model.threshold < 5.0, model.probability(scores).round().tolist()  # type: ignore
    (True, [0.0, 0.0, 0.0, 0.0, 1.0, 1.0])
    """
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError("the threshold needs at least one score, and all of them finite")
    top = float(scores.max())
    if top <= 0:
        return ScoreModel(0.0, (0.0, float(np.finfo(np.float32).tiny)), (0.0, 1.0))
    logs = np.sort(log_scores(scores))  # sums depend on the order of their terms; the result must not
    told = known_scores(log_scores(scores)[list(normal)]) if len(normal) >= FEWEST_KNOWN else None
    prior, known = told or NormalScores(float(np.quantile(logs, 0.25))), told is not None
    if not known and _maps_show_normal_texture(settings):
        expected = expected_normal_score(
            maps, np.full(len(maps), settings.score_quantile) if quantiles is None else quantiles
        )
        prior, known = NormalScores(float(np.log(max(expected / top, 1e-3))) + HEAVIER_TAIL), True
    grid = np.linspace(min(logs[0], prior.level) - 0.3, max(logs[-1], prior.level) + 1.0, 256)
    probabilities, false_alarms = posterior(logs, prior, grid)
    if settings.rejects:
        cut = min(prior.level, float(logs[0]) - JUST_BELOW)
        below = grid < cut
        probabilities = np.concatenate([np.minimum(probabilities[below], 0.5), np.ones(1 + int((~below).sum()))])
        grid = np.concatenate([grid[below], [cut], grid[~below]])
    elif told is not None:
        cut = told.limit(settings.false_alarms or KNOWN_FALSE_ALARMS)
    elif settings.false_alarms is None:
        cut = float(np.interp(0.5, probabilities, grid))
    else:
        cut = float(np.interp(-settings.false_alarms, -false_alarms, grid))
    threshold = float(np.exp(cut)) * top
    if not known:
        return ScoreModel(threshold)
    return ScoreModel(threshold, tuple((np.exp(grid) * top).tolist()), tuple(probabilities.tolist()))


def _maps_show_normal_texture(settings: Localization) -> bool:
    """Only nearest-neighbor distances have the same level in all images. A maximum has no quantile to extrapolate to."""
    return settings.method == "knn" and (settings.smallest_defect is not None or settings.score_quantile < 1)


def threshold_warning(anomalous: BoolArray, possible: BoolArray, settings: Localization, normal: int = 0) -> str | None:
    """Warning shown when the anomaly decision is unreliable; None otherwise.

    Args:
        anomalous: N bool, the images that are called anomalous.
        possible: N bool, see :meth:`ScoreModel.possible`.
        settings: what the user says needs no warning.
        normal: number of images that are known to be normal; a threshold that they give needs none either.

    >>> threshold_warning(np.zeros(9, bool), np.ones(9, bool), Localization())  # doctest: +ELLIPSIS
    'No image is called anomalous, but 9 of 9 may be...'
    """
    count = len(anomalous)
    if settings.threshold != "auto" or settings.rejects or count < 2 or normal >= FEWEST_KNOWN:
        return None
    if not anomalous.any():
        if 2 * possible.sum() < count:
            return None
        return (
            f"No image is called anomalous, but {possible.sum()} of {count} may be: normal texture of this kind and widespread "
            "defects have similar scores. If every image has a defect, run again with --rejects."
        )
    if not _maps_show_normal_texture(settings):
        return (
            f"With localization.method {settings.method} and localization.score_quantile {settings.score_quantile:g}, the "
            "maps do not tell how normal images score, so the threshold is not reliable. Use the order of the scores, "
            "or set localization.threshold."
        )
    if count < ESTIMATE_FROM:
        return (
            f"{count} images are too few to distinguish a defect-free batch from one with defects, so the threshold is not "
            "reliable. Use the order of the scores, or add images."
        )
    return None
