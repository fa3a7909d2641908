from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.contrast import Head, label_free_threshold, margin_loss, order_by_distance, train_head
from helpers.reference_method import head_loop, margin_loss_loop, nearest_loop, threshold_loop


@pytest.mark.parametrize("sizes", [(3, 4, 5, 2, 6), (0, 4, 5, 2, 0), (0, 0, 0, 0, 0)])
def test_margin_loss_agrees_with_the_loop(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)) * 0.4 for n in sizes]
    value = margin_loss(*(torch.from_numpy(part) for part in parts), margin=0.5)
    assert float(value) == pytest.approx(margin_loss_loop(*parts, 0.5), rel=1e-9)


def test_head_on_maps_is_head_on_vectors_and_has_unit_length() -> None:
    head, maps = Head(5, 8, 4), torch.randn(2, 5, 3, 7, generator=torch.Generator().manual_seed(0))
    out = head(maps)
    assert out.shape == (2, 4, 3, 7)
    torch.testing.assert_close(out[1, :, 2, 6], head(maps[1, :, 2, 6][None])[0])
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2, 3, 7))


def test_head_agrees_with_the_loop_and_zero_stays_zero() -> None:
    head, x = Head(5, 8, 4, seed=2), torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    weights = {name: value.detach().double().numpy() for name, value in head.named_parameters()}
    expected = np.stack([head_loop(weights, row.double().numpy()) for row in x])
    np.testing.assert_allclose(head(x).detach().numpy(), expected, atol=1e-6)
    with torch.no_grad():
        head.second.weight.zero_()
        head.second.bias.zero_()
    assert head(x).eq(0).all()


def test_threshold_of_clear_groups_agrees_with_the_loop() -> None:
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2], [9, 6, 4])
    descriptors = (20 * np.eye(3)[truth] + rng.normal(size=(19, 3))).astype(np.float32)
    maxima = rng.uniform(0, 1, 19) + truth
    assert label_free_threshold(descriptors, maxima, 3) == pytest.approx(
        threshold_loop(truth.tolist(), maxima.tolist())
    )


def test_order_by_distance_agrees_with_the_loop() -> None:
    descriptors = np.random.default_rng(2).integers(0, 4, (11, 2)).astype(np.float32)  # integers: many ties
    assert order_by_distance(descriptors).tolist() == nearest_loop(descriptors, 10)


def test_threshold_by_hand() -> None:
    descriptors = np.array([[0.0], [0.1], [0.05], [9.0]], np.float32)
    maxima = np.array([1.0, 2.0, 3.0, 8.0], np.float32)
    assert label_free_threshold(descriptors, maxima, 2) == pytest.approx(np.quantile(maxima, 0.75))
    assert label_free_threshold(np.ones((3, 2), np.float32), maxima[:3], 2) == 3.0


def test_order_by_distance_with_ties() -> None:
    assert order_by_distance(np.array([[0.0], [1.0], [1.0], [5.0]])).tolist() == [
        [1, 2, 3],
        [2, 0, 3],
        [1, 0, 3],
        [1, 2, 0],
    ]


def two_types(images: int = 8) -> tuple[list[torch.Tensor], list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    features, maps, rows = [], [], []
    for i in range(images):
        pixels = rng.normal(0, 1, (6, 1, 40)).astype(np.float32)
        pixels[i % 2, 0, :15] += 3
        features.append(torch.from_numpy(pixels))
        maps.append(np.concatenate([np.ones(15), np.zeros(25)])[None].astype(np.float32))
        rows.append(np.eye(2, dtype=np.float32)[i % 2])
    return features, maps, np.stack(rows)


def test_training_draws_types_apart_and_repeats_to_the_bit() -> None:
    features, maps, rows = two_types()

    @torch.no_grad()
    def separation(head: Head) -> float:
        means = torch.stack([head(one[:, 0, :15].T).mean(0) for one in features])
        within = (means[0::2].std(0) + means[1::2].std(0)).norm()
        return float((means[0::2].mean(0) - means[1::2].mean(0)).norm() / within)

    trained = train_head(features, maps, rows, 0.5, hidden=16, dim=4, epochs=15, lr=5e-3)
    again = train_head(features, maps, rows, 0.5, hidden=16, dim=4, epochs=15, lr=5e-3)
    assert separation(trained) > 1.2 * separation(Head(6, 16, 4, seed=0))
    assert all(torch.equal(a, b) for a, b in zip(trained.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images_and_images_without_anomalous_pixels(images: int) -> None:
    features, maps, rows = two_types(images)
    for threshold in (0.5, 2.0, -1.0):
        head = train_head(features, maps, rows, threshold, hidden=4, dim=2, epochs=1)
        assert all(torch.isfinite(p).all() for p in head.parameters())
