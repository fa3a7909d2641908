from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from blemish.errors import InputError
from blemish.localize import (
    BORDER_DEPTH,
    SPREAD_FLOOR,
    SPREAD_QUANTILE,
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


def slow_evened(fitted: NeighbourModel, features: torch.Tensor, owner: int | None, exponent: float) -> np.ndarray:
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
    fitted = NeighbourModel(fitted.vectors * scale, fitted.owners, quantile)
    features = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(1))
    evened = fitted.evened(exponent).distance(features, owner).numpy()
    np.testing.assert_allclose(evened, slow_evened(fitted, features, owner, exponent), rtol=2e-5)
    assert not np.allclose(evened, fitted.distance(features, owner).numpy(), rtol=1e-2)


def test_sound_material_that_varies_more_is_no_longer_further_from_normal() -> None:
    generator = torch.Generator().manual_seed(0)
    smooth, coarse = torch.randn(2, 30, 8, 4, generator=generator).unbind()
    fitted = NeighbourModel(torch.cat([smooth, 20 + 5 * coarse], 1), tuple(range(30)), 0.0)
    cells = torch.randn(2, 4, 1, 200, generator=generator)
    cells = torch.cat([cells[0], 20 + 5 * cells[1]], 1)
    maps = [fitted.evened(exponent).distance(cells) for exponent in (0, 0.5, 1)]
    ratios = [float(rows[1].median() / rows[0].median()) for rows in maps]
    assert ratios[0] > 4
    assert ratios[0] > 1.5 * ratios[1] > 2 * ratios[2]
    assert ratios[2] == pytest.approx(1, abs=0.3)


def test_evening_changes_nothing_where_there_is_nothing_to_compare() -> None:
    for fitted in (model(images=1), NeighbourModel(torch.ones(4, 3, 2), (0, 1, 2, 3)), model().evened(0)):
        assert fitted.evened(0).gains is None
    assert model(images=1).evened(1).gains is None
    assert NeighbourModel(torch.ones(4, 3, 2), (0, 1, 2, 3)).evened(1).gains is None


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


Peaks = list[tuple[float, float, float]]
"""Mean, variance and weight of each."""


def density(x: np.ndarray, peaks: Peaks) -> np.ndarray:
    return np.array([w * np.exp(-0.5 * (x - m) ** 2 / v) / np.sqrt(2 * np.pi * v) for m, v, w in peaks])


def likeliest(x: np.ndarray, count: int) -> tuple[float, Peaks]:
    """Log likelihood and peaks, by plain expectation maximisation from many starts."""
    best: tuple[float, Peaks] = (-np.inf, [])
    for quantiles in itertools.combinations((0.05, 0.3, 0.6, 0.9), count):
        peaks = [(float(np.quantile(x, q)), x.var() / 4, 1 / count) for q in quantiles]
        for _ in range(700):
            share = density(x, peaks)
            share /= share.sum(0)
            peaks = []
            for mine in share:
                mean = (mine * x).sum() / mine.sum()
                peaks.append((mean, (mine * (x - mean) ** 2).sum() / mine.sum() + 1e-4, mine.mean()))
        best = max(best, (float(np.log(density(x, peaks).sum(0)).sum()), peaks))
    return best


def slow_mixture_cut(scores: np.ndarray) -> tuple[float, int]:
    """The threshold and how many Gaussians over the logs it rests on: two, or three if their BIC is lower."""
    x = np.log(scores.astype(np.float64))
    two, three = likeliest(x, 2), likeliest(x, 3)
    bic = [-2 * found[0] + parameters * np.log(len(x)) for found, parameters in ((two, 5), (three, 8))]
    peaks = sorted((two, three)[int(np.argmin(bic))][1])
    grid = np.linspace(peaks[0][0], x.max(), 200_000)
    each = density(grid, peaks)
    return float(np.exp(grid[np.argmax(each[0] < each[1:].sum(0))])), len(peaks)


@pytest.mark.parametrize(("normal", "faint", "peaks"), [(25, 0, 2), (400, 0, 2), (40, 60, 3)])
def test_split_agrees_with_plain_expectation_maximisation(normal: int, faint: int, peaks: int) -> None:
    rng = np.random.default_rng(normal)
    logs = np.concatenate([rng.normal(0, 0.04, normal), rng.normal(0.3, 0.06, faint), rng.normal(0.9, 0.2, 120)])
    scores = np.exp(logs).astype(np.float32)
    expected, count = slow_mixture_cut(scores)
    assert count == peaks
    assert split_scores(scores) == pytest.approx(expected, rel=0.01)
    assert split_scores(scores * 7) == pytest.approx(7 * split_scores(scores), rel=1e-3)
    assert split_scores(rng.permutation(scores)) == pytest.approx(split_scores(scores), rel=1e-3)


def test_faint_defects_are_not_taken_for_normal_because_there_are_strong_ones() -> None:
    rng = np.random.default_rng(0)
    defective = np.arange(130) >= 35
    logs = np.concatenate([rng.normal(0, 0.04, 35), rng.normal(0.25, 0.06, 45), rng.normal(1.0, 0.12, 50)])
    scores = np.exp(logs).astype(np.float32)
    assert ((scores > split_scores(scores)) == defective).mean() > 0.97


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


@pytest.mark.parametrize(("normal", "anomalous"), [(3, 1), (1, 3), (2, 2), (16, 1), (4, 0)])
def test_the_floor_of_the_weights_follows_the_share_of_anomalous_images(normal: int, anomalous: int) -> None:
    scores = np.array([0.01] * normal + [100.0] * anomalous, np.float32)
    least = 0.6 * min(1.0, anomalous / normal)
    found = anomaly_weights(scores, 1.0, 0.05, 0.6)
    np.testing.assert_allclose(found, [least] * normal + [1.0] * anomalous, rtol=1e-5, atol=1e-9)


def test_weights_rise_with_the_score_from_the_floor_to_one_and_meet_half_way_at_the_threshold() -> None:
    scores = np.array([0.1, 0.9, 1.0, 1.1, 9.0], np.float32)
    weights = anomaly_weights(scores, 1.0, 0.05, 0.5)
    assert (np.diff(weights) > 0).all()
    least = 0.5 * (2 / 3)
    np.testing.assert_allclose(weights[2], (1 + least) / 2, rtol=1e-6)


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
