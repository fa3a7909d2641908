from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.descriptors import average_descriptor, max_descriptor, relative_tau, softmax_descriptor
from blemish.errors import ConfigError, InputError
from helpers.reference_method import blur_loop, descriptor_loop, quantile_loop


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(6, 9), (1, 1), (1, 5), (8, 3)])
@pytest.mark.parametrize("centre", [True, False])
@pytest.mark.parametrize(("tau", "size", "sigma"), [(0.02, 7, 2.0), (0.5, 3, 1.0), (1e-4, 1, 1.0)])
def test_agrees_with_the_loop(shape: tuple[int, int], centre: bool, tau: float, size: int, sigma: float) -> None:
    features, maps = rand(2, 3, *shape), rand(2, *shape, seed=1)
    found = softmax_descriptor(features, maps, tau=tau, blur_size=size, sigma=sigma, centre=centre)
    assert found.shape == (2, 3)
    assert found.dtype == torch.float32
    for i in range(2):
        expected = descriptor_loop(
            features[i].numpy().astype(np.float64), maps[i].numpy().astype(np.float64), tau, size, sigma, centre
        )
        np.testing.assert_allclose(found[i], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.3, 1e6])
def test_a_constant_map_gives_exactly_zero(value: float) -> None:
    found = softmax_descriptor(100 * rand(2, 4, 7, 11), torch.full((2, 7, 11), value), tau=0.002)
    assert torch.equal(found, torch.zeros(2, 4))


def test_constant_features_give_zero_and_uncentred_give_themselves() -> None:
    features = torch.tensor([0.25, 3.0]).reshape(1, 2, 1, 1).expand(1, 2, 6, 5)
    maps = rand(1, 6, 5)
    assert softmax_descriptor(features, maps, tau=0.1).abs().max() < 1e-6
    torch.testing.assert_close(softmax_descriptor(features, maps, tau=0.1, centre=False)[0], torch.tensor([0.25, 3.0]))


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
    for centre in (True, False):
        sharp = softmax_descriptor(features, maps, tau=1e-9, centre=centre)
        torch.testing.assert_close(sharp, max_descriptor(features, maps, centre=centre))
    flat = softmax_descriptor(features, maps, tau=1e9, centre=False)
    torch.testing.assert_close(flat, average_descriptor(features))


def test_max_takes_the_first_of_equal_pixels() -> None:
    features, maps = rand(1, 2, 3, 4), torch.zeros(1, 3, 4)
    maps[0, 1, 2] = maps[0, 2, 0] = 1.0
    assert torch.equal(max_descriptor(features, maps, blur_size=1, centre=False)[0], features[0, :, 1, 2])


def test_average_is_the_mean_of_the_blurred_features() -> None:
    features = rand(1, 2, 4, 5)
    expected = [blur_loop(channel.numpy().astype(np.float64), 7, 2.0).mean() for channel in features[0]]
    np.testing.assert_allclose(average_descriptor(features)[0], expected, rtol=1e-6)


def test_large_values_do_not_overflow() -> None:
    maps = torch.tensor([[[0.0, 1e30, -1e30]]])
    assert bool(torch.isfinite(softmax_descriptor(rand(1, 2, 1, 3), maps, tau=1e-30)).all())


def test_relative_tau_is_a_share_of_the_quantile() -> None:
    maps = [rand(4, 5), rand(7, 3, seed=1).numpy()]
    values = np.concatenate([np.asarray(m).ravel() for m in maps])
    assert relative_tau(maps) == pytest.approx(0.06 * quantile_loop(values, 0.99))  # type: ignore[arg-type]
    assert relative_tau(rand(2, 4, 5), fraction=0.5, q=1.0) == pytest.approx(0.5 * float(rand(2, 4, 5).max()))
    assert relative_tau(30 * rand(2, 4, 5)) == pytest.approx(30 * relative_tau(rand(2, 4, 5)))


def test_relative_tau_of_quiet_maps() -> None:
    quiet = torch.zeros(1, 10, 100)
    assert relative_tau(quiet) == 1.0
    quiet[0, 0, 0] = 2.0
    assert relative_tau(quiet) == pytest.approx(0.12)


def test_relative_tau_of_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    maps = rand(10, 100, 100)
    whole = relative_tau(maps)
    monkeypatch.setattr("blemish.descriptors._MAX_VALUES", 10_000)
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
