from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.descriptors.pooling import (
    average_descriptor,
    excess_descriptor,
    max_descriptor,
    region_geometry,
    region_level,
    relative_tau,
    softmax_descriptor,
    with_geometry,
)
from blemish.errors import ConfigError, InputError
from helpers.reference_method import blur_loop, descriptor_loop, quantile_loop


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 9), (1, 1), (1, 5), (8, 3)])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("tau", "size", "sigma"), [(0.02, 7, 2.0), (0.5, 3, 1.0), (1e-4, 1, 1.0)])
def test_agrees_with_the_loop(shape: tuple[int, int], center: bool, tau: float, size: int, sigma: float) -> None:
    features, maps = rand(2, 3, *shape), rand(2, *shape, seed=1)
    found = softmax_descriptor(features, maps, tau=tau, blur_size=size, sigma=sigma, center=center)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float32
    for i in range(2):
        expected = descriptor_loop(
            features[i].numpy().astype(np.float64), maps[i].numpy().astype(np.float64), tau, size, sigma, center
        )
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.3, 1e6])
def test_a_constant_map_gives_exactly_zero(value: float) -> None:
    found = softmax_descriptor(100 * rand(2, 4, 7, 11), torch.full((2, 7, 11), value), tau=0.002)
    assert torch.equal(found, torch.zeros(2, 4))


def test_constant_features_give_zero_and_uncenterd_give_themselves() -> None:
    features = torch.tensor([0.25, 3.0]).reshape(1, 2, 1, 1).expand(1, 2, 6, 5)
    maps = rand(1, 6, 5)
    assert softmax_descriptor(features, maps, tau=0.1).abs().max() < 1e-6
    torch.testing.assert_close(softmax_descriptor(features, maps, tau=0.1, center=False)[0], torch.tensor([0.25, 3.0]))


def test_batch_is_loop_and_images_may_be_permuted() -> None:
    features, maps = rand(4, 3, 6, 9), rand(4, 6, 9, seed=1)
    batch = softmax_descriptor(features, maps, tau=0.05)
    order = [2, 0, 3, 1]
    assert torch.equal(softmax_descriptor(features[order], maps[order], tau=0.05), batch[order])
    for i in range(4):
        assert torch.equal(softmax_descriptor(features[i : i + 1], maps[i : i + 1], tau=0.05)[0], batch[i])
    assert softmax_descriptor(features[:0], maps[:0], tau=0.05).shape == (0, 3)
    assert max_descriptor(features[:0], maps[:0]).shape == (0, 3)
    assert average_descriptor(features[:0]).shape == (0, 3)


def test_shift_and_scale_of_the_map() -> None:
    features, maps = rand(2, 3, 6, 9).double(), rand(2, 6, 9, seed=1).double()
    plain = softmax_descriptor(features, maps, tau=0.05)
    torch.testing.assert_close(softmax_descriptor(features, maps + 5, tau=0.05), plain)
    torch.testing.assert_close(softmax_descriptor(features, maps * 40, tau=40 * 0.05), plain)


def test_limits_of_tau() -> None:
    features, maps = rand(2, 3, 6, 9), rand(2, 6, 9, seed=1)
    for center in (True, False):
        sharp = softmax_descriptor(features, maps, tau=1e-9, center=center)
        torch.testing.assert_close(sharp, max_descriptor(features, maps, center=center))
    flat = softmax_descriptor(features, maps, tau=1e9, center=False)
    torch.testing.assert_close(flat, average_descriptor(features))


def test_max_takes_the_first_of_equal_pixels() -> None:
    features, maps = rand(1, 2, 3, 4), torch.zeros(1, 3, 4)
    maps[0, 1, 2] = maps[0, 2, 0] = 1.0
    assert torch.equal(max_descriptor(features, maps, blur_size=1, center=False)[0], features[0, :, 1, 2])


def test_average_is_the_mean_of_the_blurred_features() -> None:
    features = rand(1, 2, 4, 5)
    expected = [blur_loop(channel.numpy().astype(np.float64), 7, 2.0).mean() for channel in features[0]]
    np.testing.assert_allclose(average_descriptor(features)[0], expected, rtol=1e-6)


def test_large_values_do_not_overflow() -> None:
    maps = torch.tensor([[[0.0, 1e30, -1e30]]])
    assert bool(torch.isfinite(softmax_descriptor(rand(1, 2, 1, 3), maps, tau=1e-30)).all())


def excess_loop(features: np.ndarray, values: np.ndarray, level: float, size: int, sigma: float) -> np.ndarray:
    own = quantile_loop(values.ravel(), 0.95)
    weights = np.array([max(value - min(level, own), 0.0) for value in values.ravel()])
    weights = weights / weights.sum() if weights.sum() else np.full(values.size, 1 / values.size)
    blurred = np.stack([blur_loop(channel, size, sigma).ravel() for channel in features])
    return np.array([(weights * (row - row.mean())).sum() for row in blurred])


@pytest.mark.parametrize("shape", [(6, 9), (1, 1), (1, 5), (8, 3)])
@pytest.mark.parametrize("level", [-1.0, 0.4, 0.9, 7.0])
def test_excess_agrees_with_the_loop(shape: tuple[int, int], level: float) -> None:
    features, maps = rand(2, 3, *shape), rand(2, *shape, seed=1)
    found = excess_descriptor(features, maps, level=level)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float32
    for i in range(2):
        expected = excess_loop(features[i].numpy().astype(float), maps[i].numpy().astype(float), level, 7, 2.0)
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.3, 1e6])
@pytest.mark.parametrize("level", [-5.0, 0.3, 5.0])
def test_excess_of_a_constant_map_is_exactly_zero(value: float, level: float) -> None:
    found = excess_descriptor(100 * rand(2, 4, 7, 11), torch.full((2, 7, 11), value), level=level)
    assert torch.equal(found, torch.zeros(2, 4))


def test_excess_follows_shift_and_scale_and_ignores_what_is_below_the_level() -> None:
    features, maps = rand(2, 3, 6, 9).double(), rand(2, 6, 9, seed=1).double()
    plain = excess_descriptor(features, maps, level=0.5)
    torch.testing.assert_close(excess_descriptor(features, 40 * maps + 5, level=25.0), plain)
    torch.testing.assert_close(excess_descriptor(features, maps.clamp_min(0.5), level=0.5), plain)
    order = [1, 0]
    assert torch.equal(excess_descriptor(features[order], maps[order], level=0.5), plain[order])
    assert torch.equal(excess_descriptor(features[:1], maps[:1], level=0.5)[0], plain[0])
    assert excess_descriptor(features[:0], maps[:0], level=0.5).shape == (0, 3)


@pytest.mark.parametrize("level", [float("nan"), float("inf")])
def test_excess_refuses_a_level_that_is_no_number(level: float) -> None:
    with pytest.raises(ConfigError, match="level"):
        excess_descriptor(rand(1, 2, 3, 3), rand(1, 3, 3), level=level)


def test_the_level_lies_between_the_typical_value_and_the_threshold() -> None:
    maps = [rand(4, 5).numpy(), rand(9, 3, seed=1).numpy() + 1, rand(2, 2, seed=2).numpy() + 5]
    typical = sorted(quantile_loop(one.ravel(), 0.5) for one in maps)[1]
    assert region_level(maps, 8.0, 0.0) == pytest.approx(typical)
    assert region_level(maps, 8.0, 1.0) == pytest.approx(8.0)
    assert region_level(maps, 8.0, 0.25) == pytest.approx(typical + (8 - typical) / 4)


def test_relative_tau_is_a_share_of_the_quantile() -> None:
    maps = [rand(4, 5), rand(7, 3, seed=1).numpy()]
    values = np.concatenate([np.asarray(m).ravel() for m in maps])
    assert relative_tau(maps) == pytest.approx(0.15 * quantile_loop(values, 0.99))  # type: ignore[arg-type]
    assert relative_tau(rand(2, 4, 5), fraction=0.5, q=1.0) == pytest.approx(0.5 * float(rand(2, 4, 5).max()))
    assert relative_tau(30 * rand(2, 4, 5)) == pytest.approx(30 * relative_tau(rand(2, 4, 5)))


def test_relative_tau_of_quiet_maps() -> None:
    quiet = torch.zeros(1, 10, 100)
    assert relative_tau(quiet) == 1.0
    quiet[0, 0, 0] = 2.0
    assert relative_tau(quiet) == pytest.approx(0.3)


def test_relative_tau_of_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = rand(10, 100, 100)
    whole = relative_tau(maps)
    monkeypatch.setattr("blemish.descriptors.pooling._MAX_VALUES", 10_000)
    assert relative_tau(maps) == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_tau(tau: float) -> None:
    with pytest.raises(ConfigError, match="tau"):
        softmax_descriptor(rand(1, 2, 3, 3), rand(1, 3, 3), tau=tau)


def test_bad_input() -> None:
    features, maps = rand(1, 2, 3, 3), rand(1, 3, 3)
    with pytest.raises(InputError, match="maps must have shape"):
        softmax_descriptor(features, maps[:, :2], tau=1.0)
    with pytest.raises(InputError, match="floating point"):
        softmax_descriptor(features.long(), maps, tau=1.0)
    with pytest.raises(InputError, match="NaN"):
        softmax_descriptor(features, maps.log() * 0 + float("nan"), tau=1.0)
    with pytest.raises(InputError, match="floating point"):
        average_descriptor(rand(2, 3, 3))
    for blur in ({"blur_size": 4}, {"sigma": -1.0}, {"sigma": float("nan")}):
        with pytest.raises(ConfigError, match="blur"):
            softmax_descriptor(features, maps, tau=1.0, **blur)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one map"):
        relative_tau([])
    with pytest.raises(InputError, match="NaN"):
        relative_tau(torch.full((1, 2, 2), float("nan")))
    with pytest.raises(ConfigError, match="fraction"):
        relative_tau(maps, fraction=0.0)
    with pytest.raises(ConfigError, match="fraction"):
        relative_tau(maps, q=1.5)


def geometry_loop(values: np.ndarray, threshold: float) -> list[float]:
    level = min(threshold, quantile_loop(values.ravel().tolist(), 0.98))
    mass = {(y, x): v - level for (y, x), v in np.ndenumerate(values.astype(float)) if v > level}
    total = sum(mass.values())
    if not total:
        return [0.0, 0.5 * np.log(0.3), 0.0]
    my = sum(m * y for (y, _), m in mass.items()) / total
    mx = sum(m * x for (_, x), m in mass.items()) / total
    yy = sum(m * (y - my) ** 2 for (y, _), m in mass.items()) / total + 0.3
    xx = sum(m * (x - mx) ** 2 for (_, x), m in mass.items()) / total + 0.3
    yx = sum(m * (y - my) * (x - mx) for (y, x), m in mass.items()) / total
    # eigenvalues of a symmetric 2 x 2 matrix by the quadratic formula
    root = np.sqrt((yy - xx) ** 2 / 4 + yx**2)
    long, short = (yy + xx) / 2 + root, (yy + xx) / 2 - root
    effective = total**2 / sum(m * m for m in mass.values())
    return [np.log(1 + effective), 0.5 * np.log(long), 0.5 * np.log(long / short)]


@pytest.mark.parametrize("shape", [(6, 9), (1, 7), (12, 3), (1, 1)])
@pytest.mark.parametrize("threshold", [0.4, 0.9, 5.0])
def test_geometry_agrees_with_the_loop(shape: tuple[int, int], threshold: float) -> None:
    values = rand(*shape, seed=3).numpy()
    np.testing.assert_allclose(region_geometry(values, threshold), geometry_loop(values, threshold), atol=1e-6)


def test_geometry_tells_lines_from_spots_wherever_and_however_they_lie() -> None:
    line, spot = np.zeros((24, 30), np.float32), np.zeros((24, 30), np.float32)
    line[5, 3:23] = 1
    spot[8:12, 9:14] = 1
    size, extent, elongation = region_geometry(line, 0.5)
    for other in (np.roll(line, (9, 4), (0, 1)), line.T, line[::-1]):
        np.testing.assert_allclose(region_geometry(other, 0.5), (size, extent, elongation), atol=1e-6)
    assert region_geometry(spot, 0.5)[0] == pytest.approx(size, abs=1e-6)  # both have 20 cells
    assert region_geometry(spot, 0.5)[1] < extent - 0.5
    assert region_geometry(spot, 0.5)[2] < 0.3 < 1 < elongation
    np.testing.assert_allclose(region_geometry(3 * line, 1.5), (size, extent, elongation), atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_geometry_of_a_constant_map(level: float) -> None:
    np.testing.assert_allclose(region_geometry(np.full((5, 8), level, np.float32), 0.9)[0::2], (0, 0), atol=1e-9)


def test_geometry_weighs_what_it_is_told_to_whatever_the_units() -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.standard_normal((40, 6)).astype(np.float32)
    shapes = rng.standard_normal((40, 3)).astype(np.float32) * [1, 50, 0.1] + 7
    anomalous = np.arange(40) < 25
    out = with_geometry(descriptors, shapes, 0.3, anomalous)
    np.testing.assert_array_equal(out[:, :6], descriptors)
    lengths = np.sqrt(np.square(out[anomalous, 6:]).sum(1).mean())
    assert lengths == pytest.approx(0.3 * np.linalg.norm(descriptors, axis=1).mean(), rel=1e-4)
    np.testing.assert_allclose(out, with_geometry(descriptors, shapes * [3, 2, 9], 0.3, anomalous), atol=1e-4)
    assert with_geometry(descriptors, shapes, 0, anomalous) is descriptors


@pytest.mark.parametrize("count", [0, 1])
def test_geometry_with_hardly_an_anomalous_image_is_finite(count: int) -> None:
    shapes = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.5]])
    out = with_geometry(np.eye(2, dtype=np.float32), shapes, 0.3, np.arange(2) < count)
    assert np.isfinite(out).all()
    np.testing.assert_array_equal(out[:, 2:4], 0)  # what never varies says nothing


@pytest.mark.parametrize("apart", [1e-5, 1e-2, 0.1])
def test_anomalous_images_that_are_alike_do_not_blow_up_the_shapes_of_the_others(apart: float) -> None:
    rng = np.random.default_rng(0)
    descriptors = rng.normal(size=(20, 8)).astype(np.float32)
    descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
    shapes = rng.normal([2, 0.5, 0.3], [0.3, 0.2, 0.2], (20, 3)).astype(np.float32)
    shapes[0] = [3, 0.8, 0.5]
    shapes[1] = shapes[0] + apart
    out = with_geometry(descriptors, shapes, 0.3, np.arange(20) < 2)
    assert np.median(np.linalg.norm(out[2:, 8:], axis=1)) < 2.0
