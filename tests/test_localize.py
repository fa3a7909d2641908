from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.errors import InputError
from blemish.localize import (
    BORDER_DEPTH,
    NeighbourModel,
    edge_distance,
    fit_border,
    pca_residual,
    split_scores,
)


def slow_distance(model: NeighbourModel, features: torch.Tensor, owner: int | None) -> np.ndarray:
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


def model(images: int = 6, vectors: int = 5, channels: int = 4, quantile: float = 0.3) -> NeighbourModel:
    generator = torch.Generator().manual_seed(3)
    return NeighbourModel(torch.randn(images, vectors, channels, generator=generator), tuple(range(images)), quantile)


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


def test_pca_residual_is_what_least_squares_leaves() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, 3, 4, generator=generator)
    mean = torch.randn(5, generator=generator)
    basis = torch.linalg.qr(torch.randn(5, 2, generator=generator)).Q.T
    centred = (features.flatten(1) - mean[:, None]).numpy()
    fit, *_ = np.linalg.lstsq(basis.T.numpy(), centred, rcond=None)
    expected = (centred - basis.T.numpy() @ fit).reshape(5, 3, 4)
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


def slow_split(scores: np.ndarray) -> float:
    ordered = np.sort(scores)
    logs = np.log(ordered)
    best = max(range(1, len(logs)), key=lambda k: k * (len(logs) - k) * (logs[k:].mean() - logs[:k].mean()) ** 2)
    return float((ordered[best - 1] + ordered[best]) / 2)


def test_split_agrees_with_trying_every_cut() -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        scores = np.concatenate([rng.uniform(1, 2, 30), rng.uniform(3, 9, rng.integers(2, 40))]).astype(np.float32)
        assert split_scores(scores) == pytest.approx(slow_split(scores), rel=1e-6)
        assert split_scores(scores * 7) == pytest.approx(7 * split_scores(scores), rel=1e-5)


@pytest.mark.parametrize("scores", [[0.0, 0.0], [1.0], [2.0, 2.0, 2.0], [1.0, 1.01, 1.02, 1.03]])
def test_nothing_is_anomalous_where_scores_hardly_differ(scores: list[float]) -> None:
    values = np.array(scores, np.float32)
    assert not (values > split_scores(values)).any()


@pytest.mark.parametrize("scores", [[], [1.0, float("nan")]])
def test_unusable_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(InputError):
        split_scores(np.array(scores, np.float32))
