from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.localization.neighbors import MemoryBank


def slow_distance(model: MemoryBank, features: torch.Tensor, image_id: int | None) -> np.ndarray:
    """The definition in loops: nearest patch per other image, then the value at the quantile's rank."""
    _, height, width = features.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            per_image = [
                min(float(np.linalg.norm(features[:, y, x].double().numpy() - v.double().numpy())) for v in rows)
                for rows, own in zip(model.patches, model.image_ids, strict=True)
                if own != image_id
            ]
            if per_image:
                out[y, x] = sorted(per_image)[int(model.image_quantile * (len(per_image) - 1))]
    return out


def model(images: int = 6, vectors: int = 5, channels: int = 4, quantile: float = 0.3) -> MemoryBank:
    generator = torch.Generator().manual_seed(3)
    return MemoryBank(torch.randn(images, vectors, channels, generator=generator), tuple(range(images)), quantile)


@pytest.mark.parametrize("quantile", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("image_id", [None, 2])
def test_distance_agrees_with_the_loop(quantile: float, image_id: int | None) -> None:
    fitted = model(quantile=quantile)
    features = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(
        fitted.distance(features, image_id).numpy(), slow_distance(fitted, features, image_id), rtol=2e-5
    )


def test_distance_is_zero_to_patches_of_other_images_and_without_other_images() -> None:
    fitted = model(quantile=0.0)
    known = fitted.patches[1, 2].view(-1, 1, 1)
    assert fitted.distance(known, image_id=0).item() == 0
    assert fitted.distance(known, image_id=1).item() > 0
    assert model(images=1).distance(torch.ones(4, 2, 2), image_id=0).eq(0).all()


def slow_normalized(fitted: MemoryBank, features: torch.Tensor, image_id: int | None, exponent: float) -> np.ndarray:
    """Distances divided by the isolation of the patch that counts, in loops: its distance at the quantile 0.1 to the other images."""

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(np.linalg.norm(a.double().numpy() - b.double().numpy()))

    rows = list(zip(fitted.patches, fitted.image_ids, strict=True))
    isolation = {}
    for vectors, own in rows:
        for place, vector in enumerate(vectors):
            each = sorted(min(apart(vector, v) for v in others) for others, other in rows if other != own)
            isolation[own, place] = each[int(0.1 * (len(each) - 1))]
    middle = sorted(isolation.values())[(len(isolation) - 1) // 2]
    out = np.zeros(features.shape[1:])
    for y, x in np.ndindex(*out.shape):
        cell = features[:, y, x]
        found = [
            min((apart(cell, v), max(isolation[own, place] / middle, 0.1)) for place, v in enumerate(vectors))
            for vectors, own in rows
            if own != image_id
        ]
        distance, unit = sorted(found)[int(fitted.image_quantile * (len(found) - 1))]
        out[y, x] = distance / unit**exponent
    return out


@pytest.mark.parametrize("quantile", [0.0, 0.3])
@pytest.mark.parametrize("image_id", [None, 2])
@pytest.mark.parametrize("exponent", [0.25, 1.0])
def test_normalized_distance_agrees_with_the_loop(quantile: float, image_id: int | None, exponent: float) -> None:
    fitted = model(images=25, quantile=quantile)
    scale = torch.linspace(0.01, 3, 25)[:, None, None]  # from crowded to isolated
    fitted = MemoryBank(fitted.patches * scale, fitted.image_ids, quantile)
    features = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1))
    found = fitted.with_density_normalization(exponent).distance(features, image_id).numpy()
    np.testing.assert_allclose(found, slow_normalized(fitted, features, image_id, exponent), rtol=2e-5)
    assert not np.allclose(found, fitted.distance(features, image_id).numpy(), rtol=1e-2)


def test_density_normalization_brings_coarse_normal_texture_down_to_the_level_of_smooth_texture() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth, coarse = torch.randn(2, 30, 8, 4, generator=generator).unbind()
    fitted = MemoryBank(torch.cat([smooth, 20 + 5 * coarse], 1), tuple(range(30)), 0.0)
    cells = torch.randn(2, 4, 1, 200, generator=generator)
    cells = torch.cat([cells[0], 20 + 5 * cells[1]], 1)
    maps = [fitted.with_density_normalization(exponent).distance(cells) for exponent in (0, 0.5, 1)]
    ratios = [float(rows[1].median() / rows[0].median()) for rows in maps]
    assert ratios[0] > 4
    assert ratios[0] > 1.5 * ratios[1] > 2 * ratios[2]
    assert ratios[2] == pytest.approx(1, abs=0.3)


def test_density_normalization_is_off_if_there_is_nothing_to_compare() -> None:
    for fitted in (
        model(images=1),
        MemoryBank(torch.ones(4, 3, 2), (0, 1, 2, 3)),
        model().with_density_normalization(0),
    ):
        assert fitted.with_density_normalization(0).density_weights is None
    assert model(images=1).with_density_normalization(1).density_weights is None
    assert MemoryBank(torch.ones(4, 3, 2), (0, 1, 2, 3)).with_density_normalization(1).density_weights is None


def test_patches_shared_by_several_images_give_bounded_weights() -> None:
    fitted = model(images=6, quantile=0.0)
    fitted.patches[:3, 0] = 7.0
    weights = fitted.with_density_normalization(1).density_weights
    assert weights is not None
    assert weights[:3, 0].min() == weights.max()
    assert weights.max() < 100


def test_distances_follow_the_scale_of_features_even_if_it_is_small() -> None:
    rng = np.random.default_rng(0)
    bank = torch.from_numpy(rng.normal(size=(3, 5, 6)).astype(np.float32))
    features = torch.from_numpy(rng.normal(size=(6, 4, 4)).astype(np.float32))
    plain = MemoryBank(bank, (0, 1, 2), 0.0).distance(features)
    small = MemoryBank(bank * 1e-4, (0, 1, 2), 0.0).distance(features * 1e-4)
    torch.testing.assert_close(small * 1e4, plain, rtol=1e-3, atol=1e-4)
