from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.contrast import Head, label_free_threshold, margin_loss, order_by_distance, train_head
from blemish.refine import KEPT_BYTES, KEPT_LEAST, joined, pixels_per_image, sample_pixels
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


def test_the_head_is_trained_on_every_pixel_of_a_small_set() -> None:
    count = pixels_per_image(422, 512)  # leaves on ResNet-50, 64 x 64 cells each
    assert count * 422 * 512 * 2 <= KEPT_BYTES < (count + 1) * 422 * 512 * 2
    assert pixels_per_image(10**6, 512) == KEPT_LEAST
    assert pixels_per_image(100, 512) > 64 * 64
    features = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    values = np.random.default_rng(1).random((5, 7), np.float32)
    kept, known = sample_pixels(features, values, 4, 0, 35)
    assert kept.dtype == torch.float16
    assert kept.shape == (3, 1, 35)
    assert known.shape == (1, 35)
    cells = {float(values[y, x]): features[:, y, x] for y in range(5) for x in range(7)}
    assert sorted(known[0].tolist()) == sorted(cells)
    for place, value in enumerate(known[0].tolist()):
        torch.testing.assert_close(kept[:, 0, place].float(), cells[value], rtol=1e-3, atol=1e-6)


def test_of_a_large_set_half_the_pixels_are_the_most_anomalous_ones() -> None:
    features, values = torch.arange(40.0)[None].reshape(1, 5, 8), np.arange(40, dtype=np.float32).reshape(5, 8) % 37
    kept, known = sample_pixels(features, values, 2, 0, 11)
    assert known[0, :5].tolist() == [36, 35, 34, 33, 32]
    assert kept[0, 0, :5].tolist() == [36, 35, 34, 33, 32]
    assert len(set(kept[0, 0].tolist())) == 11
    assert known[0, 5:].max() < 32
    assert (kept[0, 0] % 37).tolist() == known[0].tolist()
    again, other = sample_pixels(features, values, 2, 0, 11), sample_pixels(features, values, 3, 0, 11)
    assert again[1].tolist() == known.tolist() != other[1].tolist()


def test_features_beyond_half_precision_stay_finite() -> None:
    kept, _ = sample_pixels(torch.tensor([[[1e6, -1e6]]]), np.ones((1, 2), np.float32), 0, 0, 2)
    assert kept.isfinite().all()
    assert kept[0, 0].tolist() == [65504, -65504]


@pytest.mark.parametrize(("heads", "weight"), [(1, 1.0), (3, 0.5), (4, 2.0)])
def test_beside_the_descriptors_the_heads_weigh_what_they_should(heads: int, weight: float) -> None:
    rng = np.random.default_rng(0)
    plain, parts = rng.normal(size=(5, 7)), [rng.normal(size=(5, 6)) * 10**k for k in range(heads)]
    found = joined(plain.astype(np.float32), np.hstack(parts).astype(np.float32), heads, weight).astype(np.float64)
    assert found.shape == (5, 7 + 6 * heads)

    def apart(rows: np.ndarray, i: int, j: int) -> float:
        first, second = (rows[k] / np.sqrt(sum(v * v for v in rows[k])) for k in (i, j))
        return float(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)))

    for i, j in np.ndindex(5, 5):
        expected = apart(plain, i, j) + weight**2 * sum(apart(part, i, j) for part in parts) / heads
        assert ((found[i] - found[j]) ** 2).sum() == pytest.approx(expected, rel=1e-5, abs=1e-10)


def test_what_has_no_descriptor_has_none_beside_it_either() -> None:
    sharpened = np.zeros((2, 6), np.float32)
    sharpened[1, :3] = 2
    found = joined(np.zeros((2, 4), np.float32), sharpened, 2, 1.0)
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_allclose(found[1], [0] * 4 + [6**-0.5] * 3 + [0] * 3, rtol=1e-6)
