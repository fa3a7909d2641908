from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy.stats import norm

from blemish.config.schema import Config, Localize
from blemish.errors import InputError
from blemish.localization.threshold import (
    CLEARLY_APART,
    CLEARLY_APART_MEDIAN,
    EFFECTIVE_SCORES,
    LEAST_DEVIATION,
    LEVEL_MEDIAN,
    ONE_KIND_FROM,
    OUTLYING,
    SOUND_FROM,
    SOUND_LEAST,
    SOUND_MEDIAN,
    SOUND_MOST,
    Sound,
    anomaly_weights,
    doubt,
    find_threshold,
    image_scores,
    sound_material,
    split_scores,
)
from blemish.types import FloatArray

SOUND = Sound(1.2, 0.0)
"""Of `clean` scores."""

Peaks = list[tuple[float, float, float]]
"""Mean, variance and weight of each."""


def density(x: np.ndarray, peaks: Peaks) -> np.ndarray:
    return np.array([w * np.exp(-0.5 * (x - m) ** 2 / v) / np.sqrt(2 * np.pi * v) for m, v, w in peaks])


def likeliest(x: np.ndarray, count: int) -> tuple[float, Peaks]:
    """Log likelihood and peaks, by plain expectation maximization from many starts."""
    best: tuple[float, Peaks] = (-np.inf, [])
    for quantiles in itertools.combinations((0.05, 0.3, 0.6, 0.9), count):
        peaks = [(float(np.quantile(x, q)), x.var() / 4, 1 / count) for q in quantiles]
        for _ in range(700):
            share = density(x, peaks)
            share /= share.sum(0)
            peaks = []
            for mine in share:
                mean = (mine * x).sum() / mine.sum()
                peaks.append((mean, (mine * (x - mean) ** 2).sum() / mine.sum() + 1e-4, mine.mean()))
        best = max(best, (float(np.log(density(x, peaks).sum(0)).sum()), peaks))
    return best


def slow_mixture_cut(scores: np.ndarray, most: int = EFFECTIVE_SCORES) -> tuple[float, int]:
    """The threshold and how many Gaussians over the logs it rests on: two, or three if their BIC is lower."""
    x = np.log(scores.astype(np.float64))
    two, three = likeliest(x, 2), likeliest(x, 3)
    count = min(len(x), most)
    bic = [-2 * found[0] * count / len(x) + parameters * np.log(count) for found, parameters in ((two, 5), (three, 8))]
    peaks = sorted((two, three)[int(np.argmin(bic))][1])
    grid = np.linspace(peaks[0][0], x.max(), 200_000)
    each = density(grid, peaks)
    return float(np.exp(grid[np.argmax(each[0] < each[1:].sum(0))])), len(peaks)


@pytest.mark.parametrize(("normal", "faint", "peaks"), [(25, 0, 2), (400, 0, 2), (40, 60, 3)])
def test_split_agrees_with_plain_expectation_maximization(normal: int, faint: int, peaks: int) -> None:
    rng = np.random.default_rng(normal)
    logs = np.concatenate([rng.normal(0, 0.04, normal), rng.normal(0.3, 0.06, faint), rng.normal(0.9, 0.2, 120)])
    scores = np.exp(logs).astype(np.float32)
    expected, count = slow_mixture_cut(scores)
    assert count == peaks
    assert split_scores(scores) == pytest.approx(expected, rel=0.01)
    assert split_scores(scores * 7) == pytest.approx(7 * split_scores(scores), rel=1e-3)
    assert split_scores(rng.permutation(scores)) == pytest.approx(split_scores(scores), rel=1e-3)


def test_faint_defects_are_not_taken_for_normal_because_there_are_strong_ones() -> None:
    rng = np.random.default_rng(0)
    defective = np.arange(130) >= 35
    logs = np.concatenate([rng.normal(0, 0.04, 35), rng.normal(0.25, 0.06, 45), rng.normal(1.0, 0.12, 50)])
    scores = np.exp(logs).astype(np.float32)
    assert ((scores > split_scores(scores)) == defective).mean() > 0.97


@pytest.mark.parametrize("share", [0.05, 0.3, 0.75])
def test_a_narrow_and_a_broad_group_are_told_apart_whatever_their_shares(share: float) -> None:
    rng = np.random.default_rng(3)
    defective = np.arange(400) < 400 * share
    scores = np.exp(np.where(defective, rng.normal(0.6, 0.2, 400), rng.normal(0, 0.05, 400))).astype(np.float32)
    assert ((scores > split_scores(scores)) == defective).mean() > 0.97


@pytest.mark.parametrize("seed", range(4))
def test_many_scores_do_not_split_a_peak_of_normal_images_that_is_no_gaussian(seed: int) -> None:
    rng = np.random.default_rng(seed)
    defective = np.arange(1500) < 375
    logs = np.where(defective, rng.normal(0.55, 0.2, 1500), 0.05 * rng.gamma(3, 1, 1500) - 0.15)
    scores = np.exp(logs).astype(np.float32)
    assert ((scores > split_scores(scores)) == defective).mean() > 0.9
    # the plain criterion: two peaks of normal images
    assert ((scores > slow_mixture_cut(scores, most=10**9)[0]) == defective).mean() < 0.85


@pytest.mark.parametrize("count", [5, 20])
def test_a_few_defects_among_many_normal_images_are_found(count: int) -> None:
    rng = np.random.default_rng(0)
    defective = np.arange(2000 + count) >= 2000
    logs = np.where(defective, rng.normal(0.45, 0.1, len(defective)), rng.normal(0, 0.05, len(defective)))
    scores = np.exp(logs).astype(np.float32)
    found = scores > split_scores(scores)
    assert found[defective].all()
    assert found[~defective].mean() < 0.03


def test_weights_by_the_formula() -> None:
    scores = np.array([0.0, 0.5, 0.99, 1.0, 1.02, 4.0], np.float32)
    expected = [0.0] + [1 / (1 + (s / 1.0) ** (-1 / 0.05)) for s in scores[1:]]
    np.testing.assert_allclose(anomaly_weights(scores, 1.0, 0.05), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(anomaly_weights(3 * scores, 3.0, 0.05), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(("normal", "anomalous"), [(3, 1), (1, 3), (2, 2), (16, 1), (4, 0)])
def test_the_floor_of_the_weights_follows_the_share_of_anomalous_images(normal: int, anomalous: int) -> None:
    scores = np.array([0.01] * normal + [100.0] * anomalous, np.float32)
    least = 0.6 * min(1.0, anomalous / normal)
    found = anomaly_weights(scores, 1.0, 0.05, 0.6)
    np.testing.assert_allclose(found, [least] * normal + [1.0] * anomalous, rtol=1e-5, atol=1e-9)


def test_weights_rise_with_the_score_from_the_floor_to_one_and_meet_half_way_at_the_threshold() -> None:
    scores = np.array([0.1, 0.9, 1.0, 1.1, 9.0], np.float32)
    weights = anomaly_weights(scores, 1.0, 0.05, 0.5)
    assert (np.diff(weights) > 0).all()
    least = 0.5 * (2 / 3)
    np.testing.assert_allclose(weights[2], (1 + least) / 2, rtol=1e-6)


def test_weights_without_any_score_and_with_a_threshold_of_zero() -> None:
    np.testing.assert_allclose(anomaly_weights(np.zeros(3, np.float32), 0.0, 0.05), 0, atol=1e-9)
    np.testing.assert_allclose(anomaly_weights(np.array([0, 1e-3, 1], np.float32), 0.0, 0.05), [0, 1, 1], atol=1e-9)


@pytest.mark.parametrize("scores", [[0.0, 0.0], [1.0], [2.0, 2.0, 2.0], [1.0, 1.01, 1.02, 1.03]])
def test_nothing_is_anomalous_where_scores_hardly_differ(scores: list[float]) -> None:
    values = np.array(scores, np.float32)
    assert not (values > split_scores(values)).any()


@pytest.mark.parametrize("scores", [[], [1.0, float("nan")]])
def test_unusable_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(InputError):
        split_scores(np.array(scores, np.float32))


def spotted(strength: float, rng: np.random.Generator, cells: int = 40) -> FloatArray:
    """Sound material around 1 and, if the strength is above 1, a spot that rises to it."""
    one = rng.normal(1.0, 0.05, (32, 32))
    one.flat[:cells] *= strength
    return one.astype(np.float32)


def bin_of(defective: int, normal: int, faint: float = 1.7) -> tuple[list[FloatArray], np.ndarray]:
    """Maps of faint (up to ``faint``) and strong defects, two of three faint, and of normal images; and which are which."""
    rng = np.random.default_rng(0)
    strengths = [rng.uniform(1.4, faint) if k % 3 else rng.uniform(3, 4) for k in range(defective)] + [1.0] * normal
    return [spotted(strength, rng) for strength in strengths], np.arange(len(strengths)) < defective


@pytest.mark.parametrize(
    ("defective", "normal", "faint"), [(90, 0, 2.0), (90, 3, 1.7), (90, 3, 2.0), (60, 30, 1.7), (12, 60, 1.7)]
)
def test_faint_defects_are_anomalous_however_few_images_are_normal(defective: int, normal: int, faint: float) -> None:
    """Without a normal image only if they differ: where all are as faint, far below the others, they look like sound images."""
    maps, truth = bin_of(defective, normal, faint)
    scores = image_scores(maps, 0.99)
    threshold = find_threshold(maps, scores, Localize())
    assert ((scores > threshold) == truth).mean() > 0.97
    if not normal:
        # the scores alone call the faint ones normal
        assert (scores > split_scores(scores)).mean() < 0.5


def two_sides(scatter: float) -> FloatArray:
    """Logarithms of 60 scores scattered around 0, those of 40 more around 1.5."""
    rng = np.random.default_rng(5)
    logs = np.concatenate([rng.normal(0, scatter, 60), rng.normal(1.5, 0.3, 40)])
    return np.exp(logs).astype(np.float32)


def lower_median(scores: FloatArray) -> float:
    """Of the lower side that the scores alone make."""
    return float(np.median(scores[scores <= split_scores(scores)]))


def slow_apart(scores: np.ndarray, threshold: float) -> float:
    lower, upper = ([math.log(s) for s in scores if (s > threshold) == side] for side in (False, True))
    return (statistics.median(upper) - statistics.median(lower)) / max(statistics.pstdev(lower), LEAST_DEVIATION)


FADING, CLEAR = two_sides(0.35), two_sides(0.1)
"""Sides that are 4.6 and 17 deviations of the lower one apart."""


def test_the_sides_of_these_tests_are_what_they_are_called() -> None:
    assert 3 < slow_apart(FADING, split_scores(FADING)) < CLEARLY_APART < slow_apart(CLEAR, split_scores(CLEAR))


@pytest.mark.parametrize(("scores", "factor"), [(FADING, 1.0), (CLEAR, CLEARLY_APART_MEDIAN)])
def test_a_lower_side_that_no_sound_material_makes_counts_as_defective(scores: FloatArray, factor: float) -> None:
    lower = lower_median(scores)
    within, beyond = (Sound(lower / SOUND_MEDIAN / factor * nearly, 0.0) for nearly in (1.001, 0.999))
    assert (scores > split_scores(scores, within)).mean() < 0.6
    assert split_scores(scores, beyond) == beyond.reach
    assert split_scores(7 * scores, Sound(7 * beyond.reach, 0.0)) == pytest.approx(7 * beyond.reach, rel=1e-6)


def test_but_not_where_its_level_is_as_high() -> None:
    """Coarse surfaces, whose images differ: what a median one reaches is known less well."""
    lower = lower_median(FADING)
    reach = lower / SOUND_MEDIAN * 0.999
    for level, found in ((lower / LEVEL_MEDIAN * 0.999, reach), (lower / LEVEL_MEDIAN * 1.001, SOUND_MOST * reach)):
        assert split_scores(FADING, Sound(reach, 0.0, level)) == pytest.approx(found, rel=1e-12)


@pytest.mark.parametrize(("reach", "factor"), [(0.95, SOUND_MOST), (2.5, SOUND_LEAST)])
def test_the_threshold_lies_where_sound_material_may_end(reach: float, factor: float) -> None:
    """However the peaks lie: normal images may make a broad peak, and defects of many sizes join it."""
    free = split_scores(FADING)
    assert reach * factor < free if factor == SOUND_MOST else reach * factor > free
    assert split_scores(FADING, Sound(reach, 0.0)) == reach * factor
    between = Sound(free / 1.2, 0.0)
    assert split_scores(FADING, between) == free


def test_sides_that_are_clearly_apart_are_believed_beyond_where_sound_material_may_end() -> None:
    free = split_scores(CLEAR)
    reach = free / SOUND_MOST / 1.2
    assert split_scores(CLEAR, Sound(reach, 0.0)) == free
    assert split_scores(CLEAR, Sound(free, 0.0)) == SOUND_LEAST * free  # it does end somewhere


def three_peaks(middle: float) -> FloatArray:
    """Logarithms of 60 scores around 0, of 30 around ``middle``, of 20 around 1.6."""
    rng = np.random.default_rng(0)
    logs = np.concatenate([rng.normal(0, 0.04, 60), rng.normal(middle, 0.04, 30), rng.normal(1.6, 0.1, 20)])
    return np.exp(logs).astype(np.float32)


def test_two_peaks_of_a_coarse_surface_count_as_one_below_a_clear_gap() -> None:
    scores = three_peaks(0.25)
    peaks = sorted(likeliest(np.log(scores.astype(np.float64)), 3)[1])
    grid = np.linspace(peaks[1][0], np.log(scores.max()), 200_000)
    each = density(grid, peaks)
    second = float(np.exp(grid[np.argmax(each[2] > each[:2].sum(0))]))
    first = split_scores(scores)
    assert (scores <= first).sum() == 60
    assert slow_apart(scores, second) > max(CLEARLY_APART, slow_apart(scores, first))
    sound = Sound(1.1, 0.0)
    assert split_scores(scores, sound) == pytest.approx(second, rel=1e-3)
    assert split_scores(scores, sound, roughly=True) == first


def test_but_not_two_peaks_that_are_as_clear_or_that_no_sound_material_makes() -> None:
    far = three_peaks(0.8)  # faint defects: the first gap is the clearer one
    first = split_scores(far)
    assert slow_apart(far, first) > slow_apart(far, 2.9)
    assert split_scores(far, Sound(1.1, 0.0)) == first
    high = three_peaks(0.25)
    reach = 1.0 / SOUND_MEDIAN * 1.02  # the lowest peak alone is below what sound material reaches
    assert np.median(high[:90]) > SOUND_MEDIAN * reach > np.median(high[:60])
    found = split_scores(high, Sound(reach, 0.0))
    assert (high <= found).sum() == 60


def test_all_are_anomalous_where_none_is_near_to_sound_material() -> None:
    scores = np.exp(np.random.default_rng(6).normal(1.0, 0.1, 50)).astype(np.float32)
    assert (scores > split_scores(scores, Sound(1.0, 0.0))).all()


def slow_sound(maps: list[FloatArray], quantile: float) -> tuple[float, float]:
    """Reach and spread, by the formulas of docs/method.md and SciPy."""
    inner, outer = (np.array([np.percentile(one, 100 * q) for one in maps]) for q in (0.75, 0.9))
    level = np.percentile(np.log(outer), 10)
    spread = np.median(np.log(inner)) - np.percentile(np.log(inner), 10)
    per_step = np.percentile(np.log(outer) - np.log(inner), 10) / (norm.ppf(0.9) - norm.ppf(0.75))
    return float(np.exp(level + spread + per_step * (norm.ppf(quantile) - norm.ppf(0.9)))), float(spread)


@pytest.mark.parametrize("quantile", [0.99, 0.9, 0.8])
def test_what_sound_material_reaches_is_that_of_its_definition(quantile: float) -> None:
    rng = np.random.default_rng(2)
    shapes = [(24 + k % 3, 30) for k in range(61)]  # quantiles of 61 values are values: none between two
    maps = [np.exp(rng.normal(0.03 * rng.standard_normal(), 0.1, shape)).astype(np.float32) for shape in shapes]
    found = sound_material(maps, quantile)
    assert found is not None
    assert (found.reach, found.spread) == pytest.approx(slow_sound(maps, quantile), rel=1e-5)
    assert found.level == pytest.approx(np.percentile([np.percentile(one, 90) for one in maps], 10), rel=1e-5)
    thrice = sound_material([3 * one for one in maps], quantile)
    assert thrice is not None
    assert (thrice.reach, thrice.spread) == pytest.approx((3 * found.reach, found.spread), rel=1e-5)


def test_of_log_normal_maps_it_is_the_median_score_and_local_defects_do_not_move_it() -> None:
    rng = np.random.default_rng(3)
    maps = [np.exp(rng.normal(0.08 * rng.standard_normal(), 0.1, (60, 60))).astype(np.float32) for _ in range(80)]
    expected = float(np.median(image_scores(maps, 0.99)))
    sound = sound_material(maps, 0.99)
    assert sound is not None
    assert sound.reach == pytest.approx(expected, rel=0.03)
    for one in maps[:70]:
        one.flat[:180] *= 3  # a twentieth of the cells
    assert np.median(image_scores(maps, 0.99)) > 2 * expected
    moved = sound_material(maps, 0.99)
    assert moved is not None
    assert moved.reach == pytest.approx(expected, rel=0.06)


def test_large_defects_in_most_images_do_not_pass_for_sound_material() -> None:
    rng = np.random.default_rng(8)
    maps, truth = [spotted(1.0, rng) for _ in range(80)], np.arange(80) < 60
    for one in maps[:60]:
        one.flat[: 32 * 32 * 3 // 10] *= rng.uniform(1.7, 4)  # three tenths of the image
    scores = image_scores(maps, 0.99)
    assert np.array_equal(scores > find_threshold(maps, scores, Localize()), truth)


def test_nothing_is_known_of_sound_material_at_zero() -> None:
    maps = [np.zeros((8, 8), np.float32) for _ in range(40)]
    assert sound_material(maps, 0.99) is None
    maps[0][0, 0] = 5.0
    assert find_threshold(maps, image_scores(maps, 0.99), Localize()) == split_scores(image_scores(maps, 0.99))


def test_a_coarse_surface_without_a_defect_is_not_split() -> None:
    """Its images differ as a whole: scores deviate by more than those of fine surfaces ever do."""
    called, halved = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        levels = rng.normal(0, 0.13, 60)
        maps = [np.exp(level + rng.normal(0, 0.1, (24, 24))).astype(np.float32) for level in levels]
        scores = image_scores(maps, 0.99)
        called.append((scores > find_threshold(maps, scores, Localize())).mean())
        halved.append((scores > split_scores(scores)).mean())
    assert np.mean(called) < 0.06
    assert np.mean(halved) > 0.3


def test_nothing_becomes_anomalous_by_what_sound_material_reaches_where_scores_hardly_differ() -> None:
    scores = np.array([2.0, 2.01, 2.02, 2.0], np.float32)
    assert not (scores > split_scores(scores, Sound(1.99, 0.0))).any()
    rng = np.random.default_rng(1)
    maps = [spotted(1.0, rng) for _ in range(60)]
    found = image_scores(maps, 0.99)
    assert not (found > find_threshold(maps, found, Localize())).any()


@pytest.mark.parametrize(
    "settings", [Localize(method="fca"), Localize(score_quantile=1.0), Config(preset="paper").localize, None]
)
def test_maps_whose_level_is_not_known_and_small_sets_are_split_by_their_scores(settings: Localize | None) -> None:
    maps, _ = bin_of(90 if settings else ONE_KIND_FROM - 1, 0)
    scores = image_scores(maps, (settings or Localize()).score_quantile)
    assert find_threshold(maps, scores, settings or Localize()) == split_scores(scores)


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_the_images_is_no_matter_even_where_peaks_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(10, 80))
    logs = np.concatenate([rng.normal(0, 0.1, count), rng.normal(0.5, 0.4, count // 2)])
    scores = np.exp(logs).astype(np.float32)
    assert len({split_scores(rng.permutation(scores)) for _ in range(6)}) == 1


def clean(count: int, seed: int, spread: float = 0.08) -> FloatArray:
    """Scores of one kind, their median a fifth above 1."""
    scores = np.exp(np.random.default_rng(seed).normal(np.log(1.2), spread, count))
    return scores.astype(np.float32)


@pytest.mark.parametrize(("count", "at_most"), [(30, 0.1), (80, 0.01), (400, 0.01)])
def test_a_clean_batch_is_not_halved(count: int, at_most: float) -> None:
    called, halved = [], []
    for seed in range(12):
        scores = clean(count, seed)
        called.append((scores > split_scores(scores, SOUND)).mean())
        halved.append((scores > split_scores(scores)).mean())
    assert np.mean(called) <= at_most
    assert np.mean(halved) > 0.3  # what scores alone make of it


def test_a_shoulder_is_no_second_kind_but_a_peak_is() -> None:
    """Sound material of two sorts, as of a weave: narrow, as sound as any, and yet two peaks fit better."""
    rng = np.random.default_rng(4)
    shoulder = np.exp(np.concatenate([rng.normal(0.15, 0.045, 36), rng.normal(0.31, 0.045, 16)])).astype(np.float32)
    assert np.log(shoulder).std() < 0.1
    assert 0.2 < (shoulder > split_scores(shoulder)).mean() < 0.6  # what scores alone make of it
    assert (shoulder > split_scores(shoulder, SOUND)).mean() == 0
    peak = np.exp(np.concatenate([rng.normal(0.15, 0.012, 36), rng.normal(0.31, 0.012, 16)])).astype(np.float32)
    assert np.log(peak).std() < 0.1
    assert (peak > split_scores(peak, SOUND)).sum() == 16


@pytest.mark.parametrize("count", [ONE_KIND_FROM, 12, 20, SOUND_FROM - 1])
def test_nor_is_a_small_one_and_its_only_defect_is_found(count: int) -> None:
    called, halved = [], []
    for seed in range(20):
        scores = clean(count, seed, 0.06)
        called.append((scores > split_scores(scores, SOUND, roughly=True)).mean())
        halved.append((scores > split_scores(scores)).mean())
        scores[3] = 2.4
        assert scores[3] > split_scores(scores, SOUND, roughly=True)
    assert np.mean(called) < 0.12
    assert np.mean(halved) > 2 * np.mean(called)


def test_in_a_small_set_any_difference_of_the_criterion_decides_and_none_is_called_a_bin_of_rejects() -> None:
    kept = [(seed, clean(12, seed)) for seed in range(40)]
    lenient = {seed for seed, one in kept if split_scores(one, SOUND) != split_scores(one)}
    rough = {seed for seed, one in kept if split_scores(one, SOUND, roughly=True) != split_scores(one)}
    assert rough < lenient
    scores = np.array([1.0, 1.01, 0.99, 1.02, 3.0, 3.1, 3.2, 3.3], np.float32)
    broad = [clean(12, seed, 0.16) for seed in range(20)]
    uneven = Sound(1.2, 0.2)
    assert all(split_scores(one, uneven, roughly=True) == split_scores(one) for one in broad if np.log(one).std() > 0.1)
    low = Sound(0.1, 0.0)
    assert split_scores(scores, low, roughly=True) == split_scores(scores) != split_scores(scores, low)


@pytest.mark.parametrize("count", [ONE_KIND_FROM - 1, ONE_KIND_FROM, SOUND_FROM - 1, SOUND_FROM])
def test_how_much_is_known_of_sound_material_depends_on_the_number_of_images(count: int) -> None:
    rng = np.random.default_rng(7)
    maps = [spotted(1.0 + 0.02 * k, rng, 60) for k in range(count)]
    scores = image_scores(maps, 0.99)
    sound = None if count < ONE_KIND_FROM else sound_material(maps, 0.99)
    assert find_threshold(maps, scores, Localize()) == split_scores(scores, sound, roughly=count < SOUND_FROM)


def test_of_one_peak_what_lies_far_above_its_mean_is_anomalous() -> None:
    scores = np.concatenate([clean(150, 5), [np.float32(1.6)]])
    logs = np.log(scores.astype(np.float64))
    expected = np.exp(logs.mean() + OUTLYING * np.sqrt(logs.var() + 1e-4))
    assert split_scores(scores, SOUND) == pytest.approx(expected, rel=1e-6)
    assert np.flatnonzero(scores > expected).tolist() == [150]


@pytest.mark.parametrize("defects", [1, 3])
def test_few_defects_in_a_clean_batch_are_found_and_nothing_else(defects: int) -> None:
    scores = np.concatenate(
        [clean(60, 1), np.full(defects, 2.2, np.float32) + np.arange(defects, dtype=np.float32) / 9]
    )
    assert np.flatnonzero(scores > split_scores(scores, SOUND)).tolist() == list(range(60, 60 + defects))


def test_one_peak_is_a_clean_batch_only_where_it_looks_like_sound_material() -> None:
    scores = clean(80, 2)
    assert (scores > split_scores(scores)).any()  # by themselves, scores are always split
    # a broad peak may hold faint defects
    broad = clean(80, 2, 0.2)
    assert 0.1 < (broad > split_scores(broad, SOUND)).mean() < 0.6
    # ... unless sound material itself differs as much from image to image
    assert (broad > split_scores(broad, Sound(1.2, 0.12))).mean() < 0.1
    # the same peak far above sound material: a bin of rejects with one kind of defect
    assert (scores > split_scores(scores, Sound(1.2 / 1.5, 0.0))).mean() > 0.9


def test_two_clear_peaks_are_split_as_before_however_near_to_sound_material() -> None:
    scores = np.concatenate([clean(60, 3, 0.04), 1.6 * clean(20, 4, 0.04)])
    threshold = split_scores(scores, SOUND)
    assert threshold == split_scores(scores)
    assert (scores > threshold).sum() == 20


def test_it_is_said_where_the_rule_for_clean_batches_is_not_used_as_images_are_few() -> None:
    auto = Localize()
    told = {count: doubt(count, auto) for count in range(1, 2 * ONE_KIND_FROM)}
    assert {count for count, words in told.items() if words} == set(range(2, ONE_KIND_FROM))
    assert all(words.startswith(f"{count} images are too few") for count, words in told.items() if words)
    assert doubt(5, Localize(threshold=0.5)) is None
    # what it says is so: scores of one kind are all normal from there on, and split below
    scores = np.exp(np.linspace(-0.05, 0.05, ONE_KIND_FROM) + 1).astype(np.float32)
    maps = [np.full((8, 8), score, np.float32) for score in scores]
    assert (scores > find_threshold(maps, scores, auto)).sum() == 0
    apart = scores[:-1] * np.linspace(1, 1.3, ONE_KIND_FROM - 1, dtype=np.float32)
    assert (apart > find_threshold(maps[:-1], apart, auto)).sum() > 0


@pytest.mark.parametrize("settings", [Localize(method="bal"), Localize(method="fca"), Localize(score_quantile=1.0)])
def test_it_is_said_that_scores_alone_split_any_batch(settings: Localize) -> None:
    words = doubt(100, settings)
    assert words is not None
    assert f"localization.method {settings.method} and localization.score_quantile {settings.score_quantile:g} " in words
    assert doubt(1, settings) is None
    assert doubt(100, settings.model_copy(update={"threshold": 0.5})) is None
    # what it says is so
    scores = clean(100, 5)
    maps = [np.full((8, 8), score, np.float32) for score in scores]
    assert (scores > find_threshold(maps, scores, settings)).any()
    assert not (scores > find_threshold(maps, scores, Localize())).any()
