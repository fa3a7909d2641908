from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf

from blemish.clustering import UNLIKE, TypeClassifier, fit_classifier, fit_region_reach, without_examples
from blemish.clustering.classifier import _covariance_solved
from blemish.types import BoolArray, FloatArray, IntArray


def blobs(counts: tuple[int, ...], spread: float = 0.1, dim: int = 12, seed: int = 0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    centers = np.eye(dim)[: len(counts)]
    rows = [center + spread * rng.normal(size=(n, dim)) for center, n in zip(centers, counts, strict=True)]
    return np.concatenate(rows).astype(np.float32), np.repeat(np.arange(len(counts)), counts)


def fitted(rows: FloatArray, labels: IntArray, normal: int | None = 0, unlike: float = 0.05) -> TypeClassifier:
    return fit_classifier(rows, labels, labels != normal, normal, unlike=unlike)


def everywhere(rows: FloatArray, value: bool = True) -> BoolArray:
    return np.full(len(rows), value)


def test_further_rows_of_the_same_groups_are_recognized() -> None:
    rows, labels = blobs((20, 9, 5, 3))
    further, truth = blobs((8, 8, 8, 8), seed=1)
    found = fitted(rows, labels).classify(further, truth != 0)
    recognized = found.labels[found.labels != UNLIKE]
    np.testing.assert_array_equal(recognized, truth[found.labels != UNLIKE])
    assert len(recognized) > 20
    assert (found.probabilities[found.labels == truth] > 0.5).all()


def test_a_row_of_the_fitted_set_keeps_its_group_even_where_it_looks_like_another() -> None:
    rows, labels = blobs((12, 12))
    labels[20] = 0  # among the second group
    found = fitted(rows, labels, normal=None).classify(rows, everywhere(rows))
    np.testing.assert_array_equal(found.labels, labels)
    assert found.probabilities[20] < 0.5


def test_a_region_is_never_normal() -> None:
    rows, labels = blobs((12, 6, 6))
    classifier = fitted(rows, labels, unlike=0.0)
    assert classifier.classify(rows[:12], everywhere(rows[:12], False)).labels.tolist() == [0] * 12
    assert 0 not in classifier.classify(rows[:12], everywhere(rows[:12]), types_only=True).labels


def test_what_is_far_from_every_type_is_unlike_them_if_it_is_anomalous() -> None:
    rows, labels = blobs((12, 6, 6))
    far = np.zeros((2, 12), np.float32)
    far[:, 7] = 1
    classifier = fitted(rows, labels)
    assert classifier.classify(far, np.array([True, False])).labels.tolist()[0] == UNLIKE
    assert classifier.classify(far, np.array([True, False])).labels.tolist()[1] != UNLIKE


@pytest.mark.parametrize("unlike", [0.0, 0.1, 0.5])
def test_a_larger_share_calls_more_unlike(unlike: float) -> None:
    rows, labels = blobs((0, 40, 40))
    further, _ = blobs((0, 100, 100), seed=2)
    found = fit_classifier(rows, labels - 1, everywhere(rows), None, unlike=unlike).classify(
        further, everywhere(further)
    )
    share = (found.labels == UNLIKE).mean()
    assert abs(share - unlike) < 0.15


@pytest.mark.parametrize("counts", [(1,), (5,), (1, 1), (1, 1, 1), (3, 1), (10, 10)])
def test_few_rows_and_groups_of_one_give_finite_answers(counts: tuple[int, ...]) -> None:
    rows, labels = blobs(counts)
    found = fitted(rows, labels, normal=None).classify(rows, everywhere(rows))
    np.testing.assert_array_equal(found.labels, labels)
    assert np.isfinite(found.probabilities).all()
    assert ((found.probabilities >= 0) & (found.probabilities <= 1)).all()


def test_equal_rows_of_one_group_are_that_group() -> None:
    rows = np.zeros((6, 4), np.float32)
    found = fitted(rows, np.zeros(6, np.int64), normal=0).classify(rows, everywhere(rows, False))
    assert found.labels.tolist() == [0] * 6
    assert found.probabilities.tolist() == [1.0] * 6


def test_no_rows_give_no_answers() -> None:
    rows, labels = blobs((4, 4))
    assert len(fitted(rows, labels).classify(rows[:0], everywhere(rows[:0])).labels) == 0


def test_each_row_is_classified_by_itself() -> None:
    rows, labels = blobs((9, 5, 4))
    classifier, (further, _) = fitted(rows, labels), blobs((5, 5, 5), 0.3, seed=3)
    together = classifier.classify(further, everywhere(further))
    for i in range(len(further)):
        alone = classifier.classify(further[i : i + 1], everywhere(further[:1]))
        assert alone.labels[0] == together.labels[i]
        assert alone.probabilities[0] == pytest.approx(together.probabilities[i], abs=1e-6)


def test_discriminants_are_those_of_a_shared_covariance() -> None:
    # with many rows and few dimensions, shrinkage vanishes and the posterior is that of two Gaussians
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    means, counts = np.array([[0.0, 0.0], [2.0, 1.0]]), (30_000, 10_000)
    rows = np.concatenate(
        [rng.multivariate_normal(mean, covariance, n) for mean, n in zip(means, counts, strict=True)]
    ).astype(np.float32)
    classifier = fit_classifier(rows, np.repeat([0, 1], counts), everywhere(rows), None, unlike=0.0)
    points = rng.normal(size=(20, 2)).astype(np.float32) + 1
    inverse = np.linalg.inv(covariance)
    density = [
        n * np.exp(-0.5 * np.einsum("ij,jk,ik->i", points - mean, inverse, points - mean))
        for mean, n in zip(means, counts, strict=True)
    ]
    expected = density[1] / (density[0] + density[1])
    logits = points @ classifier.images.coefficients.T + classifier.images.intercepts
    found = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_distances_are_to_the_center_of_the_group_and_to_the_nearest_center_if_unlike() -> None:
    rows, labels = blobs((6, 6))
    classifier = fitted(rows, labels)
    found = classifier.center_distances(rows[:2], np.array([1, UNLIKE]))
    centers = [rows[labels == label].mean(0) for label in (0, 1)]
    assert found[0] == pytest.approx(np.linalg.norm(rows[0] - centers[1]), rel=1e-5)
    assert found[1] == pytest.approx(min(np.linalg.norm(rows[1] - center) for center in centers), rel=1e-5)


@pytest.mark.parametrize(("n", "dimensions"), [(6, 20), (20, 6), (9, 9)])
def test_the_covariance_is_that_of_ledoit_and_wolf(n: int, dimensions: int) -> None:
    rng = np.random.default_rng(n)
    within = rng.standard_normal((n, dimensions)) * rng.uniform(0.1, 3, dimensions)
    means = rng.standard_normal((3, dimensions))
    covariance, _ = ledoit_wolf(within, assume_centered=True)
    covariance += 1e-6 * np.trace(covariance) / dimensions * np.eye(dimensions)
    np.testing.assert_allclose(_covariance_solved(within, means) @ covariance, means, rtol=1e-9, atol=1e-9)


def test_regions_reach_as_far_as_the_regions_of_the_set() -> None:
    rng = np.random.default_rng(5)
    rows = np.concatenate([rng.normal(place, 0.05, (20, 4)) for place in (0.0, 1.0)]).astype(np.float32)
    labels = np.repeat([0, 1], 20)
    classifier = fit_classifier(rows, labels, everywhere(rows), None, unlike=0.0)
    regions = rows + np.float32(0.15)  # described with less around them than their images
    wider = fit_region_reach(classifier, regions, rows, 0.0)
    assert wider.reach == classifier.reach
    assert (classifier.classify(regions, everywhere(rows), types_only=True).labels == UNLIKE).any()
    assert (wider.classify(regions, everywhere(rows), types_only=True).labels == labels).all()
    far = np.full((1, 4), 9.0, np.float32)
    assert wider.classify(far, everywhere(far), types_only=True).labels.tolist() == [UNLIKE]


def test_the_own_image_is_no_example_of_the_type_of_a_region() -> None:
    rows = np.eye(4, dtype=np.float32)
    classifier = fit_classifier(rows, np.array([0, 0, 1, 1]), everywhere(rows), None, unlike=0.0)
    assert fit_region_reach(classifier, rows, rows, 0.0).region_reach == pytest.approx(np.sqrt(2))
    assert fit_region_reach(classifier, rows[:2], rows[:2], 0.0) is classifier


def test_images_that_are_left_out_teach_nothing_about_regions_and_keep_their_group() -> None:
    rng = np.random.default_rng(6)
    clean = np.concatenate([rng.normal(place, 0.1, (30, 2)) for place in ((0, 0), (1, 0))]).astype(np.float32)
    mixed = rng.normal((1, 0), 0.1, (20, 2)).astype(np.float32)  # look like the second group, but are in the first
    rows, labels = np.concatenate([clean, mixed]), np.repeat([0, 1, 0], [30, 30, 20])
    left_out = np.arange(80) >= 60
    classifier = fit_classifier(rows, labels, everywhere(rows), None, unlike=0.03)
    cleaned = without_examples(classifier, rows, labels, left_out)
    apart = fit_classifier(clean, labels[:60], everywhere(clean), None, unlike=0.03)
    np.testing.assert_allclose(cleaned.regions.coefficients, apart.regions.coefficients, rtol=1e-5)
    np.testing.assert_allclose(cleaned.regions.intercepts, apart.regions.intercepts, rtol=1e-5)
    assert cleaned.images is classifier.images  # later images of the group may show several types as well
    assert cleaned.classify(mixed, everywhere(mixed)).labels.tolist() == [0] * 20
    assert without_examples(classifier, rows, labels, labels == 0) is classifier  # a group keeps its only examples
