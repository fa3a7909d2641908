from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.errors import InputError
from blemish.localize import (
    BORDER_DEPTH,
    NeighbourModel,
    anomaly_weights,
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


def slow_mixture_cut(scores: np.ndarray) -> float:
    """Two Gaussians over the logs by plain expectation maximisation from many starts, loops and all."""
    x = np.log(scores.astype(np.float64))
    best, chosen = -np.inf, (0.0, 1.0, 0.0, 1.0, 0.5)
    for low, high in [(0.05, 0.5), (0.1, 0.8), (0.2, 0.6), (0.3, 0.7), (0.4, 0.9), (0.5, 0.95), (0.25, 0.75)]:
        m, v, w = np.quantile(x, [low, high]), np.full(2, x.var() / 4), np.array([0.5, 0.5])
        for _ in range(3000):
            dense = np.array([w[k] * np.exp(-0.5 * (x - m[k]) ** 2 / v[k]) / np.sqrt(2 * np.pi * v[k]) for k in (0, 1)])
            share = dense / dense.sum(0)
            w = share.mean(1)
            m = (share * x).sum(1) / share.sum(1)
            v = np.array([(share[k] * (x - m[k]) ** 2).sum() / share[k].sum() + 1e-4 for k in (0, 1)])
        likelihood = np.log(dense.sum(0)).sum()
        if likelihood > best:
            best, chosen = likelihood, (m[0], v[0], m[1], v[1], w[0])
    m0, v0, m1, v1, w0 = chosen
    if m0 > m1:
        m0, v0, m1, v1, w0 = m1, v1, m0, v0, 1 - w0
    for at in np.linspace(m0, x.max(), 200_000):
        low = np.log(w0) - 0.5 * np.log(v0) - 0.5 * (at - m0) ** 2 / v0
        if low < np.log(1 - w0) - 0.5 * np.log(v1) - 0.5 * (at - m1) ** 2 / v1:
            return float(np.exp(at))
    return float("inf")


@pytest.mark.parametrize("normal", [25, 150, 400])
def test_split_agrees_with_plain_expectation_maximisation(normal: int) -> None:
    rng = np.random.default_rng(normal)
    scores = np.exp(np.concatenate([rng.normal(0, 0.04, normal), rng.normal(0.5, 0.2, 120)])).astype(np.float32)
    assert split_scores(scores) == pytest.approx(slow_mixture_cut(scores), rel=0.01)
    assert split_scores(scores * 7) == pytest.approx(7 * split_scores(scores), rel=1e-3)
    assert split_scores(rng.permutation(scores)) == pytest.approx(split_scores(scores), rel=1e-3)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.75])
def test_a_narrow_and_a_broad_group_are_told_apart_whatever_their_shares(share: float) -> None:
    rng = np.random.default_rng(3)
    defective = np.arange(400) < 400 * share
    scores = np.exp(np.where(defective, rng.normal(0.6, 0.2, 400), rng.normal(0, 0.05, 400))).astype(np.float32)
    assert ((scores > split_scores(scores)) == defective).mean() > 0.97


def test_weights_by_the_formula() -> None:
    scores = np.array([0.0, 0.5, 0.99, 1.0, 1.02, 4.0], np.float32)
    expected = [0.0] + [1 / (1 + (s / 1.0) ** (-1 / 0.05)) for s in scores[1:]]
    np.testing.assert_allclose(anomaly_weights(scores, 1.0, 0.05), expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(anomaly_weights(3 * scores, 3.0, 0.05), expected, rtol=1e-5, atol=1e-9)


def test_weights_without_any_score_and_with_a_threshold_of_zero() -> None:
    np.testing.assert_allclose(anomaly_weights(np.zeros(3, np.float32), 0.0, 0.05), 0, atol=1e-9)
    np.testing.assert_allclose(anomaly_weights(np.array([0, 1e-3, 1], np.float32), 0.0, 0.05), [0, 1, 1], atol=1e-9)


@pytest.mark.parametrize("scores", [[0.0, 0.0], [1.0], [2.0, 2.0, 2.0], [1.0, 1.01, 1.02, 1.03]])
def test_nothing_is_anomalous_where_scores_hardly_differ(scores: list[float]) -> None:
    values = np.array(scores, np.float32)
    assert not (values > split_scores(values)).any()


@pytest.mark.parametrize("scores", [[], [1.0, float("nan")]])
def test_unusable_scores_are_refused(scores: list[float]) -> None:
    with pytest.raises(InputError):
        split_scores(np.array(scores, np.float32))
