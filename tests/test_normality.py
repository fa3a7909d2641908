from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.config import Config
from blemish.normality import fit_maps, variation_within, whitener


def slow_variation(maps: list[np.ndarray]) -> np.ndarray:
    per_image = []
    for one in maps:
        cells = [one[:, i, j] - one.mean((1, 2)) for i in range(one.shape[1]) for j in range(one.shape[2])]
        per_image.append(sum(np.outer(cell, cell) for cell in cells) / len(cells))
    return sum(per_image) / len(per_image)


def drawn(seed: int, *shapes: tuple[int, int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(5, 5, generator=generator)
    return [
        (mix @ torch.randn(5, h * w, generator=generator)).unflatten(1, (h, w)) + 3 * k
        for k, (h, w) in enumerate(shapes)
    ]


def test_variation_is_the_mean_covariance_within_images_whatever_their_sizes_and_levels() -> None:
    maps = drawn(0, (3, 4), (6, 2), (1, 9))
    expected = slow_variation([one.double().numpy() for one in maps])
    np.testing.assert_allclose(variation_within(maps).numpy(), expected, rtol=1e-5, atol=1e-6)
    shifted = [one + 10 * torch.randn(5, 1, 1) for one in maps]
    np.testing.assert_allclose(variation_within(shifted).numpy(), expected, rtol=1e-3, atol=1e-4)


def test_whitening_makes_variation_even_and_little_shrinkage_more_so() -> None:
    variation = variation_within(drawn(1, (20, 20)))
    spread = []
    for shrinkage in (100.0, 0.3, 1e-6):
        matrix = whitener(variation, shrinkage).double()
        np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
        assert float(torch.linalg.eigvalsh(matrix).mean()) == pytest.approx(1, rel=1e-5)
        values = torch.linalg.eigvalsh(matrix @ variation @ matrix)
        spread.append(float(values.max() / values.min()))
    assert spread[0] > spread[1] > spread[2]
    assert spread[2] == pytest.approx(1, rel=1e-2)


def test_whitening_follows_the_formula() -> None:
    variation = variation_within(drawn(2, (9, 7)))
    values, vectors = np.linalg.eig(variation.numpy() / np.trace(variation.numpy()) * 5)
    slow = sum(np.outer(v, v) / np.sqrt(value + 0.3) for value, v in zip(values, vectors.T, strict=True))
    slow = slow / (np.trace(slow) / 5)
    np.testing.assert_allclose(whitener(variation, 0.3).numpy(), slow, atol=1e-5)


def test_nothing_varies_nothing_changes() -> None:
    flat = [torch.full((4, 3, 3), 2.0)]
    np.testing.assert_array_equal(whitener(variation_within(flat), 0.3).numpy(), np.eye(4, dtype=np.float32))


def test_settings_of_descriptors_decide_after_maps_are_fitted() -> None:
    sample = list(enumerate(drawn(3, (8, 8), (8, 8), (8, 8))))
    fitted, maps = fit_maps(sample, [5], Config.from_values({"cluster.normal": "gate"}))
    with_it = fitted.tempered(maps)
    assert with_it.whitener is not None
    off = Config.from_values({"descriptor.whiten": "none"})
    without, maps_off = fit_maps(sample, [5], off)
    assert without.tempered(maps_off).whitener is None
    for one, other in zip(maps, maps_off, strict=True):
        assert one.tobytes() == other.tobytes()
    features = with_it.features(sample[0][1])
    plain = without.tempered(maps_off).descriptor(features, maps[0])
    np.testing.assert_allclose(
        with_it.descriptor(features, maps[0]), with_it.whitener.numpy() @ plain, rtol=1e-5, atol=1e-6
    )
