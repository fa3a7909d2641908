"""Residuals: the part of the features that a small model of the set's frequent feature vectors cannot reproduce.

The model is a variational autoencoder of single feature vectors, or a set of principal components. It is trained on the
unlabeled set: frequent vectors, the normal ones, are reproduced well, and rare vectors are not. Source of the autoencoder:
Ardelean & Weyrich, CVPR 2024 workshops, arXiv 2404.12246, section 3.1. Its published form is a stack of 1x1 convolutions,
which is the same thing.

Deviation: no pixel sees another, so that training needs no whole images. :func:`train_vae` draws its batches from a random
sample of the set's vectors; the paper's batches are whole images. ``benchmarks/vae_sampling.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blemish.errors import ConfigError, InputError, WeightsError
from blemish.runtime.random import seeded_generator, seeded_linear

_CHUNK = 1 << 15
"""Vectors that go through the network at once outside training; this bounds the memory of large maps."""


class VAE(nn.Module):
    """Variational autoencoder of feature vectors.

    The encoder is C -> hidden -> hidden with a ReLU after both layers. Two heads of width `latent` give the mean and the
    log of sigma of the code. The decoder is latent -> hidden -> hidden -> C with a ReLU after every layer, the last one
    included: outputs are >= 0, as features in [0, 1] are.

    Args:
        channels: C, at least 1.
        hidden: width of the hidden layers (published: 512, with C = 512).
        latent: width of the latent code (published: 128).
        generator: source of the initial weights; None: a new one seeded with 0. The global generator is not touched.

    Raises:
        ConfigError: a width is below 1.
    """

    def __init__(
        self, channels: int, hidden: int = 512, latent: int = 128, *, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if min(channels, hidden, latent) < 1:
            raise ConfigError(f"The VAE's widths must be at least 1, got {channels=}, {hidden=}, {latent=}.")
        source = seeded_generator(0) if generator is None else generator
        self.channels = channels
        self.encoder = nn.Sequential(
            seeded_linear(channels, hidden, source), nn.ReLU(), seeded_linear(hidden, hidden, source), nn.ReLU()
        )
        self.mu = seeded_linear(hidden, latent, source)
        self.log_sigma = seeded_linear(hidden, latent, source)
        self.decoder = nn.Sequential(
            seeded_linear(latent, hidden, source),
            nn.ReLU(),
            seeded_linear(hidden, hidden, source),
            nn.ReLU(),
            seeded_linear(hidden, channels, source),
            nn.ReLU(),
        )

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> VAE:
        """The network with this ``state_dict``; its widths are read from the shapes.

        Raises:
            WeightsError: names or shapes are not those of a VAE.
        """
        try:
            hidden, channels = state["encoder.0.weight"].shape
            model = cls(channels, hidden, state["mu.weight"].shape[0])
            model.load_state_dict(dict(state))
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsError(f"These are not the weights of a VAE ({error}); fit again.") from error
        return model

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sigma of the code, each N x latent, for N x C vectors."""
        inner = self.encoder(x)
        return self.mu(inner), self.log_sigma(inner)

    def decode(self, code: Tensor) -> Tensor:
        """N x C vectors, >= 0, for N x latent codes."""
        out: Tensor = self.decoder(code)
        return out

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction, mean and log sigma of N x C vectors; the code is mean + sigma * noise (N x latent)."""
        mu, log_sigma = self.encode(x)
        return self.decode(mu + log_sigma.exp() * noise), mu, log_sigma


def reconstruction_loss(x: Tensor, reconstruction: Tensor) -> Tensor:
    """Mean of (x - reconstruction)^2 over all vectors and channels."""
    return (x - reconstruction).square().mean()


def kl_loss(mu: Tensor, log_sigma: Tensor) -> Tensor:
    """Mean of sigma^2 + mu^2 - log sigma - 1/2 over all vectors and latent dimensions.

    This is the published form. It is not exactly the divergence from the unit normal distribution, which is
    sigma^2 / 2 + mu^2 / 2 - log sigma - 1/2: its minimum over sigma lies at sigma^2 = 1/2.

    >>> kl_loss(torch.zeros(1, 1), torch.zeros(1, 1)).item()
    0.5
    """
    return ((2 * log_sigma).exp() + mu.square() - log_sigma - 0.5).mean()


def vae_loss(x: Tensor, reconstruction: Tensor, mu: Tensor, log_sigma: Tensor, kl_weight: float = 1e-3) -> Tensor:
    """`reconstruction_loss` + kl_weight * `kl_loss`, a scalar (arXiv 2404.12246, section 3.1)."""
    return reconstruction_loss(x, reconstruction) + kl_weight * kl_loss(mu, log_sigma)


def train_vae(
    vectors: Tensor,
    *,
    steps: int = 1200,
    batch_size: int = 2048,
    learning_rate: float = 1e-4,
    weight_decay: float = 0.1,
    hidden: int = 512,
    latent: int = 128,
    kl_weight: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> VAE:
    """Fit the autoencoder to a random sample of the set's feature vectors with AdamW.

    Args:
        vectors: N x C, floating point, finite, N at least 1; scaled by the caller (published: each channel of each image
            to [0, 1]).
        steps: training steps, at least 1 (published: 10 000, of 8 whole images each).
        batch_size: vectors per step, at least 1; at most N are used. The vectors are shuffled anew for each pass.
        learning_rate: learning rate, > 0.
        weight_decay: weight decay, >= 0.
        hidden: width of the hidden layers, at least 1.
        latent: width of the code, at least 1. A wider code reproduces rarer vectors too.
        kl_weight: weight of :func:`kl_loss`, >= 0.
        seed: seed of weights, batches and noise, which are drawn on the CPU always. The same seed, machine and number of
            threads give the same bits.
        progress: called after each step with the number of steps done.

    Returns:
        The network in evaluation mode, on the device of ``vectors``.

    Raises:
        InputError: the vectors are not as above.
        ConfigError: a setting is out of range.

    Cost: some 6 * steps * batch_size * (4 hidden^2 + 2 hidden C + ...) operations; with 512 channels and the default
    widths a step of 2048 vectors takes about 0.3 to 0.6 s on two CPU cores. The vectors are not copied on the CPU.
    """
    if vectors.ndim != 2 or 0 in vectors.shape or not vectors.is_floating_point():
        raise InputError(f"train_vae needs floating point vectors (N, C), got {vectors.dtype} {tuple(vectors.shape)}.")
    if not bool(torch.isfinite(vectors).all()):
        raise InputError("The features hold NaN or infinite values; check the images and the weights.")
    if steps < 1 or batch_size < 1 or not learning_rate > 0 or weight_decay < 0 or kl_weight < 0:
        raise ConfigError(
            "Training needs steps >= 1, batch_size >= 1, learning_rate > 0, weight_decay >= 0 and kl_weight >= 0, "
            f"got {steps}, {batch_size}, {learning_rate}, {weight_decay} and {kl_weight}."
        )
    generator = seeded_generator(seed)
    model = VAE(vectors.shape[1], hidden, latent, generator=generator).to(vectors.device).train()
    batches = _shuffled(len(vectors), batch_size, generator)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    with torch.enable_grad():
        for step in range(steps):
            x = vectors[next(batches).to(vectors.device)].detach().to(torch.float32)
            noise = torch.randn(len(x), latent, generator=generator).to(x.device)
            optimizer.zero_grad(set_to_none=True)
            reconstruction, mu, log_sigma = model(x, noise)
            vae_loss(x, reconstruction, mu, log_sigma, kl_weight).backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1)
    return model.eval()


def _shuffled(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of indices, pass after pass in a new order; a remainder that fills no batch is left out."""
    batch_size = min(batch_size, count)
    while True:
        order = torch.randperm(count, generator=generator)
        for first in range(0, count - batch_size + 1, batch_size):
            yield order[first : first + batch_size]


@torch.no_grad()
def vae_residual(vae: VAE, features: Tensor) -> Tensor:
    """The part of the features that the autoencoder cannot reproduce: R = F - decoder(mu(F)), without noise.

    Args:
        vae: the trained network.
        features: B x C x h x w, scaled as the training vectors were; B may be 0.

    Returns:
        B x C x h x w, float32, signed, on the device of ``features``. Images are processed one by one, so that a batch
        gives the same bits as its images alone. Memory beyond input and output: the activations of at most 2^15 pixels.

    Raises:
        InputError: the shape does not fit the network.
    """
    if features.ndim != 4 or features.shape[1] != vae.channels:
        raise InputError(f"The VAE needs features (B, {vae.channels}, h, w), got {tuple(features.shape)}.")
    residual = features.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    device = vae.mu.weight.device
    for image in residual.flatten(2):  # C x P
        for part in image.split(_CHUNK, dim=1):
            rebuilt = vae.decode(vae.encode(part.T.to(device))[0])
            part -= rebuilt.T.to(part.device)
    return residual


def residual_l1(residual: Tensor) -> Tensor:
    """Anomaly map without FCA: the mean of |R| over channels, B x C x h x w -> B x h x w, >= 0.

    >>> residual_l1(torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1)).item()
    3.5
    """
    return residual.abs().mean(dim=1)


def residual_l2(residual: Tensor) -> Tensor:
    """Anomaly map without FCA: the Euclidean norm of R over channels, B x C x h x w -> B x h x w, >= 0.

    >>> residual_l2(torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1)).item()
    5.0
    """
    norm: Tensor = torch.linalg.vector_norm(residual, dim=1)
    return norm


@dataclass(frozen=True)
class PrincipalSubspace:
    """The subspace of the first principal components of feature vectors.

    Attributes:
        mean: C, the mean vector.
        components: D x C, orthonormal, by decreasing variance.
    """

    mean: Tensor
    components: Tensor

    @torch.no_grad()
    def residual(self, features: Tensor) -> Tensor:
        """The part of the features that the components do not explain: F - m - V V^T (F - m).

        Args:
            features: C x h x w, on any device.

        Returns:
            C x h x w, signed, on the device of the components.
        """
        centered = features.flatten(1).to(self.mean.device) - self.mean[:, None]
        return (centered - self.components.T @ (self.components @ centered)).unflatten(1, features.shape[1:])


def fit_pca(vectors: Tensor, n_components: int) -> PrincipalSubspace:
    """The mean and the first principal components of feature vectors.

    Args:
        vectors: N x C, floating point, finite.
        n_components: number of components, at least 1; at most min(N, C) are kept. More components also reproduce rare
            vectors.

    Source: ours; not in Ardelean & Weyrich.
    """
    mean = vectors.mean(0)
    basis = torch.linalg.svd(vectors - mean, full_matrices=False).Vh
    return PrincipalSubspace(mean, basis[:n_components])
