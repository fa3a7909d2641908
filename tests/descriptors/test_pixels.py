from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.descriptors.pixels import PixelStore, pixels_per_image, sample_pixels


@pytest.mark.parametrize("images", [1, 100, 422, 1344, 10_000])
@pytest.mark.parametrize(("channels", "budget_mb"), [(160, 128), (512, 1024), (2048, 1)])
def test_all_pixels_fit_the_budget_unless_images_are_too_many(images: int, channels: int, budget_mb: int) -> None:
    each = pixels_per_image(images, channels, budget_mb)
    bytes_per_pixel = images * channels * 2
    fills_the_budget = each * bytes_per_pixel <= budget_mb * 2**20 < (each + 1) * bytes_per_pixel
    fewest = pixels_per_image(10**9, channels, budget_mb)
    assert fills_the_budget or each == fewest
    assert each >= fewest > 50


def test_all_pixels_of_an_image_are_kept_if_it_has_no_more() -> None:
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


def test_half_of_a_sample_are_the_most_anomalous_pixels_and_half_are_drawn() -> None:
    features, values = torch.arange(40.0)[None].reshape(1, 5, 8), np.arange(40, dtype=np.float32).reshape(5, 8) % 37
    weights = torch.ones(5, 8, dtype=torch.float64)
    kept, known, counted = sample_pixels(features, values, weights, 2, 0, 11)
    assert known[:5].tolist() == [36, 35, 34, 33, 32]
    assert kept[:5, 0].tolist() == [36, 35, 34, 33, 32]
    assert len(set(kept[:, 0].tolist())) == 11
    assert known[5:].max() < 32
    assert (kept[:, 0] % 37).tolist() == known.tolist()
    np.testing.assert_allclose(counted, [1] * 5 + [35 / 6] * 6, rtol=1e-6)


def test_the_draw_depends_on_the_image_and_repeats() -> None:
    features, values = torch.arange(40.0).reshape(1, 5, 8), np.arange(40, dtype=np.float32).reshape(5, 8)
    first, again, other = (sample_pixels(features, values, torch.ones(5, 8), n, 0, 11)[1].tolist() for n in (2, 2, 3))
    assert first == again != other


def test_weighted_sums_over_sampled_pixels_are_right_on_average() -> None:
    rng = np.random.default_rng(0)
    features, values = torch.from_numpy(rng.normal(size=(2, 6, 9))), rng.random((6, 9), np.float32)
    weights = torch.from_numpy(rng.normal(size=(6, 9)))
    sums = []
    for seed in range(4000):
        kept, _, counted = sample_pixels(features, values, weights, 0, seed, 20)
        sums.append(counted @ kept.astype(np.float64))
    error = np.std(sums, axis=0) / len(sums) ** 0.5
    assert (np.abs(np.mean(sums, axis=0) - (features * weights).sum((1, 2)).numpy()) < 4 * error).all()


def test_features_beyond_half_precision_stay_finite() -> None:
    wide = torch.tensor([[[1e6, -1e6]]])
    kept, _, _ = sample_pixels(wide, np.ones((1, 2), np.float32), torch.ones(1, 2), 0, 0, 2)
    assert kept[:, 0].tolist() == [65504, -65504]


@pytest.mark.parametrize("budget_mb", [0, 1])
def test_stored_pixels_come_back_unchanged_from_memory_and_from_a_file(budget_mb: int) -> None:
    rng = np.random.default_rng(0)
    given = [(rng.normal(size=(9, 4)).astype(np.float16), rng.random(9, np.float32), rng.random(9)) for _ in range(5)]
    store = PixelStore(budget_mb)
    store.add([4, 0], given[:2])
    store.add([2, 7, 5], given[2:])
    sample = store.view([0, 2, 5])
    for place, one in enumerate((1, 2, 4)):
        for found, expected in zip((sample.features, sample.values, sample.weights), given[one], strict=True):
            np.testing.assert_array_equal(found[place], expected)
    assert sample.features[1].dtype == np.float16
