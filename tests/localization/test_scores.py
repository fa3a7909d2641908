from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from blemish.localization.scores import NormalTexture, estimate_normal_texture, image_scores, log_scores
from blemish.types import FloatArray
from helpers.reference_method import quantile_loop


def log_normal_maps(seed: int, shapes: list[tuple[int, int]], between: float) -> list[FloatArray]:
    """Maps whose log values are Gaussian; ``between`` is the standard deviation of the images' levels."""
    rng = np.random.default_rng(seed)
    return [np.exp(rng.normal(between * rng.standard_normal(), 0.1, shape)).astype(np.float32) for shape in shapes]


def estimated(maps: list[FloatArray], quantile: float = 0.99) -> NormalTexture:
    texture = estimate_normal_texture(maps, quantile)
    assert texture is not None
    return texture


@pytest.mark.parametrize("quantile", [0.5, 0.99, 1.0])
def test_score_is_the_quantile_of_the_map_whatever_its_shape(quantile: float) -> None:
    rng = np.random.default_rng(0)
    maps = [rng.random(shape, np.float32) for shape in ((1, 1), (3, 8), (20, 5))]
    found = image_scores(maps, quantile)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [quantile_loop(one.ravel().tolist(), quantile) for one in maps], rtol=1e-6)


def test_score_of_a_constant_map_is_its_value() -> None:
    assert image_scores([np.full((4, 5), 0.75, np.float32), np.zeros((2, 2), np.float32)], 0.99).tolist() == [0.75, 0]


def test_log_scores_are_relative_to_the_largest_score_in_any_units() -> None:
    scores = np.array([0.0, 1e-9, 0.5, 2.0, 4.0])
    expected = np.log([0.001, 0.001, 0.125, 0.5, 1.0])
    np.testing.assert_allclose(log_scores(scores), expected)
    np.testing.assert_allclose(log_scores(1e-3 * scores), expected)


@pytest.mark.parametrize("count", [0, 3])
def test_log_scores_are_zero_if_no_score_is_positive(count: int) -> None:
    np.testing.assert_array_equal(log_scores(np.zeros(count)), np.zeros(count))


def texture_loop(maps: list[FloatArray], quantile: float) -> tuple[float, float, float]:
    """Score, spread and level by the formulas of docs/method.md, with the normal quantiles of SciPy."""
    inner, outer = (np.array([np.percentile(one, 100 * q) for one in maps]) for q in (0.75, 0.9))
    level = np.percentile(np.log(outer), 10)
    spread = min(0.2, np.median(np.log(inner)) - np.percentile(np.log(inner), 10))
    per_step = np.percentile(np.log(outer) - np.log(inner), 10) / (norm.ppf(0.9) - norm.ppf(0.75))
    score = np.exp(level + spread + per_step * (norm.ppf(quantile) - norm.ppf(0.9)))
    return float(score), float(spread), float(np.exp(level))


@pytest.mark.parametrize("between", [0.03, 0.6])
@pytest.mark.parametrize("quantile", [0.99, 0.9, 0.8])
def test_normal_texture_agrees_with_the_formula_in_any_units(quantile: float, between: float) -> None:
    # quantiles of 61 values are values themselves, so logarithms and quantiles may change places
    maps = log_normal_maps(2, [(24 + k % 3, 30) for k in range(61)], between)
    found, expected = estimated(maps, quantile), texture_loop(maps, quantile)
    assert (found.score, found.spread, found.level) == pytest.approx(expected, rel=1e-5)
    scaled = estimated([3 * one for one in maps], quantile)
    assert (scaled.score, scaled.spread) == pytest.approx((3 * found.score, found.spread), rel=1e-5)


def test_normal_texture_does_not_depend_on_the_order_of_the_images() -> None:
    maps = log_normal_maps(4, [(20, 20)] * 40, 0.1)
    assert estimated(maps[::-1]) == estimated(maps)


def test_score_of_log_normal_texture_is_the_median_score_and_local_defects_hardly_move_it() -> None:
    maps = log_normal_maps(3, [(60, 60)] * 80, 0.08)
    expected = float(np.median(image_scores(maps, 0.99)))
    assert estimated(maps).score == pytest.approx(expected, rel=0.03)
    for one in maps[:70]:
        one.flat[:180] *= 3  # a twentieth of the cells
    assert np.median(image_scores(maps, 0.99)) > 2 * expected
    assert estimated(maps).score == pytest.approx(expected, rel=0.06)


def test_median_scores_of_defect_free_sets_stay_below_the_limit_and_of_defective_sets_above() -> None:
    for seed in range(10):
        maps = log_normal_maps(seed, [(40, 40)] * 50, 0.1)
        texture = estimated(maps)
        assert np.median(image_scores(maps, 0.99)) <= texture.largest_median
        for one in maps:
            one.flat[:80] *= 2
        texture = estimated(maps)
        assert np.median(image_scores(maps, 0.99)) > texture.largest_median


def test_a_high_map_level_raises_the_limit_of_the_median() -> None:
    assert NormalTexture(1.0, 0.0, 2.0).largest_median > NormalTexture(1.0, 0.0, 0.5).largest_median > 1.0


def test_normal_texture_of_zero_maps_is_unknown() -> None:
    assert estimate_normal_texture([np.zeros((8, 8), np.float32) for _ in range(40)], 0.99) is None
