from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.config.sections import Contrastive
from blemish.descriptors.contrastive import train_head
from blemish.descriptors.heads import (
    head_descriptors,
    head_threshold,
    label_free_threshold,
    train_heads,
    training_steps,
)
from blemish.descriptors.pixels import PixelSample
from helpers.pixels import same_weights, two_types
from helpers.reference_method import head_loop, threshold_loop


def three_groups() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class of each of 19 images, descriptors in three clear groups, and maxima that grow with the class."""
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2], [9, 6, 4])
    descriptors = (20 * np.eye(3)[truth] + rng.normal(size=(19, 3))).astype(np.float32)
    return truth, descriptors, (rng.uniform(0, 1, 19) + truth).astype(np.float32)


def test_threshold_of_clear_groups_agrees_with_the_loop() -> None:
    truth, descriptors, maxima = three_groups()
    expected = threshold_loop(truth.tolist(), maxima.tolist())
    assert label_free_threshold(descriptors, maxima, 3) == pytest.approx(expected)


def test_threshold_is_the_quantile_at_the_share_of_the_lowest_cluster() -> None:
    descriptors = np.array([[0.0], [0.1], [0.05], [9.0]], np.float32)
    maxima = np.array([1.0, 2.0, 3.0, 8.0], np.float32)
    assert label_free_threshold(descriptors, maxima, 2) == pytest.approx(np.quantile(maxima, 0.75))


def test_threshold_of_equal_descriptors_is_the_highest_value() -> None:
    assert label_free_threshold(np.ones((3, 2), np.float32), np.array([1.0, 2.0, 3.0], np.float32), 2) == 3.0


@pytest.mark.parametrize(("count", "above"), [(0, 0), (1, 1), (7, 7), (18, 18), (19, 18)])
def test_as_many_images_exceed_the_threshold_as_are_anomalous(count: int, above: int) -> None:
    """If all images are anomalous, the lowest maximum is the threshold and does not exceed it."""
    _, descriptors, maxima = three_groups()
    maps = [np.full((2, 2), value, np.float32) for value in maxima]
    threshold = head_threshold(maps, descriptors, count / 19, method="scores", n_clusters=3, seed=0)
    assert (maxima > threshold).sum() == above


def test_threshold_by_kmeans_ignores_the_share_of_anomalous_images() -> None:
    truth, descriptors, maxima = three_groups()
    maps = [np.full((2, 2), value, np.float32) for value in maxima]
    expected = threshold_loop(truth.tolist(), maxima.tolist())
    for share in (0.0, 0.9):
        found = head_threshold(maps, descriptors, share, method="kmeans", n_clusters=3, seed=0)
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(("max_steps", "expected"), [(None, 16), (11, 11), (16, 16), (99, 16)])
def test_a_head_takes_one_step_per_image_and_epoch_up_to_the_limit(max_steps: int | None, expected: int) -> None:
    assert training_steps(8, 2, max_steps) == expected


def test_heads_are_trained_from_consecutive_seeds() -> None:
    features, values, rows = two_types()
    done: list[int] = []
    settings = Contrastive(epochs=2, n_heads=2, hidden=4)
    heads = train_heads(PixelSample(features, values, values), rows, 0.5, settings, seed=5, progress=done.append)
    assert sum(done) == 2 * training_steps(8, 2, None)
    for number, head in enumerate(heads):
        assert same_weights(head, train_head(features, values, rows, 0.5, hidden=4, epochs=2, seed=5 + number))
    assert not same_weights(*heads)


def test_training_heads_leaves_the_number_of_threads_as_it_was() -> None:
    features, values, rows = two_types(2)
    before = torch.get_num_threads()
    train_heads(
        PixelSample(features, values, values),
        rows,
        0.5,
        Contrastive(epochs=1, n_heads=1),
        seed=0,
        progress=lambda _: None,
    )
    assert torch.get_num_threads() == before


def test_descriptors_are_weighted_sums_of_the_heads_output_over_the_pixels() -> None:
    features, values, rows = two_types()
    rng, done = np.random.default_rng(3), list[int]()
    weights = [rng.normal(size=40).astype(np.float32) for _ in features]
    heads = [train_head(features, values, rows, 0.5, hidden=4, dim=5, epochs=1, seed=seed) for seed in (0, 1)]
    found = head_descriptors(PixelSample(features, values, weights), heads, done.append)
    assert done == [1] * 8
    assert found.shape == (8, 2 * 5)
    numbers = [{name: v.double().numpy() for name, v in head.named_parameters()} for head in heads]
    for i in (0, 5):
        expected = np.zeros((2, 5))
        for pixel, weight in zip(features[i].astype(np.float64), weights[i], strict=True):
            expected += [weight * head_loop(each, pixel) for each in numbers]
        np.testing.assert_allclose(found[i], expected.ravel(), atol=1e-5)
