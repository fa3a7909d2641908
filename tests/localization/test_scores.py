from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from blemish.config.localization import Localization
from blemish.localization.scores import expected_normal_score, image_scores, log_scores, score_quantiles
from blemish.types import FloatArray
from helpers.reference_method import quantile_loop


def alike(maps: list[FloatArray], quantile: float) -> np.ndarray:
    """One quantile for all maps."""
    return np.full(len(maps), quantile)


def log_normal_maps(seed: int, shapes: list[tuple[int, int]], between: float) -> list[FloatArray]:
    """Maps whose log values are Gaussian; ``between`` is the standard deviation of the images' levels."""
    rng = np.random.default_rng(seed)
    return [np.exp(rng.normal(between * rng.standard_normal(), 0.1, shape)).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("quantile", [0.5, 0.99, 1.0])
def test_score_is_the_quantile_of_the_map_whatever_its_shape(quantile: float) -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random(shape, np.float32) for shape in ((1, 1), (3, 8), (20, 5))]
    found = image_scores(maps, alike(maps, quantile))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [quantile_loop(one.ravel().tolist(), quantile) for one in maps], rtol=1e-6)


@pytest.mark.parametrize(
    ("smallest", "side", "counted"),
    [(24.0, 8.0, 9), (24.0, 24.0, 1), (5.0, 80.0, 1), (40.0, 8.0, 25)],
)
def test_with_a_smallest_defect_a_score_counts_its_cells_whatever_the_area(
    smallest: float, side: float, counted: int
) -> None:
    rng = np.random.default_rng(3)
    maps = [rng.random(shape, np.float32) for shape in ((20, 30), (9, 7), (400, 8))]
    quantiles = score_quantiles(maps, [side] * 3, Localization(smallest_defect=smallest))
    for one, score in zip(maps, image_scores(maps, quantiles), strict=True):
        assert (one > score).sum() in (counted - 1, counted)


def test_without_a_smallest_defect_the_quantile_counts_and_half_of_a_map_is_the_most() -> None:
    maps = [np.zeros((2, 3), np.float32), np.zeros((40, 3), np.float32)]
    assert score_quantiles(maps, [8.0, 8.0], Localization(score_quantile=0.9)).tolist() == [0.9, 0.9]
    assert score_quantiles(maps, [1.0, 1.0], Localization(smallest_defect=1000)).tolist() == [0.5, 0.5]


def test_score_of_a_constant_map_is_its_value() -> None:
    assert image_scores(
        [np.full((4, 5), 0.75, np.float32), np.zeros((2, 2), np.float32)], np.full(2, 0.99)
    ).tolist() == [0.75, 0]


def test_log_scores_are_relative_to_the_largest_score_in_any_units() -> None:
    scores = np.array([0.0, 1e-9, 0.5, 2.0, 4.0])
    expected = np.log([0.001, 0.001, 0.125, 0.5, 1.0])
    np.testing.assert_allclose(log_scores(scores), expected)
    np.testing.assert_allclose(log_scores(1e-3 * scores), expected)


@pytest.mark.parametrize("count", [0, 3])
def test_log_scores_are_zero_if_no_score_is_positive(count: int) -> None:
    np.testing.assert_array_equal(log_scores(np.zeros(count)), np.zeros(count))


def expected_loop(maps: list[FloatArray], quantile: float) -> float:
    """The formula of docs/method.md, with the normal quantiles of SciPy."""
    found = []
    for one in maps:
        low, half, high = (np.percentile(one, share) for share in (25, 50, 75))
        found.append(half + min(half - low, high - half) * norm.ppf(quantile) / norm.ppf(0.75))
    return float(np.median(found))


@pytest.mark.parametrize("quantile", [0.99, 0.9, 0.8])
def test_the_expected_score_agrees_with_the_formula_in_any_units_and_order(quantile: float) -> None:
    maps = log_normal_maps(2, [(24 + k % 3, 30) for k in range(30)], 0.3)
    found = expected_normal_score(maps, alike(maps, quantile))
    assert found == pytest.approx(expected_loop(maps, quantile), rel=1e-5)
    assert expected_normal_score([3 * one for one in maps[::-1]], alike(maps, quantile)) == pytest.approx(
        3 * found, rel=1e-5
    )


def test_the_expected_score_is_that_of_gaussian_maps_and_local_defects_hardly_move_it() -> None:
    rng = np.random.default_rng(3)
    maps = [rng.normal(1.0, 0.1, (60, 60)).astype(np.float32) for _ in range(40)]
    normal = float(np.median(image_scores(maps, alike(maps, 0.99))))
    assert expected_normal_score(maps, alike(maps, 0.99)) == pytest.approx(normal, rel=0.01)
    for one in maps:
        one.flat[:180] *= 3  # a twentieth of the cells of every image
    assert np.median(image_scores(maps, alike(maps, 0.99))) > 2 * normal
    assert expected_normal_score(maps, alike(maps, 0.99)) == pytest.approx(normal, rel=0.05)


def test_the_expected_score_of_constant_maps_is_their_value() -> None:
    assert expected_normal_score([np.full((4, 4), 0.5, np.float32)], np.full(1, 0.99)) == 0.5
    assert expected_normal_score([np.zeros((8, 8), np.float32)] * 9, np.full(9, 0.99)) == 0
