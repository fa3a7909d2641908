from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.config.schema import Config
from blemish.descriptors.contrastive import Head, label_free_threshold, margin_loss, order_by_distance, train_head
from blemish.descriptors.pixels import (
    KEPT_LEAST,
    PixelStore,
    Sample,
    head_threshold,
    joined,
    pixels_per_image,
    refined_descriptors,
    sample_pixels,
    train_heads,
    training_steps,
)
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
    assert [order_by_distance(descriptors, i).tolist() for i in range(11)] == nearest_loop(descriptors, 10)


def test_threshold_by_hand() -> None:
    descriptors = np.array([[0.0], [0.1], [0.05], [9.0]], np.float32)
    maxima = np.array([1.0, 2.0, 3.0, 8.0], np.float32)
    assert label_free_threshold(descriptors, maxima, 2) == pytest.approx(np.quantile(maxima, 0.75))
    assert label_free_threshold(np.ones((3, 2), np.float32), maxima[:3], 2) == 3.0


def test_order_by_distance_with_ties() -> None:
    descriptors = np.array([[0.0], [1.0], [1.0], [5.0]])
    assert [order_by_distance(descriptors, i).tolist() for i in range(4)] == [
        [1, 2, 3],
        [2, 0, 3],
        [1, 0, 3],
        [1, 2, 0],
    ]


def two_types(images: int = 8) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(0)
    features, values, rows = [], [], []
    for i in range(images):
        pixels = rng.normal(0, 1, (40, 6)).astype(np.float32)
        pixels[:15, i % 2] += 3
        features.append(pixels)
        values.append(np.concatenate([np.ones(15), np.zeros(25)]).astype(np.float32))
        rows.append(np.eye(2, dtype=np.float32)[i % 2])
    return features, values, np.stack(rows)


def test_training_draws_types_apart_and_repeats_to_the_bit() -> None:
    features, values, rows = two_types()

    @torch.no_grad()
    def separation(head: Head) -> float:
        means = torch.stack([head(torch.from_numpy(one[:15])).mean(0) for one in features])
        within = (means[0::2].std(0) + means[1::2].std(0)).norm()
        return float((means[0::2].mean(0) - means[1::2].mean(0)).norm() / within)

    trained = train_head(features, values, rows, 0.5, hidden=16, dim=4, epochs=15, lr=5e-3)
    again = train_head(features, values, rows, 0.5, hidden=16, dim=4, epochs=15, lr=5e-3)
    assert separation(trained) > 1.2 * separation(Head(6, 16, 4, seed=0))
    assert same_weights(trained, again)


def same_weights(one: Head, other: Head) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(("steps", "expected"), [(None, 16), (11, 11), (16, 16), (99, 16)])
def test_training_stops_after_so_many_steps(steps: int | None, expected: int) -> None:
    features, values, rows = two_types()
    done: list[int] = []
    head = train_head(features, values, rows, 0.5, hidden=4, dim=2, epochs=2, steps=steps, progress=done.append)
    assert done == [1] * expected
    fewer = train_head(features, values, rows, 0.5, hidden=4, dim=2, epochs=2, steps=expected - 1)
    assert not same_weights(head, fewer)
    config = Config.from_values({"contrast.epochs": 2, "contrast.steps": steps})
    assert training_steps(8, config) == expected


def test_every_head_is_the_one_of_its_seed_and_sums_its_output_over_the_pixels() -> None:
    features, values, rows = two_types()
    rng, done = np.random.default_rng(3), list[int]()
    weights = [rng.normal(size=40).astype(np.float32) for _ in features]
    config = Config.from_values({"contrast.epochs": 2, "contrast.heads": 2, "contrast.hidden": 4, "seed": 5})
    heads = train_heads(Sample(features, values, weights), rows, 0.5, config, done.append)
    assert len(done) == 2 * 2 * 8
    for number, head in enumerate(heads):
        assert same_weights(head, train_head(features, values, rows, 0.5, hidden=4, epochs=2, seed=5 + number))
    found = refined_descriptors(Sample(features, values, weights), heads, done.append)
    assert len(done) == 2 * 2 * 8 + 8
    assert found.shape == (8, 2 * 32)
    numbers = [{name: v.double().numpy() for name, v in head.named_parameters()} for head in heads]
    for i in (0, 5):
        expected = np.zeros((2, 32))
        for pixel, weight in zip(features[i].astype(np.float64), weights[i], strict=True):
            expected += [weight * head_loop(each, pixel) for each in numbers]
        np.testing.assert_allclose(found[i], expected.ravel(), atol=1e-5)


def test_beyond_the_threshold_of_the_heads_are_as_many_images_as_are_anomalous() -> None:
    rng = np.random.default_rng(4)
    truth = np.repeat([0, 1, 2], [9, 6, 4])
    descriptors = (20 * np.eye(3)[truth] + rng.normal(size=(19, 3))).astype(np.float32)
    maps = [np.full((2, 2), value, np.float32) for value in rng.uniform(0, 1, 19) + truth]
    settings, maxima = Config.from_values({"clusters": 3}), np.array([one.max() for one in maps])
    for count in (0, 1, 7, 18, 19):
        anomalous = np.arange(19) < count
        threshold = head_threshold(maps, descriptors, anomalous, settings)
        assert (maxima > threshold).sum() == min(count, 18)  # that of the lowest itself is not beyond it
    paper = settings.updated(**{"contrast.threshold": "kmeans"})
    expected = threshold_loop(truth.tolist(), [float(one.max()) for one in maps])
    assert head_threshold(maps, descriptors, truth > 0, paper) == pytest.approx(expected)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images_and_images_without_anomalous_pixels(images: int) -> None:
    features, values, rows = two_types(images)
    for threshold in (0.5, 2.0, -1.0):
        head = train_head(features, values, rows, threshold, hidden=4, dim=2, epochs=1)
        assert all(torch.isfinite(p).all() for p in head.parameters())


@pytest.mark.parametrize("images", [1, 100, 422, 1344, 10_000])
@pytest.mark.parametrize(("channels", "memory"), [(160, 128), (512, 1024), (2048, 1)])
def test_kept_pixels_take_their_memory_or_are_the_fewest(images: int, channels: int, memory: int) -> None:
    each = pixels_per_image(images, channels, memory)
    taken = images * channels * 2
    assert each * taken <= memory * 2**20 < (each + 1) * taken or each == KEPT_LEAST > memory * 2**20 / taken


def test_the_head_sees_every_pixel_of_a_small_set() -> None:
    assert pixels_per_image(100, 512, 1024) > 64 * 64
    features = torch.randn(3, 5, 7, generator=torch.Generator().manual_seed(0))
    values = np.random.default_rng(1).random((5, 7), np.float32)
    weights = torch.randn(5, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kept, known, counted = sample_pixels(features, values, weights, 4, 0, 35)
    assert kept.dtype == np.float16
    assert kept.shape == (35, 3)
    cells = {float(values[y, x]): (features[:, y, x], weights[y, x]) for y in range(5) for x in range(7)}
    assert sorted(known.tolist()) == sorted(cells)
    for place, value in enumerate(known.tolist()):
        np.testing.assert_allclose(kept[place], cells[value][0].numpy(), rtol=1e-3, atol=1e-6)
        assert counted[place] == pytest.approx(float(cells[value][1]))
    summed = counted @ kept.astype(np.float64)
    np.testing.assert_allclose(summed, (features * weights).sum((1, 2)).numpy(), atol=1e-2)


def test_of_a_large_set_half_the_pixels_are_the_most_anomalous_ones() -> None:
    features, values = torch.arange(40.0)[None].reshape(1, 5, 8), np.arange(40, dtype=np.float32).reshape(5, 8) % 37
    weights = torch.ones(5, 8, dtype=torch.float64)
    kept, known, counted = sample_pixels(features, values, weights, 2, 0, 11)
    assert known[:5].tolist() == [36, 35, 34, 33, 32]
    assert kept[:5, 0].tolist() == [36, 35, 34, 33, 32]
    assert len(set(kept[:, 0].tolist())) == 11
    assert known[5:].max() < 32
    assert (kept[:, 0] % 37).tolist() == known.tolist()
    np.testing.assert_allclose(counted, [1] * 5 + [35 / 6] * 6, rtol=1e-6)
    again, other = (sample_pixels(features, values, weights, index, 0, 11) for index in (2, 3))
    assert again[1].tolist() == known.tolist() != other[1].tolist()


def test_sums_over_the_kept_pixels_are_right_in_the_mean() -> None:
    rng = np.random.default_rng(0)
    features, values = torch.from_numpy(rng.normal(size=(2, 6, 9))), rng.random((6, 9), np.float32)
    weights = torch.from_numpy(rng.normal(size=(6, 9)))
    sums = []
    for seed in range(4000):
        kept, _, counted = sample_pixels(features, values, weights, 0, seed, 20)
        sums.append(counted @ kept.astype(np.float64))
    error = np.std(sums, axis=0) / len(sums) ** 0.5
    assert (np.abs(np.mean(sums, axis=0) - (features * weights).sum((1, 2)).numpy()) < 4 * error).all()


@pytest.mark.parametrize("memory", [0, 1])
def test_pixels_come_back_as_they_were_whether_from_memory_or_a_file(memory: int) -> None:
    rng = np.random.default_rng(0)
    given = [(rng.normal(size=(9, 4)).astype(np.float16), rng.random(9, np.float32), rng.random(9)) for _ in range(5)]
    store = PixelStore(memory)
    store.keep([4, 0], given[:2])
    store.keep([2, 7, 5], given[2:])
    sample = store.view([0, 2, 5])
    for place, one in enumerate((1, 2, 4)):
        for found, expected in zip((sample.features, sample.values, sample.weights), given[one], strict=True):
            np.testing.assert_array_equal(found[place], expected)
    assert sample.features[1].dtype == np.float16


def test_features_beyond_half_precision_stay_finite() -> None:
    wide = torch.tensor([[[1e6, -1e6]]])
    kept, _, _ = sample_pixels(wide, np.ones((1, 2), np.float32), torch.ones(1, 2), 0, 0, 2)
    assert kept[:, 0].tolist() == [65504, -65504]


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
