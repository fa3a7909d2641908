from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from blemish.features import fit_normalizer, pooled, within_image_covariance

SHAPES = ((4, 9), (1, 1), (7, 3))


def drawn(seed: int, *shapes: tuple[int, int], channels: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(channels, channels, generator=generator)
    return [5 + (mix @ torch.randn(channels, h * w, generator=generator)).unflatten(1, (h, w)) for h, w in shapes]


def normalization_loop(sample: list[np.ndarray], blocks: list[int]) -> tuple[list[float], list[float]]:
    """Mean of each channel over all cells, and 1 / (its standard deviation times the root of its block's channels)."""
    sizes = [count for count in blocks for _ in range(count)]
    means, scales = [], []
    for channel, size in enumerate(sizes):
        values = [float(value) for one in sample for value in one[channel].ravel()]
        mean = sum(values) / len(values)
        deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
        means.append(mean)
        scales.append(1 / (deviation * math.sqrt(size)) if deviation > 1e-4 else 0.0)
    return means, scales


def test_dataset_normalization_agrees_with_the_loop_and_leaves_constant_channels_at_zero() -> None:
    sample = drawn(2, *SHAPES)
    for one in sample:
        one[1] = 0.25
    normalizer = fit_normalizer(sample, [2, 4], "dataset")
    means, scales = normalization_loop([one.numpy() for one in sample], [2, 4])
    np.testing.assert_allclose(normalizer.mean, means, rtol=1e-6)
    np.testing.assert_allclose(normalizer.scale, scales, rtol=1e-5)
    for one in sample:
        found = normalizer.apply(one)
        assert (found[1] == 0).all()
        for c, y, x in np.ndindex(*one.shape):
            assert float(found[c, y, x]) == pytest.approx((float(one[c, y, x]) - means[c]) * scales[c], abs=1e-5)


def test_every_block_has_the_same_mean_squared_length_over_the_dataset() -> None:
    sample = drawn(3, (20, 20), (10, 30))
    normalizer = fit_normalizer(sample, [1, 5], "dataset")
    cells = torch.cat([normalizer.apply(one).flatten(1) for one in sample], 1)
    for block in (cells[:1], cells[1:]):
        assert float(block.square().sum(0).mean()) == pytest.approx(1, rel=1e-4)


def test_rounding_noise_of_a_large_constant_channel_is_not_scaled_up() -> None:
    sample = drawn(4, (8, 8), channels=2)
    sample[0][0] = 1e4 + 1e-3 * torch.rand(8, 8, generator=torch.Generator().manual_seed(0))
    assert float(fit_normalizer(sample, [2], "dataset").apply(sample[0])[0].abs().max()) == 0


def test_image_normalization_scales_each_channel_of_each_image_to_the_unit_interval() -> None:
    sample = drawn(5, (4, 9), (7, 3))
    normalizer = fit_normalizer(sample, [2, 4], "image")
    for one in sample:
        found, before = normalizer.apply(one), one.numpy()
        for channel in range(6):
            low, high = before[channel].min(), before[channel].max()
            np.testing.assert_allclose(found[channel], (before[channel] - low) / (high - low), atol=1e-6)


def test_without_normalization_features_keep_their_values() -> None:
    sample = drawn(6, (4, 9))
    assert torch.equal(fit_normalizer(sample, [6], "none").apply(sample[0]), sample[0])


@pytest.mark.parametrize("shape", [(4, 9), (1, 1), (1, 5), (3, 3)])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_pooling_agrees_with_the_loop_over_cells_that_exist(shape: tuple[int, int], size: int) -> None:
    one = drawn(7, shape, channels=2)[0]
    found, half = pooled(one, size), size // 2
    for c, y, x in np.ndindex(*one.shape):
        window = one[c, max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1]
        values = [float(value) for value in window.flatten()]
        assert float(found[c, y, x]) == pytest.approx(sum(values) / len(values), rel=1e-4, abs=1e-5)


def covariance_loop(maps: list[np.ndarray]) -> np.ndarray:
    per_image = []
    for one in maps:
        cells = [one[:, i, j] - one.mean((1, 2)) for i in range(one.shape[1]) for j in range(one.shape[2])]
        per_image.append(sum(np.outer(cell, cell) for cell in cells) / len(cells))
    return sum(per_image) / len(per_image)


def test_covariance_within_images_agrees_with_the_loop_and_ignores_levels_of_images() -> None:
    maps = drawn(0, (3, 4), (6, 2), (1, 9))
    expected = covariance_loop([one.double().numpy() for one in maps])
    np.testing.assert_allclose(within_image_covariance(maps).numpy(), expected, rtol=1e-5, atol=1e-5)
    generator = torch.Generator().manual_seed(1)
    shifted = [one + 10 * torch.randn(6, 1, 1, generator=generator) for one in maps]
    np.testing.assert_allclose(within_image_covariance(shifted).numpy(), expected, rtol=1e-3, atol=1e-3)


def test_covariance_within_constant_images_is_zero() -> None:
    assert not within_image_covariance([torch.full((3, 4, 4), 2.0), torch.full((3, 1, 1), -1.0)]).any()
