"""How strongly each image's score lets its descriptor count in the clustering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blemish.localization.threshold import ScoreModel
from blemish.types import FloatArray


@dataclass(frozen=True)
class ScoreWeights:
    """Weight of an image's descriptor: from ``least`` to 1 as the probability that the image is anomalous goes from 0 to 1.

    Attributes:
        model: what scores say. Where it has no probabilities, as with a threshold that the user states, a logistic step in
            the log score takes their place, half way up at the threshold.
        width: > 0, width of that step relative to the score. An image ``width`` above the threshold is 0.73 of the way up.
        least: 0 to 1, weight of an image that is certainly normal.
    """

    model: ScoreModel
    width: float
    least: float

    def weights(self, scores: FloatArray) -> FloatArray:
        """N float32 in [0, 1], not decreasing with the score. With a threshold of 0, every positive score has weight 1."""
        rising = self.model.probability(scores)
        if rising is None:
            rising = _logistic_steps(scores, self.model.threshold, self.width)
        return (self.least + (1 - self.least) * rising).astype(np.float32)


def _logistic_steps(scores: FloatArray, threshold: float, width: float) -> FloatArray:
    smallest = np.finfo(np.float64).tiny  # in place of 0, which has no logarithm
    values = scores.astype(np.float64)
    steps = (np.log(np.maximum(values, smallest)) - np.log(max(threshold, smallest))) / width
    # the limits keep products of weights and descriptors in the range of float32
    rising = np.where(values > 0, 1 / (1 + np.exp(-np.clip(steps, -30, 30))), 0.0)
    return rising.astype(np.float32)


def fit_score_weights(scores: FloatArray, model: ScoreModel, width: float, floor: float = 0.0) -> ScoreWeights:
    """The weights for a set of images.

    Ward's method splits the group with the largest sum of squares, and the sum of squares of the normal images grows with
    their number. At full length, a majority of normal images would be split before two types of defects are separated. A
    few normal images that resemble each other form a group like any other, and shrinking them would only make doubtful
    images resemble them. Therefore the floor is multiplied by A / B where A anomalous images face B > A normal ones.

    Where scores of normal and anomalous images overlap, doubtful images have half of the full length whatever the floor,
    and many of them are normal. Therefore the floor is also multiplied by how much more likely the images below the
    threshold are normal than anomalous, on average.

    Args:
        scores: N, >= 0.
        model: see :class:`ScoreWeights`.
        width: see :class:`ScoreWeights`.
        floor: 0 to 1, weight of certainly normal images if at least half of the images are anomalous and no image is
            doubtful.

    Source: ours; not in Ardelean & Weyrich.

    >>> scores = np.array([0.0, 1.0, 1.2, 9.0], np.float32)
    >>> fit_score_weights(scores, ScoreModel(1.0), 0.2).weights(scores).round(2).tolist()
    [0.0, 0.5, 0.7099999785423279, 1.0]
    >>> fit_score_weights(np.array([0.1, 0.1, 9.0], np.float32), ScoreModel(1.0), 0.2, 0.5).least
    0.25
    >>> doubtful = ScoreModel(1.0, (0.0, 2.0), (0.0, 1.0))
    >>> fit_score_weights(np.array([0.5, 9.0], np.float32), doubtful, 0.2, 0.5).least
    0.25
    """
    below = ~model.anomalous(scores)
    probability = model.probability(scores)
    doubt = 0.0 if probability is None or not below.any() else float(probability[below].mean(dtype=np.float64))
    balance = min(1.0, int((~below).sum()) / max(1, int(below.sum())))
    return ScoreWeights(model, width, floor * balance * max(0.0, 1 - 2 * doubt))
