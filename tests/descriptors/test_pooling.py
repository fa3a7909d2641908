from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.descriptors.pooling import (
    average_weights,
    blur_weights,
    max_weights,
    relative_tau,
    softmax_weights,
    thresholded_weights,
    weighted_sum,
)
from blemish.errors import ConfigError, InputError
from helpers.reference_method import blur_loop, descriptor_loop, quantile_loop


def pooled(features: Tensor, weights: Tensor, size: int = 7, sigma: float = 2.0, center: bool = True) -> Tensor:
    """Descriptors of blurred features, B x C."""
    return weighted_sum(features, blur_weights(weights, size, sigma, center))


def by_softmax(features: Tensor, maps: Tensor, tau: float, center: bool = True) -> Tensor:
    return pooled(features, softmax_weights(maps, tau), center=center)


def by_threshold(features: Tensor, maps: Tensor, level: float) -> Tensor:
    return pooled(features, thresholded_weights(maps, level))


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 9), (1, 1), (1, 5), (8, 3)])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("tau", "size", "sigma"), [(0.02, 7, 2.0), (0.5, 3, 1.0), (1e-4, 1, 1.0)])
def test_softmax_descriptor_agrees_with_the_loop(
    shape: tuple[int, int], center: bool, tau: float, size: int, sigma: float
) -> None:
    features, maps = rand(2, 3, *shape), rand(2, *shape, seed=1)
    found = pooled(features, softmax_weights(maps, tau), size, sigma, center)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float32
    for i in range(2):
        expected = descriptor_loop(
            features[i].numpy().astype(np.float64), maps[i].numpy().astype(np.float64), tau, size, sigma, center
        )
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.3, 1e6])
def test_a_constant_map_gives_exactly_zero(value: float) -> None:
    found = by_softmax(100 * rand(2, 4, 7, 11), torch.full((2, 7, 11), value), tau=0.002)
    assert torch.equal(found, torch.zeros(2, 4))


def test_constant_features_give_zero_or_themselves_without_centering() -> None:
    features = torch.tensor([0.25, 3.0]).reshape(1, 2, 1, 1).expand(1, 2, 6, 5)
    maps = rand(1, 6, 5)
    assert by_softmax(features, maps, tau=0.1).abs().max() < 1e-6
    torch.testing.assert_close(by_softmax(features, maps, tau=0.1, center=False)[0], torch.tensor([0.25, 3.0]))


def test_batch_is_loop_and_images_may_be_permuted() -> None:
    features, maps = rand(4, 3, 6, 9), rand(4, 6, 9, seed=1)
    batch = by_softmax(features, maps, tau=0.05)
    order = [2, 0, 3, 1]
    assert torch.equal(by_softmax(features[order], maps[order], tau=0.05), batch[order])
    for i in range(4):
        assert torch.equal(by_softmax(features[i : i + 1], maps[i : i + 1], tau=0.05)[0], batch[i])
    assert by_softmax(features[:0], maps[:0], tau=0.05).shape == (0, 3)
    assert pooled(features[:0], max_weights(maps[:0])).shape == (0, 3)
    assert pooled(features[:0], average_weights(maps[:0]), center=False).shape == (0, 3)


def test_softmax_ignores_shifts_and_follows_the_scale_of_the_map() -> None:
    features, maps = rand(2, 3, 6, 9).double(), rand(2, 6, 9, seed=1).double()
    plain = by_softmax(features, maps, tau=0.05)
    torch.testing.assert_close(by_softmax(features, maps + 5, tau=0.05), plain)
    torch.testing.assert_close(by_softmax(features, maps * 40, tau=40 * 0.05), plain)


def test_a_small_tau_takes_the_maximum_and_a_large_one_the_average() -> None:
    features, maps = rand(2, 3, 6, 9), rand(2, 6, 9, seed=1)
    for center in (True, False):
        sharp = by_softmax(features, maps, tau=1e-9, center=center)
        torch.testing.assert_close(sharp, pooled(features, max_weights(maps), center=center))
    flat = by_softmax(features, maps, tau=1e9, center=False)
    torch.testing.assert_close(flat, pooled(features, average_weights(maps), center=False))


def test_max_takes_the_first_of_equal_pixels() -> None:
    features, maps = rand(1, 2, 3, 4), torch.zeros(1, 3, 4)
    maps[0, 1, 2] = maps[0, 2, 0] = 1.0
    assert torch.equal(pooled(features, max_weights(maps), 1, 0.0, center=False)[0], features[0, :, 1, 2])


def test_average_is_the_mean_of_the_blurred_features() -> None:
    features = rand(1, 2, 4, 5)
    expected = [blur_loop(channel.numpy().astype(np.float64), 7, 2.0).mean() for channel in features[0]]
    weights = average_weights(torch.zeros(1, 4, 5))
    np.testing.assert_allclose(pooled(features, weights, center=False)[0], expected, rtol=1e-6)


def test_large_values_do_not_overflow() -> None:
    maps = torch.tensor([[[0.0, 1e30, -1e30]]])
    assert bool(torch.isfinite(by_softmax(rand(1, 2, 1, 3), maps, tau=1e-30)).all())


def thresholded_loop(features: np.ndarray, values: np.ndarray, level: float, size: int, sigma: float) -> np.ndarray:
    own = quantile_loop(values.ravel(), 0.95)
    weights = np.array([max(value - min(level, own), 0.0) for value in values.ravel()])
    weights = weights / weights.sum() if weights.sum() else np.full(values.size, 1 / values.size)
    blurred = np.stack([blur_loop(channel, size, sigma).ravel() for channel in features])
    return np.array([(weights * (row - row.mean())).sum() for row in blurred])


@pytest.mark.parametrize("shape", [(6, 9), (1, 1), (1, 5), (8, 3)])
@pytest.mark.parametrize("level", [-1.0, 0.4, 0.9, 7.0])
def test_thresholded_descriptor_agrees_with_the_loop(shape: tuple[int, int], level: float) -> None:
    features, maps = rand(2, 3, *shape), rand(2, *shape, seed=1)
    found = by_threshold(features, maps, level=level)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float32
    for i in range(2):
        expected = thresholded_loop(features[i].numpy().astype(float), maps[i].numpy().astype(float), level, 7, 2.0)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.3, 1e6])
@pytest.mark.parametrize("level", [-5.0, 0.3, 5.0])
def test_thresholded_descriptor_of_a_constant_map_is_exactly_zero(value: float, level: float) -> None:
    found = by_threshold(100 * rand(2, 4, 7, 11), torch.full((2, 7, 11), value), level=level)
    assert torch.equal(found, torch.zeros(2, 4))


def test_thresholded_weights_follow_shift_and_scale_and_ignore_values_below_the_level() -> None:
    features, maps = rand(2, 3, 6, 9).double(), rand(2, 6, 9, seed=1).double()
    plain = by_threshold(features, maps, level=0.5)
    torch.testing.assert_close(by_threshold(features, 40 * maps + 5, level=25.0), plain)
    torch.testing.assert_close(by_threshold(features, maps.clamp_min(0.5), level=0.5), plain)
    order = [1, 0]
    assert torch.equal(by_threshold(features[order], maps[order], level=0.5), plain[order])
    assert torch.equal(by_threshold(features[:1], maps[:1], level=0.5)[0], plain[0])
    assert by_threshold(features[:0], maps[:0], level=0.5).shape == (0, 3)


@pytest.mark.parametrize("level", [float("nan"), float("inf")])
def test_a_level_that_is_not_finite_is_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="level"):
        thresholded_weights(rand(1, 3, 3), level)


def test_relative_tau_is_a_share_of_the_quantile() -> None:
    maps = [rand(4, 5), rand(7, 3, seed=1).numpy()]
    values = np.concatenate([np.asarray(m).ravel() for m in maps])
    assert relative_tau(maps) == pytest.approx(0.15 * quantile_loop(values, 0.99))  # type: ignore[arg-type]
    assert relative_tau(rand(2, 4, 5), fraction=0.5, q=1.0) == pytest.approx(0.5 * float(rand(2, 4, 5).max()))
    assert relative_tau(30 * rand(2, 4, 5)) == pytest.approx(30 * relative_tau(rand(2, 4, 5)))


def test_relative_tau_falls_back_to_the_largest_value_and_then_to_one() -> None:
    quiet = torch.zeros(1, 10, 100)
    assert relative_tau(quiet) == 1.0
    quiet[0, 0, 0] = 2.0
    assert relative_tau(quiet) == pytest.approx(0.3)


def test_relative_tau_of_a_thinned_sample_is_close_to_that_of_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = rand(10, 100, 100)
    whole = relative_tau(maps)
    monkeypatch.setattr("blemish.descriptors.pooling._MAX_VALUES", 10_000)
    assert relative_tau(maps) == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan"), float("inf")])
def test_tau_must_be_finite_and_positive(tau: float) -> None:
    with pytest.raises(ConfigError, match="tau"):
        softmax_weights(rand(1, 3, 3), tau)


def test_weights_and_features_must_fit_each_other() -> None:
    features, weights = rand(1, 2, 3, 3), rand(1, 3, 3)
    with pytest.raises(InputError, match="weights must have shape"):
        weighted_sum(features, weights[:, :2])
    with pytest.raises(InputError, match="floating point"):
        weighted_sum(features.long(), weights)
    with pytest.raises(InputError, match="floating point"):
        weighted_sum(rand(2, 3, 3), weights)


@pytest.mark.parametrize(("size", "sigma"), [(4, 2.0), (0, 2.0), (7, -1.0), (7, float("nan"))])
def test_a_blur_out_of_range_is_refused(size: int, sigma: float) -> None:
    with pytest.raises(ConfigError, match="blur"):
        blur_weights(rand(1, 3, 3), size, sigma, center=True)


def test_relative_tau_refuses_bad_maps_and_shares() -> None:
    maps = rand(1, 3, 3)
    with pytest.raises(InputError, match="at least one map"):
        relative_tau([])
    with pytest.raises(InputError, match="NaN"):
        relative_tau(torch.full((1, 2, 2), float("nan")))
    with pytest.raises(ConfigError, match="fraction"):
        relative_tau(maps, fraction=0.0)
    with pytest.raises(ConfigError, match="fraction"):
        relative_tau(maps, q=1.5)
