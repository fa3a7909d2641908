from __future__ import annotations

import numpy as np
import pytest

from blemish.config.localization import Localization
from blemish.config.schema import Config
from blemish.errors import InputError
from blemish.localization.scores import NormalTexture, image_scores
from blemish.localization.threshold import find_threshold, split_scores, threshold_warning
from blemish.types import FloatArray
from helpers.reference_threshold import Texture, mixture_cuts, threshold_loop

Groups = list[tuple[int, float, float]]
"""Number of images, mean and standard deviation of their log scores."""

TEXTURE = NormalTexture(1.2, 0.0)
"""The normal texture of :func:`defect_free` scores."""


def drawn(groups: Groups, seed: int = 0) -> FloatArray:
    """Scores of some groups of images, one after the other."""
    rng = np.random.default_rng(seed)
    return np.exp(np.concatenate([rng.normal(mean, sigma, count) for count, mean, sigma in groups])).astype(np.float32)


def defect_free(count: int, seed: int, spread: float = 0.08) -> FloatArray:
    """Scores of normal images with a median of 1.2."""
    return drawn([(count, np.log(1.2), spread)], seed)


def fraction_called(scores: FloatArray, normal: NormalTexture | None = None, *, rough: bool = False) -> float:
    """Fraction of images that the threshold calls anomalous."""
    return float((scores > split_scores(scores, normal, rough=rough)).mean())


def agreement(scores: FloatArray, threshold: float, defective: np.ndarray) -> float:
    """Fraction of images on the right side of the threshold."""
    return float(((scores > threshold) == defective).mean())


# The mixture of the scores alone


@pytest.mark.parametrize(("normal", "faint", "components"), [(25, 0, 2), (400, 0, 2), (40, 60, 3)])
def test_split_agrees_with_plain_expectation_maximization(normal: int, faint: int, components: int) -> None:
    scores = drawn([(normal, 0, 0.04), (faint, 0.3, 0.06), (120, 0.9, 0.2)], normal)
    logs = np.log(scores.astype(np.float64) / scores.max())
    cuts, _ = mixture_cuts(logs)
    assert len(cuts) == components - 1
    assert split_scores(scores) == pytest.approx(np.exp(cuts[0]) * scores.max(), rel=0.01)


def test_faint_defects_are_anomalous_although_there_are_strong_ones() -> None:
    scores = drawn([(35, 0, 0.04), (45, 0.25, 0.06), (50, 1.0, 0.12)])
    assert agreement(scores, split_scores(scores), np.arange(130) >= 35) > 0.97


@pytest.mark.parametrize("share", [0.05, 0.3, 0.75])
def test_a_narrow_and_a_broad_group_are_told_apart_whatever_their_shares(share: float) -> None:
    defects = round(400 * share)
    scores = drawn([(defects, 0.6, 0.2), (400 - defects, 0, 0.05)], 3)
    assert agreement(scores, split_scores(scores), np.arange(400) < defects) > 0.97


@pytest.mark.parametrize("seed", range(4))
def test_many_normal_images_that_are_not_gaussian_are_not_split(seed: int) -> None:
    rng = np.random.default_rng(seed)
    defective = np.arange(1500) < 375
    logs = np.where(defective, rng.normal(0.55, 0.2, 1500), 0.05 * rng.gamma(3, 1, 1500) - 0.15)
    scores = np.exp(logs).astype(np.float32)
    assert agreement(scores, split_scores(scores), defective) > 0.9
    # the criterion that counts all scores would split the normal images
    logs -= logs.max()
    plain = np.exp(mixture_cuts(logs, counted=10**9)[0][0]) * scores.max()
    assert agreement(scores, plain, defective) < 0.85


@pytest.mark.parametrize("count", [5, 20])
def test_a_few_defects_among_many_normal_images_are_found(count: int) -> None:
    scores = drawn([(2000, 0, 0.05), (count, 0.45, 0.1)])
    found = scores > split_scores(scores)
    assert found[2000:].all()
    assert found[:2000].mean() < 0.03


@pytest.mark.parametrize("scores", [[0.0, 0.0], [1.0], [2.0, 2.0, 2.0], [1.0, 1.01, 1.02, 1.03]])
def test_no_image_is_anomalous_if_scores_hardly_differ(scores: list[float]) -> None:
    values = np.array(scores, np.float32)
    assert not (values > split_scores(values)).any()
    # whatever is known of the normal texture
    assert not (values > split_scores(values, NormalTexture(1.99, 0.0))).any()


@pytest.mark.parametrize("scores", [[], [1.0, float("nan")], [1.0, float("inf")]])
def test_unusable_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(InputError, match="finite"):
        split_scores(np.array(scores, np.float32))


# The rules on normal texture, against the slow twin

BATCHES: dict[str, tuple[Groups, NormalTexture]] = {
    "defect-free": ([(60, 0.15, 0.07)], NormalTexture(1.2, 0.0)),
    "defect-free with three outliers": ([(60, 0.15, 0.05), (3, 1.0, 0.1)], NormalTexture(1.2, 0.0)),
    "coarse and defect-free": ([(60, 0.15, 0.2)], NormalTexture(1.2, 0.12)),
    "broad, with a narrow texture": ([(80, 0.15, 0.2)], NormalTexture(1.2, 0.0)),
    "clear defects": ([(60, 0, 0.1), (40, 1.5, 0.3)], NormalTexture(1.0, 0.0)),
    "clear defects, low normal score": ([(60, 0, 0.1), (40, 1.5, 0.3)], NormalTexture(0.9, 0.0)),
    "clear defects, high normal score": ([(60, 0, 0.1), (40, 1.5, 0.3)], NormalTexture(2.2, 0.0)),
    "overlapping sides": ([(60, 0, 0.35), (40, 1.5, 0.3)], NormalTexture(0.95, 0.0)),
    "overlapping sides, high normal score": ([(60, 0, 0.35), (40, 1.5, 0.3)], NormalTexture(2.5, 0.0)),
    "overlapping sides, low normal score": ([(60, 0, 0.35), (40, 1.5, 0.3)], NormalTexture(0.7, 0.0)),
    "overlapping sides, low score, high level": ([(60, 0, 0.35), (40, 1.5, 0.3)], NormalTexture(0.7, 0.0, 0.8)),
    "defective on both sides": ([(60, 0, 0.1), (40, 1.5, 0.3)], NormalTexture(0.7, 0.0)),
    "all-defective": ([(50, 1.0, 0.1)], NormalTexture(1.0, 0.0)),
    "faint and strong defects": ([(60, 0, 0.04), (30, 0.8, 0.04), (20, 1.6, 0.1)], NormalTexture(1.1, 0.0)),
    "coarse surface of two components": ([(60, 0, 0.04), (30, 0.25, 0.04), (20, 1.6, 0.1)], NormalTexture(1.1, 0.0)),
    "two components, the upper one defective": (
        [(60, 0, 0.04), (30, 0.25, 0.04), (20, 1.6, 0.1)],
        NormalTexture(0.9, 0.0),
    ),
}


ONE_GROUP = {"coarse and defect-free", "broad, with a narrow texture", "all-defective"}
"""Batches of one group. A mixture of several components fits them almost equally well in several ways."""


@pytest.mark.parametrize(
    ("name", "rough"), [(n, r) for r in (False, True) for n in BATCHES if not r or n not in ONE_GROUP]
)
def test_threshold_agrees_with_the_rules_written_out(name: str, rough: bool) -> None:
    groups, normal = BATCHES[name]
    scores = drawn(groups, 5)
    expected = threshold_loop(scores, Texture(normal.score, normal.spread, normal.level), rough=rough)
    found = split_scores(scores, normal, rough=rough)
    assert found == pytest.approx(expected, rel=0.01)
    assert ((scores > found) != (scores > expected)).sum() <= 1


@pytest.mark.parametrize("name", BATCHES)
def test_scaled_scores_give_a_scaled_threshold_in_any_order(name: str) -> None:
    groups, normal = BATCHES[name]
    scores = drawn(groups, 5)
    threshold = split_scores(scores, normal)
    scaled = NormalTexture(7 * normal.score, normal.spread, 7 * normal.level)
    assert split_scores(7 * scores, scaled) == pytest.approx(7 * threshold, rel=1e-4)
    order = np.random.default_rng(0).permutation(len(scores))
    assert split_scores(scores[order], normal) == threshold


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_images_does_not_matter_even_if_components_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(10, 80))
    scores = drawn([(count, 0, 0.1), (count // 2, 0.5, 0.4)], seed)
    assert len({split_scores(rng.permutation(scores)) for _ in range(6)}) == 1


# Decisions on drawn scores


@pytest.mark.parametrize(("count", "at_most"), [(30, 0.1), (80, 0.01), (400, 0.01)])
def test_a_defect_free_batch_has_hardly_any_anomalous_image(count: int, at_most: float) -> None:
    batches = [defect_free(count, seed) for seed in range(6)]
    assert np.mean([fraction_called(one, TEXTURE) for one in batches]) <= at_most
    assert np.mean([fraction_called(one) for one in batches]) > 0.3  # scores alone are always split


@pytest.mark.parametrize("count", [8, 12, 20, 29])
def test_a_small_defect_free_batch_is_not_halved_and_its_only_defect_is_found(count: int) -> None:
    called, alone = [], []
    for seed in range(8):
        scores = defect_free(count, seed, 0.06)
        called.append(fraction_called(scores, TEXTURE, rough=True))
        alone.append(fraction_called(scores))
        scores[3] = 2.4
        assert scores[3] > split_scores(scores, TEXTURE, rough=True)
    assert np.mean(called) < 0.12
    assert np.mean(alone) > 2 * np.mean(called)


@pytest.mark.parametrize("defects", [1, 3])
def test_exactly_the_few_defects_in_a_normal_batch_are_found(defects: int) -> None:
    strong = np.full(defects, 2.2, np.float32) + np.arange(defects, dtype=np.float32) / 9
    scores = np.concatenate([defect_free(60, 1), strong])
    assert np.flatnonzero(scores > split_scores(scores, TEXTURE)).tolist() == list(range(60, 60 + defects))


def test_an_all_defective_batch_is_called_as_a_whole() -> None:
    scores = defect_free(80, 2)
    assert fraction_called(scores, NormalTexture(0.8, 0.0)) > 0.9
    assert fraction_called(drawn([(50, 1.0, 0.1)], 6), NormalTexture(1.0, 0.0)) == 1


def test_a_broad_batch_is_split_unless_normal_texture_differs_as_much_from_image_to_image() -> None:
    broad = defect_free(80, 2, 0.2)
    assert 0.1 < fraction_called(broad, TEXTURE) < 0.6
    assert fraction_called(broad, NormalTexture(1.2, 0.12)) < 0.1


def test_a_shoulder_is_not_a_second_component_but_a_separate_component_is() -> None:
    shoulder = drawn([(36, 0.15, 0.045), (16, 0.31, 0.045)], 4)
    assert 0.2 < fraction_called(shoulder) < 0.6
    assert fraction_called(shoulder, TEXTURE) == 0
    separate = drawn([(36, 0.15, 0.012), (16, 0.31, 0.012)], 4)
    assert (separate > split_scores(separate, TEXTURE)).sum() == 16


def test_two_clear_components_are_split_alike_with_and_without_normal_texture() -> None:
    scores = np.concatenate([defect_free(60, 3, 0.04), 1.6 * defect_free(20, 4, 0.04)])
    threshold = split_scores(scores, TEXTURE)
    assert threshold == split_scores(scores)
    assert (scores > threshold).sum() == 20


def test_two_normal_components_of_a_coarse_surface_stay_below_a_clear_gap() -> None:
    scores = drawn([(60, 0, 0.04), (30, 0.25, 0.04), (20, 1.6, 0.1)])
    assert (scores > split_scores(scores)).sum() == 50
    assert (scores > split_scores(scores, NormalTexture(1.1, 0.0))).sum() == 20
    # a rough estimate does not move the threshold
    assert (scores > split_scores(scores, NormalTexture(1.1, 0.0), rough=True)).sum() == 50


def test_the_threshold_stays_near_the_score_of_normal_texture_unless_sides_are_clearly_apart() -> None:
    overlapping, clear = drawn([(60, 0, 0.35), (40, 1.5, 0.3)], 5), drawn([(60, 0, 0.1), (40, 1.5, 0.3)], 5)
    for score in (0.95, 1.5, 2.5):
        assert score < split_scores(overlapping, NormalTexture(score, 0.0)) < 1.5 * score
    low = NormalTexture(0.6 * split_scores(clear), 0.0)
    assert split_scores(clear, low) == split_scores(clear)


def test_a_rough_estimate_does_not_call_a_whole_batch_defective() -> None:
    scores = np.array([1.0, 1.01, 0.99, 1.02, 3.0, 3.1, 3.2, 3.3], np.float32)
    low = NormalTexture(0.1, 0.0)
    assert (scores > split_scores(scores, low, rough=True)).sum() == 4
    assert (scores > split_scores(scores, low)).all()


# Decisions on drawn maps


def spotted(strength: float, rng: np.random.Generator, cells: int = 40) -> FloatArray:
    """Normal texture around 1 and, if the strength is above 1, a spot that rises to it."""
    one = rng.normal(1.0, 0.05, (32, 32))
    one.flat[:cells] *= strength
    return one.astype(np.float32)


def batch(defective: int, normal: int, faint: float = 1.7) -> tuple[list[FloatArray], np.ndarray]:
    """Maps of defective images, two of three with a faint defect, then of normal images; and which are defective."""
    rng = np.random.default_rng(0)
    strengths = [rng.uniform(1.4, faint) if k % 3 else rng.uniform(3, 4) for k in range(defective)] + [1.0] * normal
    return [spotted(strength, rng) for strength in strengths], np.arange(len(strengths)) < defective


def called(maps: list[FloatArray], **settings: object) -> np.ndarray:
    """Which images the threshold of their maps calls anomalous."""
    localization = Localization(**settings)  # type: ignore[arg-type]
    scores = image_scores(maps, localization.score_quantile)
    return scores > find_threshold(maps, scores, localization)


@pytest.mark.parametrize(
    ("defective", "normal", "faint"), [(90, 0, 2.0), (90, 3, 1.7), (90, 3, 2.0), (60, 30, 1.7), (12, 60, 1.7)]
)
def test_faint_defects_are_anomalous_however_few_images_are_normal(defective: int, normal: int, faint: float) -> None:
    """Without a normal image, this holds only if defects differ: where all are equally faint, they look normal."""
    maps, truth = batch(defective, normal, faint)
    assert (called(maps) == truth).mean() > 0.97
    if not normal:
        assert fraction_called(image_scores(maps, 0.99)) < 0.5  # the scores alone call the faint ones normal


def test_large_defects_in_most_images_are_not_taken_for_normal_texture() -> None:
    rng = np.random.default_rng(8)
    maps = [spotted(1.0, rng) for _ in range(80)]
    for one in maps[:60]:
        one.flat[: 32 * 32 * 3 // 10] *= rng.uniform(1.7, 4)  # three tenths of the image
    np.testing.assert_array_equal(called(maps), np.arange(80) < 60)


@pytest.mark.parametrize("count", [8, 30, 60])
def test_maps_without_a_defect_have_no_anomalous_image(count: int) -> None:
    rng = np.random.default_rng(1)
    assert not called([spotted(1.0, rng) for _ in range(count)]).any()


def test_a_coarse_surface_without_a_defect_is_not_split() -> None:
    """The scores of its images deviate more than the scores of a fine surface."""
    with_maps, alone = [], []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        levels = rng.normal(0, 0.13, 60)
        maps = [np.exp(level + rng.normal(0, 0.1, (24, 24))).astype(np.float32) for level in levels]
        with_maps.append(called(maps).mean())
        alone.append(fraction_called(image_scores(maps, 0.99)))
    assert np.mean(with_maps) < 0.06
    assert np.mean(alone) > 0.3


def test_maps_of_zeros_leave_the_decision_to_the_scores() -> None:
    maps = [np.zeros((8, 8), np.float32) for _ in range(40)]
    maps[0][0, 0] = 5.0
    np.testing.assert_array_equal(np.flatnonzero(called(maps)), [0])


@pytest.mark.parametrize("factor", [1e-3, 50.0])
def test_scaled_maps_have_the_same_anomalous_images(factor: float) -> None:
    maps, _ = batch(30, 40)
    np.testing.assert_array_equal(called([np.float32(factor) * one for one in maps]), called(maps))


@pytest.mark.parametrize(
    "settings",
    [Localization(method="fca"), Localization(score_quantile=1.0), Config(preset="paper").localization, None],
)
def test_scores_alone_decide_for_other_methods_and_small_sets(settings: Localization | None) -> None:
    maps, _ = batch(90 if settings else 7, 0)
    scores = image_scores(maps, (settings or Localization()).score_quantile)
    assert find_threshold(maps, scores, settings or Localization()) == split_scores(scores)


# The warning


def test_a_warning_says_that_images_are_too_few_exactly_where_a_defect_free_batch_is_split() -> None:
    settings = Localization()
    for count in range(2, 16):
        # equal steps, so that no image is an outlier
        scores = np.exp(np.linspace(0, 0.25, count)).astype(np.float32)
        maps = [np.full((8, 8), score, np.float32) for score in scores]
        split = bool((scores > find_threshold(maps, scores, settings)).any())
        warning = threshold_warning(count, settings)
        assert (warning is not None) == (count < 8)
        assert warning is None or warning.startswith(f"{count} images are too few")
        assert split == (count < 8)


@pytest.mark.parametrize(
    "settings", [Localization(method="vae_fca"), Localization(method="fca"), Localization(score_quantile=1.0)]
)
def test_a_warning_says_that_a_defect_free_batch_is_split_by_scores_alone(settings: Localization) -> None:
    warning = threshold_warning(100, settings)
    assert warning is not None
    assert f"localization.method {settings.method} and " in warning
    assert f"localization.score_quantile {settings.score_quantile:g}," in warning
    # it is true
    scores = defect_free(100, 5)
    maps = [np.full((8, 8), score, np.float32) for score in scores]
    assert (scores > find_threshold(maps, scores, settings)).any()
    assert not (scores > find_threshold(maps, scores, Localization())).any()


@pytest.mark.parametrize("count", [2, 5, 100])
def test_a_given_threshold_and_a_single_image_need_no_warning(count: int) -> None:
    assert threshold_warning(count, Localization(threshold=0.5)) is None
    assert threshold_warning(count, Localization(method="fca", threshold=0.5)) is None
    assert threshold_warning(1, Localization(method="fca")) is None
