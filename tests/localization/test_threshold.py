from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gamma, norm

from blemish.config.localization import Localization
from blemish.config.schema import Config
from blemish.errors import InputError
from blemish.localization.scores import image_scores, score_quantiles
from blemish.localization.threshold import ScoreModel, fit_score_model, threshold_warning
from blemish.localization.two_groups import SPREAD, NormalScores, known_scores, posterior
from blemish.types import FloatArray

KNN = Localization()


def texture(rng: np.random.Generator, strength: float = 1.0, cells: int = 40) -> FloatArray:
    """Normal texture around 1, skewed as maps are, and, if the strength is above 1, a spot that is so many times higher."""
    level = np.exp(rng.normal(0, 0.05))
    one = level * np.exp(rng.normal(0, 0.15, (32, 32)))
    one.flat[:cells] *= strength
    return one.astype(np.float32)


def batch(defective: int, normal: int, seed: int = 0, faintest: float = 1.5) -> tuple[list[FloatArray], np.ndarray]:
    """Maps of defective images, then of normal ones; and which are defective."""
    rng = np.random.default_rng(seed)
    strengths = [*rng.uniform(faintest, 4, defective), *[1.0] * normal]
    return [texture(rng, strength) for strength in strengths], np.arange(len(strengths)) < defective


def fitted(maps: list[FloatArray], **settings: object) -> tuple[ScoreModel, FloatArray]:
    """The model of the maps, and their scores."""
    localization = Localization(**settings)  # type: ignore[arg-type]
    scores = image_scores(maps, np.full(len(maps), localization.score_quantile))
    return fit_score_model(maps, scores, localization), scores


def called(maps: list[FloatArray], **settings: object) -> np.ndarray:
    model, scores = fitted(maps, **settings)
    return scores > model.threshold


# Slow twin


def monte_carlo(logs: list[float], known: NormalScores, at: list[float], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and false alarms by drawing all unknowns at random; the excess is integrated numerically."""
    rng = np.random.default_rng(0)
    steps = np.linspace(0, 4, 161)[1:]
    total, probability, above = 0.0, np.zeros(len(at)), np.zeros(len(at))
    for _ in range(draws):
        center = rng.normal(known.level, known.deviation)
        spread = known.spread[0] * np.exp(known.spread[1] * rng.normal())
        mean, shape, share = 0.5 * np.exp(0.5 * rng.normal()), rng.choice([2, 5, 12]), rng.beta(0.5, 0.5)
        excess = gamma.pdf(steps, shape, scale=mean / shape) * 0.025
        points = np.array([*logs, *at])
        normal = share * norm.pdf(points, center, spread)
        anomalous = (1 - share) * (norm.pdf(points[:, None], center + steps, spread) @ excess)
        weight = np.prod((normal + anomalous)[: len(logs)])
        total += weight
        probability += weight * (anomalous / (normal + anomalous + 1e-300))[len(logs) :]
        above += weight * norm.sf(np.array(at), center, spread)
    return probability / total, above / total


@pytest.mark.parametrize("known", [NormalScores(0.03), NormalScores(0.1, 0.02, (0.2, 0.1))])
def test_the_lattice_agrees_with_random_draws_of_all_unknowns(known: NormalScores) -> None:
    logs, at = [-0.1, 0.02, 0.05, 0.3, 0.8], [-0.1, 0.1, 0.25, 0.4, 0.6, 0.9]
    probability, above = posterior(np.array(logs), known, np.array(at))
    expected, expected_above = monte_carlo(logs, known, at, 2000)
    np.testing.assert_allclose(probability, expected, atol=0.04)
    np.testing.assert_allclose(above, expected_above, atol=0.03)


# Decisions


@pytest.mark.parametrize("count", [2, 8, 30, 200])
def test_a_defect_free_batch_has_hardly_any_anomalous_image(count: int) -> None:
    rng = np.random.default_rng(1)
    assert called([texture(rng) for _ in range(count)]).mean() <= 0.02


@pytest.mark.parametrize(("defective", "normal"), [(8, 0), (20, 0), (1, 40), (3, 9), (30, 30), (90, 4)])
def test_clear_defects_are_anomalous_whatever_the_share_of_normal_images(defective: int, normal: int) -> None:
    maps, truth = batch(defective, normal, faintest=1.8)
    assert (called(maps) == truth).mean() >= 0.97


def test_an_all_defective_batch_is_mostly_anomalous_although_defects_differ_in_strength() -> None:
    assert called(batch(90, 0, faintest=1.5)[0]).mean() > 0.75


def test_defects_of_a_fifth_of_the_area_in_most_images_are_not_taken_for_normal_texture() -> None:
    rng = np.random.default_rng(8)
    maps = [texture(rng, strength, cells=200) for strength in [*rng.uniform(2, 4, 60), *[1.0] * 20]]
    np.testing.assert_array_equal(called(maps), np.arange(80) < 60)


def test_pin_holes_in_long_strips_are_found_if_their_size_is_stated() -> None:
    rng = np.random.default_rng(5)
    maps = [rng.normal(1.0, 0.1, (12, 700)).astype(np.float32) for _ in range(20)]
    for one in maps[:6]:
        one[4:6, 100:102] += 2
    pins, sides, settings = np.arange(20) < 6, [8.0] * 20, Localization(smallest_defect=16)
    assert not called(maps)[pins].any()  # four cells of 8400
    quantiles = score_quantiles(maps, sides, settings)
    scores = image_scores(maps, quantiles)
    np.testing.assert_array_equal(scores > fit_score_model(maps, scores, settings, quantiles).threshold, pins)


def test_few_defects_among_thousands_of_images_are_found() -> None:
    rng = np.random.default_rng(2)
    scores = np.exp(np.concatenate([rng.normal(0, 0.1, 5000), [1.0, 1.5, 2.0]])).astype(np.float32)
    found = scores > fit_score_model([np.full((2, 2), score) for score in scores], scores, KNN).threshold
    assert found[-3:].all()
    assert found.sum() < 10


def test_probabilities_hold_in_the_long_run() -> None:
    """Of the images with a probability of at least 0.9, at least nine tenths have a defect; below 0.1, few have one."""
    said, truth = [], []
    for seed in range(8):
        maps, defective = batch(*((6, 14), (14, 6), (0, 20), (20, 0))[seed % 4], seed=seed, faintest=1.2)
        model, scores = fitted(maps)
        probability = model.probability(scores)
        assert probability is not None
        said.append(probability)
        truth.append(defective)
    sure, defective = np.concatenate(said), np.concatenate(truth)
    assert defective[sure >= 0.9].mean() >= 0.9
    assert defective[sure < 0.1].mean() <= 0.15
    assert (sure >= 0.9).sum() > 40
    assert (sure < 0.1).sum() > 30


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_a_stated_share_of_normal_images_lies_above_the_threshold(share: float) -> None:
    rng = np.random.default_rng(3)
    logs = np.concatenate([rng.normal(0, 0.1, 300), rng.normal(1, 0.2, 100)])
    scores = np.exp(logs).astype(np.float32)
    threshold = fit_score_model([np.ones((2, 2))] * 400, scores, Localization(false_alarms=share)).threshold
    assert norm.sf(np.log(threshold), 0, 0.1) == pytest.approx(share, abs=0.6 * share)


# Known normal images


def test_many_known_images_tell_their_spread_and_a_few_leave_it_near_the_usual_one() -> None:
    logs = np.random.default_rng(0).normal(0.4, 0.03, 2000)
    many, few = known_scores(logs), known_scores(logs[:3])
    assert many.level == pytest.approx(0.4, abs=0.003)
    assert many.spread[0] == pytest.approx(0.03, rel=0.05)
    assert 0.5 * SPREAD[0] < few.spread[0] < SPREAD[0]
    assert few.deviation > 10 * many.deviation
    assert few.spread[1] > 10 * many.spread[1]
    assert few.spread[1] < SPREAD[1]


@pytest.mark.parametrize(("stated", "share"), [(None, 0.02), (0.1, 0.1)])
def test_about_as_many_normal_images_as_stated_lie_above_the_threshold_of_known_ones(
    stated: float | None, share: float
) -> None:
    rng, above = np.random.default_rng(0), []
    for _ in range(60):
        scores = np.exp(rng.normal(0.3, 0.1, 12)).astype(np.float32)
        model = fit_score_model([np.ones((2, 2))] * 12, scores, Localization(false_alarms=stated), normal=range(12))
        above.append((np.exp(rng.normal(0.3, 0.1, 100)) > model.threshold).mean())
    assert 0.4 * share < np.mean(above) < 2.2 * share


def test_the_threshold_of_known_images_scales_with_the_scores_and_ignores_the_other_images() -> None:
    scores = np.random.default_rng(1).uniform(1, 2, 20).astype(np.float32)

    def threshold(scores: FloatArray) -> float:
        return fit_score_model([np.full((2, 2), 9.0)] * 20, scores, KNN, normal=range(10)).threshold

    plain = threshold(scores)
    assert threshold(scores * 3) == pytest.approx(3 * plain, rel=1e-5)
    scores[10:] *= 50
    assert threshold(scores) == pytest.approx(plain, rel=1e-5)


def test_known_images_give_probabilities_where_maps_say_nothing_of_normal_texture() -> None:
    rng = np.random.default_rng(2)
    scores = np.exp(np.concatenate([rng.normal(0, 0.1, 20), rng.normal(1, 0.2, 10)])).astype(np.float32)
    maps, method = [np.ones((2, 2))] * 30, Localization(method="fca")
    assert fit_score_model(maps, scores, method).probability(scores) is None
    model = fit_score_model(maps, scores, method, normal=range(10))
    probability = model.probability(scores)
    assert probability is not None
    assert probability[:20].max() < 0.5 < 0.99 < probability[20:].min()
    assert threshold_warning(model.anomalous(scores), model.possible(scores), method) is not None
    assert threshold_warning(model.anomalous(scores), model.possible(scores), method, normal=10) is None


# Invariants


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_scale_and_order_of_the_images_do_not_matter(factor: float) -> None:
    maps, _ = batch(10, 15)
    model, scores = fitted(maps)
    order = np.random.default_rng(0).permutation(len(maps))
    assert fitted([maps[i] for i in order])[0] == model
    scaled = fitted([np.float32(factor) * one for one in maps])[0]
    assert scaled.threshold == pytest.approx(factor * model.threshold, rel=1e-4)
    np.testing.assert_allclose(scaled.probability(np.float32(factor) * scores), model.probability(scores), atol=1e-3)  # type: ignore[arg-type]


def test_probability_rises_with_the_score_and_is_a_half_at_the_threshold() -> None:
    model, _ = fitted(batch(10, 15)[0])
    found = model.probability(
        np.array([0.0, 0.5 * model.threshold, model.threshold, 2 * model.threshold, 1e9], np.float32)
    )
    assert found is not None
    assert (np.diff(found) >= 0).all()
    assert found[2] == pytest.approx(0.5, abs=0.01)
    assert found[0] < 0.1 < 0.9 < found[-1]
    assert found.dtype == np.float32


def test_constant_zero_and_single_maps_have_no_anomalous_image() -> None:
    for value in (0.0, 0.3):
        for count in (1, 40):
            model, scores = fitted([np.full((4, 4), value, np.float32)] * count)
            assert not (scores > model.threshold).any()
            assert (model.probability(scores) < 0.5).all()  # type: ignore[operator]


def test_one_spot_in_maps_of_zeros_is_anomalous() -> None:
    maps = [np.zeros((8, 8), np.float32) for _ in range(40)]
    maps[0][0, 0] = 5.0
    np.testing.assert_array_equal(np.flatnonzero(called(maps)), [0])


@pytest.mark.parametrize("scores", [[], [1.0, np.nan], [np.inf, 1.0]])
def test_missing_and_infinite_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(InputError, match="threshold needs at least one score"):
        fit_score_model([np.ones((2, 2), np.float32)] * len(scores), np.array(scores, np.float32), KNN)


# Other methods, and the warning

OTHERS = (Localization(method="fca"), Localization(score_quantile=1.0), Config(preset="paper").localization)


@pytest.mark.parametrize("settings", OTHERS)
def test_other_methods_have_a_threshold_from_scores_alone_a_warning_and_no_probability(settings: Localization) -> None:
    rng = np.random.default_rng(5)
    scores = np.exp(np.concatenate([rng.normal(0, 0.1, 50), rng.normal(1, 0.1, 20)])).astype(np.float32)
    model = fit_score_model([np.full((2, 2), 9.0, np.float32)] * 70, scores, settings)
    np.testing.assert_array_equal(scores > model.threshold, np.arange(70) >= 50)
    assert model.probability(scores) is None
    warning = threshold_warning(model.anomalous(scores), model.possible(scores), settings)
    assert warning is not None
    assert f"localization.method {settings.method} and " in warning
    assert f"localization.score_quantile {settings.score_quantile:g}," in warning


@pytest.mark.parametrize("count", [1, 2, 5, 7, 8, 100])
def test_a_warning_says_that_images_are_too_few(count: int) -> None:
    anomalous = np.ones(count, bool)
    warning = threshold_warning(anomalous, anomalous, KNN)
    assert (warning is not None) == (1 < count < 8)
    assert warning is None or warning.startswith(f"{count} images are too few")
    assert threshold_warning(anomalous, anomalous, Localization(method="fca", threshold=0.5)) is None


def test_images_that_may_be_defects_are_those_above_the_threshold_and_the_not_improbable_ones() -> None:
    scores = np.array([1.0, 2.0, 3.0], np.float32)
    assert ScoreModel(2.5).possible(scores).tolist() == [False, False, True]
    assert ScoreModel(2.5, (1.0, 2.0, 3.0), (0.0, 0.2, 0.9)).possible(scores).tolist() == [False, True, True]


@pytest.mark.parametrize("faint", [False, True])
def test_in_a_reject_bin_every_image_is_anomalous(faint: bool) -> None:
    """Normal texture above the threshold is not part of a defect, unless an image scores less than normal texture."""
    maps, _ = batch(0, 12) if faint else batch(12, 0, faintest=3.0)
    assert called(maps).all() != faint
    model, scores = fitted(maps, rejects=True)
    probability = model.probability(scores)
    assert (scores > model.threshold).all()
    assert probability is not None
    assert (probability == 1).all()
    assert float(np.mean(np.stack(maps)[:, 8:] > model.threshold)) < (0.1 if faint else 0.02)
    lower = np.array([0.5, 0.9]) * model.threshold
    below = model.probability(lower.astype(np.float32))
    assert below is not None
    assert (below <= 0.5).all()  # a later image may be normal
    assert (scores * 3 > fitted([3 * one for one in maps], rejects=True)[0].threshold).all()


def test_a_batch_that_may_be_defect_free_or_all_defective_is_said_to_be_so() -> None:
    scores = np.linspace(1, 1.2, 20, dtype=np.float32)

    def warning(model: ScoreModel) -> str | None:
        return threshold_warning(model.anomalous(scores), model.possible(scores), KNN)

    assert warning(ScoreModel(2.0, (0.5, 1.9), (0.05, 0.05))) is None
    assert "--rejects" in str(warning(ScoreModel(2.0, (0.5, 1.9), (0.3, 0.3))))
    assert warning(ScoreModel(1.1, (0.5, 1.9), (0.3, 0.6))) is None  # some are called
    assert warning(ScoreModel(2.0)) is None
