from __future__ import annotations

import numpy as np
import pytest

from blemish.clustering.score_weights import fit_score_weights
from blemish.localization.threshold import ScoreModel


def anomaly_weights(scores: np.ndarray, threshold: float, width: float, floor: float = 0.0) -> np.ndarray:
    return fit_score_weights(scores, ScoreModel(threshold), width, floor).weights(scores)


def weights_loop(scores: list[float], threshold: float, width: float, floor: float) -> list[float]:
    """Logistic function of the log score over the threshold, from a floor to 1."""
    anomalous = sum(score > threshold for score in scores)
    least = floor * min(1.0, anomalous / max(1, len(scores) - anomalous))
    return [least + (1 - least) * (1 / (1 + (s / threshold) ** (-1 / width)) if s else 0.0) for s in scores]


@pytest.mark.parametrize("floor", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("width", [0.05, 0.4])
def test_weights_agree_with_the_loop_in_any_units(width: float, floor: float) -> None:
    scores = np.array([0.0, 0.5, 0.99, 1.0, 1.02, 4.0], np.float32)
    expected = weights_loop(scores.tolist(), 1.0, width, floor)
    np.testing.assert_allclose(anomaly_weights(scores, 1.0, width, floor), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(anomaly_weights(3 * scores, 3.0, width, floor), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("normal", "anomalous"), [(3, 1), (1, 3), (2, 2), (16, 1), (4, 0)])
def test_the_floor_shrinks_with_the_share_of_anomalous_images(normal: int, anomalous: int) -> None:
    scores = np.array([0.01] * normal + [100.0] * anomalous, np.float32)
    least = 0.6 * min(1.0, anomalous / normal)
    found = anomaly_weights(scores, 1.0, 0.05, 0.6)
    np.testing.assert_allclose(found, [least] * normal + [1.0] * anomalous, rtol=1e-5, atol=1e-9)


def test_weights_increase_with_the_score_and_are_half_way_at_the_threshold() -> None:
    scores = np.array([0.1, 0.9, 1.0, 1.1, 9.0], np.float32)
    weights = anomaly_weights(scores, 1.0, 0.05, 0.5)
    assert (np.diff(weights) > 0).all()
    least = 0.5 * (2 / 3)
    np.testing.assert_allclose(weights[2], (1 + least) / 2, rtol=1e-6)


def test_weights_follow_the_order_of_the_images() -> None:
    scores = np.random.default_rng(0).uniform(0, 2, 30).astype(np.float32)
    order = np.random.default_rng(1).permutation(30)
    found = anomaly_weights(scores, 1.0, 0.1, 0.5)
    np.testing.assert_array_equal(anomaly_weights(scores[order], 1.0, 0.1, 0.5), found[order])


def test_scores_and_thresholds_of_zero_give_weights_of_zero_or_one() -> None:
    np.testing.assert_allclose(anomaly_weights(np.zeros(3, np.float32), 0.0, 0.05), 0, atol=1e-9)
    np.testing.assert_allclose(anomaly_weights(np.array([0, 1e-3, 1], np.float32), 0.0, 0.05), [0, 1, 1], atol=1e-9)


def test_known_probabilities_take_the_place_of_the_step() -> None:
    model = ScoreModel(2.0, (1.0, 3.0), (0.0, 1.0))
    scores = np.array([1.0, 1.5, 2.5, 8.0], np.float32)
    least = 0.6 * (1 - 2 * (0.0 + 0.25) / 2)  # as many images above as below, which are anomalous with 0 and 0.25
    expected = [least + (1 - least) * probability for probability in (0, 0.25, 0.75, 1)]
    for width in (0.05, 0.4):
        found = fit_score_weights(scores, model, width, 0.6)
        np.testing.assert_allclose(found.weights(scores), expected, rtol=1e-6)
    np.testing.assert_allclose(found.weights(np.array([2.0], np.float32)), least + (1 - least) / 2, rtol=1e-6)


def test_the_floor_is_zero_where_images_below_the_threshold_are_as_likely_anomalous() -> None:
    model = ScoreModel(2.0, (0.0, 3.0), (0.7, 0.8))  # a threshold of a stated false alarm rate
    scores = np.array([1.0, 1.5, 2.5], np.float32)
    assert fit_score_weights(scores, model, 0.2, 0.5).least == 0
    certain = ScoreModel(2.0, (1.9, 2.1), (0.0, 1.0))
    assert fit_score_weights(scores, certain, 0.2, 0.5).least == 0.25
    assert fit_score_weights(scores[2:], certain, 0.2, 0.5).least == 0.5
