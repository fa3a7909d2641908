"""How strongly each image's score lets its descriptor count in the clustering."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blemish.types import FloatArray


@dataclass(frozen=True)
class ScoreWeights:
    """Weight of an image's descriptor: a logistic step in its log score, from ``least`` to 1 around the threshold.

    Attributes:
        threshold: >= 0; the step is half way up at this score.
        width: > 0, width of the step relative to the score. An image ``width`` above the threshold is 0.73 of the way up.
        least: 0 to 1, weight far below the threshold.
    """

    threshold: float
    width: float
    least: float

    def weights(self, scores: FloatArray) -> FloatArray:
        """N float32 in [0, 1], increasing with the score. With a threshold of 0, every positive score has weight 1."""
        smallest = np.finfo(np.float64).tiny  # in place of 0, which has no logarithm
        values = scores.astype(np.float64)
        steps = (np.log(np.maximum(values, smallest)) - np.log(max(self.threshold, smallest))) / self.width
        # the limits keep products of weights and descriptors in the range of float32
        rising = np.where(values > 0, 1 / (1 + np.exp(-np.clip(steps, -30, 30))), 0.0)
        return (self.least + (1 - self.least) * rising).astype(np.float32)


def fit_score_weights(scores: FloatArray, threshold: float, width: float, floor: float = 0.0) -> ScoreWeights:
    """The weights for a set of images.

    Ward's method splits the group with the largest sum of squares, and the sum of squares of the normal images grows with
    their number. At full length, a majority of normal images would be split before two types of defects are separated. A
    few normal images that resemble each other form a group like any other, and shrinking them would only make doubtful
    images resemble them. Therefore the floor is multiplied by A / B where A anomalous images face B > A normal ones.

    Args:
        scores: N, >= 0.
        threshold: see :class:`ScoreWeights`.
        width: see :class:`ScoreWeights`.
        floor: 0 to 1, weight far below the threshold if at least half of the images are anomalous.

    Source: ours; not in Ardelean & Weyrich.

    >>> scores = np.array([0.0, 1.0, 1.05, 9.0], np.float32)
    >>> fit_score_weights(scores, 1.0, 0.05).weights(scores).round(2).tolist()
    [0.0, 0.5, 0.7300000190734863, 1.0]
    >>> fit_score_weights(np.array([0.1, 0.1, 9.0], np.float32), 1.0, 0.05, 0.5).least
    0.25
    """
    above = int((scores > threshold).sum())
    return ScoreWeights(threshold, width, floor * min(1.0, above / max(1, len(scores) - above)))
