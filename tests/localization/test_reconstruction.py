from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from blemish.errors import ConfigError, InputError, WeightsError
from blemish.localization.reconstruction import (
    VAE,
    PrincipalSubspace,
    fit_pca,
    kl_loss,
    reconstruction_loss,
    residual_l1,
    residual_l2,
    train_vae,
    vae_loss,
    vae_residual,
)
from helpers.reference_method import kl_loop, mse_loop, vae_decode, vae_encode, vae_residual_loop


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def small(channels: int = 5, seed: int = 1) -> VAE:
    return VAE(channels, 7, 3, generator=torch.Generator().manual_seed(seed)).eval()


def weights(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: value.numpy().astype(np.float64) for name, value in model.state_dict().items()}


def test_forward_agrees_with_the_loop() -> None:
    model, x, noise = small(), rand(6, 5), torch.randn(6, 3, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        rebuilt, mu, log_sigma = model(x, noise)
    for row in range(6):
        own_mu, own_sigma = vae_encode(weights(model), x[row].numpy().astype(np.float64))
        code = own_mu + np.exp(own_sigma) * noise[row].numpy()
        np.testing.assert_allclose(mu[row], own_mu, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(log_sigma[row], own_sigma, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(rebuilt[row], vae_decode(weights(model), code), rtol=1e-5, atol=1e-6)


def test_losses_agree_with_the_loops() -> None:
    x, rebuilt, mu, log_sigma = rand(6, 5), rand(6, 5, seed=1), rand(6, 3, seed=2) - 0.5, rand(6, 3, seed=3) - 0.7
    mse, kl = mse_loop(x.numpy(), rebuilt.numpy()), kl_loop(mu.numpy(), log_sigma.numpy())
    assert reconstruction_loss(x, rebuilt).item() == pytest.approx(mse, rel=1e-5)
    assert kl_loss(mu, log_sigma).item() == pytest.approx(kl, rel=1e-5)
    assert vae_loss(x, rebuilt, mu, log_sigma, 0.25).item() == pytest.approx(mse + 0.25 * kl, rel=1e-5)
    assert vae_loss(x, rebuilt, mu, log_sigma).item() == pytest.approx(mse + 0.001 * kl, rel=1e-5)


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (1, 6), (5, 2)])
def test_residual_agrees_with_the_loop(shape: tuple[int, int]) -> None:
    model, x = small(), rand(2, 5, *shape)
    found = vae_residual(model, x)
    for index in range(2):
        expected = vae_residual_loop(weights(model), x[index].numpy().astype(np.float64))
        np.testing.assert_allclose(found[index], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(residual_l1(found), np.abs(found.numpy()).mean(1), rtol=1e-5)
    np.testing.assert_allclose(residual_l2(found), np.sqrt((found.numpy() ** 2).sum(1)), rtol=1e-5)


def test_residual_of_a_batch_equals_the_residuals_of_its_images() -> None:
    model, x = small(), rand(3, 5, 4, 9)
    before = x.clone()
    batch = vae_residual(model, x)
    assert torch.equal(x, before)
    assert all(torch.equal(batch[i : i + 1], vae_residual(model, x[i : i + 1])) for i in range(3))
    assert vae_residual(model, x[:0]).shape == (0, 5, 4, 9)
    strided = vae_residual(model, x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(strided, batch)


def test_residual_of_large_maps_does_not_depend_on_the_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small(), rand(1, 5, 8, 9)
    whole = vae_residual(model, x)
    monkeypatch.setattr("blemish.localization.reconstruction._CHUNK", 10)
    torch.testing.assert_close(vae_residual(model, x), whole)


def test_pixels_do_not_see_each_other() -> None:
    model, x = small(), rand(1, 5, 6, 6)
    order = torch.randperm(36, generator=torch.Generator().manual_seed(0))
    moved = vae_residual(model, x.flatten(2)[:, :, order].reshape(1, 5, 6, 6))
    torch.testing.assert_close(moved.flatten(2), vae_residual(model, x).flatten(2)[:, :, order])


def test_default_widths_are_the_published_ones() -> None:
    shapes = {name: tuple(value.shape) for name, value in VAE(512).state_dict().items() if name.endswith("weight")}
    assert shapes == {
        "encoder.0.weight": (512, 512),
        "encoder.2.weight": (512, 512),
        "mu.weight": (128, 512),
        "log_sigma.weight": (128, 512),
        "decoder.0.weight": (512, 128),
        "decoder.2.weight": (512, 512),
        "decoder.4.weight": (512, 512),
    }


def test_training_reproduces_frequent_vectors_better_than_rare_ones() -> None:
    common, rare = torch.tensor([0.9, 0.1, 0.5, 0.2]), torch.tensor([0.1, 0.9, 0.2, 0.6])
    vectors = torch.cat([common + 0.05 * rand(990, 4), rare + 0.05 * rand(10, 4)])
    model = train_vae(vectors, steps=400, batch_size=64, learning_rate=2e-3, hidden=32, latent=1)
    error = residual_l2(vae_residual(model, torch.stack([common, rare]).reshape(2, 4, 1, 1))).flatten()
    assert error[1] > 3 * error[0]
    assert error[0] < 0.15


def test_one_seed_gives_one_network_and_leaves_the_global_generator_alone() -> None:
    vectors = rand(300, 6)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    states = [
        train_vae(vectors, steps=8, batch_size=32, hidden=8, latent=2, seed=seed).state_dict() for seed in (3, 3, 4)
    ]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_a_network_comes_back_from_its_state_and_other_states_are_refused() -> None:
    model, x = small(), rand(1, 5, 3, 4)
    again = VAE.from_state(model.state_dict()).eval()
    assert torch.equal(vae_residual(again, x), vae_residual(model, x))
    assert all(isinstance(value, Tensor) for value in model.state_dict().values())
    broken = dict(model.state_dict())
    broken.pop("mu.bias")
    for state in ({}, broken, {**model.state_dict(), "decoder.4.bias": torch.zeros(2)}):
        with pytest.raises(WeightsError, match="not the weights of a VAE"):
            VAE.from_state(state)


def test_training_on_a_single_vector_reports_every_step() -> None:
    seen: list[int] = []
    model = train_vae(rand(1, 3), steps=3, hidden=4, latent=2, progress=seen.append)
    assert seen == [1, 2, 3]
    assert not model.training
    assert bool(torch.isfinite(vae_residual(model, rand(1, 3, 1, 1))).all())


@pytest.mark.parametrize(
    ("vectors", "settings", "error"),
    [
        (torch.zeros(0, 3), {}, InputError),
        (torch.zeros(3), {}, InputError),
        (torch.zeros(2, 3, dtype=torch.int64), {}, InputError),
        (torch.full((2, 3), float("nan")), {}, InputError),
        (torch.zeros(2, 3), {"steps": 0}, ConfigError),
        (torch.zeros(2, 3), {"batch_size": 0}, ConfigError),
        (torch.zeros(2, 3), {"learning_rate": 0.0}, ConfigError),
        (torch.zeros(2, 3), {"kl_weight": -1.0}, ConfigError),
        (torch.zeros(2, 3), {"weight_decay": -1.0}, ConfigError),
        (torch.zeros(2, 3), {"hidden": 0}, ConfigError),
        (torch.zeros(2, 3), {"seed": -1}, ConfigError),
    ],
)
def test_training_refuses_bad_vectors_and_settings(
    vectors: Tensor, settings: dict[str, float], error: type[Exception]
) -> None:
    with pytest.raises(error):
        train_vae(vectors, **settings)  # type: ignore[arg-type]


def test_residual_refuses_features_of_another_width() -> None:
    with pytest.raises(InputError, match="needs features"):
        vae_residual(small(), rand(1, 4, 2, 2))


def test_principal_components_explain_the_directions_of_largest_variance() -> None:
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    vectors = rng.normal(size=(500, 4)) * [5.0, 0.01, 3.0, 0.01] @ axes.T + [1.0, 2.0, 3.0, 4.0]
    subspace = fit_pca(torch.from_numpy(vectors), 2)
    np.testing.assert_allclose(subspace.mean, vectors.mean(0))
    np.testing.assert_allclose(subspace.components @ subspace.components.T, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(np.abs(subspace.components.numpy() @ axes), [[1, 0, 0, 0], [0, 0, 1, 0]], atol=0.1)


def test_principal_components_agree_with_the_eigenvectors_of_the_covariance() -> None:
    vectors = np.random.default_rng(1).normal(size=(60, 5)) * [1.0, 4.0, 2.0, 0.5, 3.0]
    subspace = fit_pca(torch.from_numpy(vectors), 3)
    deviations = vectors - vectors.sum(0) / 60
    covariance = sum(np.outer(one, one) for one in deviations) / 60
    values, directions = np.linalg.eig(covariance)
    for component, at in zip(subspace.components.numpy(), np.argsort(values)[::-1][:3], strict=True):
        assert abs(component @ directions[:, at]) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(("vectors", "kept"), [(2, 2), (9, 4)])
def test_there_are_no_more_components_than_vectors_or_channels(vectors: int, kept: int) -> None:
    assert fit_pca(rand(vectors, 4), 7).components.shape == (kept, 4)


@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (1, 6)])
def test_residual_of_a_subspace_is_the_remainder_of_least_squares_at_each_cell(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(5, *shape, generator=generator)
    mean = torch.randn(5, generator=generator)
    basis = torch.linalg.qr(torch.randn(5, 2, generator=generator)).Q.T
    found = PrincipalSubspace(mean, basis).residual(features)
    assert found.shape == (5, *shape)
    for y, x in np.ndindex(*shape):
        centered = (features[:, y, x] - mean).numpy()
        fit, *_ = np.linalg.lstsq(basis.T.numpy(), centered, rcond=None)
        np.testing.assert_allclose(found[:, y, x].numpy(), centered - basis.T.numpy() @ fit, atol=1e-5)


def test_residual_of_a_subspace_with_all_components_is_zero() -> None:
    features = rand(4, 3, 5)
    whole = fit_pca(features.flatten(1).T, 4)
    np.testing.assert_allclose(whole.residual(features).numpy(), 0, atol=1e-5)
    np.testing.assert_allclose(whole.residual(whole.mean[:, None, None].expand(4, 2, 2)).numpy(), 0, atol=1e-6)
