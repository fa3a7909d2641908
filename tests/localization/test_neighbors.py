from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.localization.neighbors import (
    BORDER_DEPTH,
    SPREAD_FLOOR,
    SPREAD_QUANTILE,
    NeighborModel,
    edge_distance,
    fit_border,
    pca_residual,
)


def slow_distance(model: NeighborModel, features: torch.Tensor, owner: int | None) -> np.ndarray:
    """The definition in loops: nearest vector per other image, then the value at the quantile's rank."""
    _, height, width = features.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            per_image = [
                min(float(np.linalg.norm(features[:, y, x].double().numpy() - v.double().numpy())) for v in rows)
                for rows, own in zip(model.vectors, model.owners, strict=True)
                if own != owner
            ]
            if per_image:
                out[y, x] = sorted(per_image)[int(model.quantile * (len(per_image) - 1))]
    return out


def model(images: int = 6, vectors: int = 5, channels: int = 4, quantile: float = 0.3) -> NeighborModel:
    generator = torch.Generator().manual_seed(3)
    return NeighborModel(torch.randn(images, vectors, channels, generator=generator), tuple(range(images)), quantile)


@pytest.mark.parametrize("quantile", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("owner", [None, 2])
def test_distance_agrees_with_the_loop(quantile: float, owner: int | None) -> None:
    fitted = model(quantile=quantile)
    features = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1))
    np.testing.assert_allclose(
        fitted.distance(features, owner).numpy(), slow_distance(fitted, features, owner), rtol=2e-5
    )


def test_what_other_images_hold_has_distance_zero_and_a_lone_image_too() -> None:
    fitted = model(quantile=0.0)
    known = fitted.vectors[1, 2].view(-1, 1, 1)
    assert fitted.distance(known, owner=0).item() == 0
    assert fitted.distance(known, owner=1).item() > 0
    assert model(images=1).distance(torch.ones(4, 2, 2), owner=0).eq(0).all()


def slow_evened(fitted: NeighborModel, features: torch.Tensor, owner: int | None, exponent: float) -> np.ndarray:
    """Distances divided by how far the vector that counts lies from the images it does not come from, in loops."""

    def apart(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(np.linalg.norm(a.double().numpy() - b.double().numpy()))

    rows = list(zip(fitted.vectors, fitted.owners, strict=True))
    spread = {}
    for vectors, own in rows:
        for place, vector in enumerate(vectors):
            each = sorted(min(apart(vector, v) for v in others) for others, other in rows if other != own)
            spread[own, place] = each[int(SPREAD_QUANTILE * (len(each) - 1))]
    middle = sorted(spread.values())[(len(spread) - 1) // 2]
    out = np.zeros(features.shape[1:])
    for y, x in np.ndindex(*out.shape):
        cell = features[:, y, x]
        found = [
            min((apart(cell, v), max(spread[own, place] / middle, SPREAD_FLOOR)) for place, v in enumerate(vectors))
            for vectors, own in rows
            if own != owner
        ]
        distance, unit = sorted(found)[int(fitted.quantile * (len(found) - 1))]
        out[y, x] = distance / unit**exponent
    return out


@pytest.mark.parametrize("quantile", [0.0, 0.3])
@pytest.mark.parametrize("owner", [None, 2])
@pytest.mark.parametrize("exponent", [0.25, 1.0])
def test_evened_distance_agrees_with_the_loop(quantile: float, owner: int | None, exponent: float) -> None:
    fitted = model(images=25, quantile=quantile)
    scale = torch.linspace(0.01, 3, 25)[:, None, None]  # from crowded to far out
    fitted = NeighborModel(fitted.vectors * scale, fitted.owners, quantile)
    features = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1))
    evened = fitted.evened(exponent).distance(features, owner).numpy()
    np.testing.assert_allclose(evened, slow_evened(fitted, features, owner, exponent), rtol=2e-5)
    assert not np.allclose(evened, fitted.distance(features, owner).numpy(), rtol=1e-2)


def test_sound_material_that_varies_more_is_no_longer_further_from_normal() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth, coarse = torch.randn(2, 30, 8, 4, generator=generator).unbind()
    fitted = NeighborModel(torch.cat([smooth, 20 + 5 * coarse], 1), tuple(range(30)), 0.0)
    cells = torch.randn(2, 4, 1, 200, generator=generator)
    cells = torch.cat([cells[0], 20 + 5 * cells[1]], 1)
    maps = [fitted.evened(exponent).distance(cells) for exponent in (0, 0.5, 1)]
    ratios = [float(rows[1].median() / rows[0].median()) for rows in maps]
    assert ratios[0] > 4
    assert ratios[0] > 1.5 * ratios[1] > 2 * ratios[2]
    assert ratios[2] == pytest.approx(1, abs=0.3)


def test_evening_changes_nothing_where_there_is_nothing_to_compare() -> None:
    for fitted in (model(images=1), NeighborModel(torch.ones(4, 3, 2), (0, 1, 2, 3)), model().evened(0)):
        assert fitted.evened(0).gains is None
    assert model(images=1).evened(1).gains is None
    assert NeighborModel(torch.ones(4, 3, 2), (0, 1, 2, 3)).evened(1).gains is None


def test_shared_vectors_do_not_make_a_distance_endless() -> None:
    fitted = model(images=6, quantile=0.0)
    fitted.vectors[:3, 0] = 7.0
    evened = fitted.evened(1)
    assert evened.gains is not None
    assert evened.gains.max() == pytest.approx(1 / SPREAD_FLOOR)


def test_pca_residual_is_what_least_squares_leaves() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 3, 4, generator=generator)
    mean = torch.randn(5, generator=generator)
    basis = torch.linalg.qr(torch.randn(5, 2, generator=generator)).Q.T
    centerd = (features.flatten(1) - mean[:, None]).numpy()
    fit, *_ = np.linalg.lstsq(basis.T.numpy(), centerd, rcond=None)
    expected = (centerd - basis.T.numpy() @ fit).reshape(5, 3, 4)
    np.testing.assert_allclose(pca_residual(features, mean, basis).numpy(), expected, atol=1e-5)


def test_edge_distance_on_a_non_square_map() -> None:
    assert edge_distance(5, 4, depth=9).tolist() == [[0] * 4, [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0] * 4]


def test_a_raised_border_is_lowered_and_a_defect_on_it_stays() -> None:
    rng = np.random.default_rng(0)
    maps = []
    for _ in range(30):
        one = rng.uniform(0.9, 1.1, (20, 24)).astype(np.float32)
        one[edge_distance(20, 24, BORDER_DEPTH) == 0] += 2
        maps.append(one)
    maps[0][0, 5] += 10
    out = fit_border(maps).apply(maps[0])
    rim = edge_distance(20, 24) == 0
    assert np.median(out[rim]) == pytest.approx(np.median(out[~rim]), abs=0.05)
    assert out.argmax() == 5
    assert out.min() >= 0


def test_a_border_that_is_not_higher_is_left_alone() -> None:
    rng = np.random.default_rng(0)
    maps = [rng.uniform(0, 1, (20, 24)).astype(np.float32) * (edge_distance(20, 24) > 1) for _ in range(9)]
    # rings differ by chance alone: a few hundredths, and the cut rim stays zero
    np.testing.assert_allclose(fit_border(maps).apply(maps[3]), maps[3], atol=0.06)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (8, 8)])
def test_border_of_small_and_constant_maps(shape: tuple[int, int]) -> None:
    constant = np.full(shape, 0.5, np.float32)
    np.testing.assert_allclose(fit_border([constant, constant]).apply(constant), constant)


def test_distances_follow_the_scale_of_features_however_small() -> None:
    rng = np.random.default_rng(0)
    bank = torch.from_numpy(rng.normal(size=(3, 5, 6)).astype(np.float32))
    features = torch.from_numpy(rng.normal(size=(6, 4, 4)).astype(np.float32))
    plain = NeighborModel(bank, (0, 1, 2), 0.0).distance(features)
    small = NeighborModel(bank * 1e-4, (0, 1, 2), 0.0).distance(features * 1e-4)
    torch.testing.assert_close(small * 1e4, plain, rtol=1e-3, atol=1e-4)
