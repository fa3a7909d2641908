"""Residuals: what a small model of the set's frequent feature vectors cannot reproduce.

The model is a variational autoencoder of single feature vectors (its published form is a stack of 1x1 convolutions,
which is the same thing). It is trained on the unlabeled set: frequent vectors, the normal ones, are reproduced well,
rare ones are not. Source: Ardelean & Weyrich, CVPR 2024 workshops, arXiv 2404.12246, section 3.1.

Deviation: because no pixel sees another, training needs no whole images. `train_vae` draws its batches from a random
sample of the set's vectors; `train_vae_images` uses whole images as published. `benchmarks/vae_sampling.py` compares
the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from blemish.errors import ConfigError, InputError, WeightsError
from blemish.runtime.random import seeded_generator

Progress = Callable[[int], None]
"""Called with the number of steps done."""

_CHUNK = 1 << 15
"""Vectors that go through the network at once outside training: bounds the memory of large maps."""


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's usual uniform initialization, drawn from the given generator only.

    Weights and biases are uniform within 1 / sqrt(inputs) of 0. `nn.Linear` itself would draw from the global one.
    """
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


class VAE(nn.Module):
    """Variational autoencoder of feature vectors.

    Encoder C -> hidden -> hidden (ReLU after both), heads for the mean and for log sigma of width `latent`, decoder
    latent -> hidden -> hidden -> C with a ReLU after every layer, the last one included: outputs are >= 0, as
    features in [0, 1] are.

    Args:
        channels: C, at least 1.
        hidden: width of the hidden layers (published: 512, with C = 512).
        latent: width of the latent code (published: 128).
        generator: source of the initial weights; default one seeded with 0. The global generator is not touched.

    Raises:
        ConfigError: if a width is below 1.
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
        """The network with this `state_dict`, its widths read from the shapes; `WeightsError` if it does not fit."""
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

    As published. It is not exactly the divergence from the unit normal, sigma^2 / 2 + mu^2 / 2 - log sigma - 1/2:
    its minimum over sigma lies at sigma^2 = 1/2.

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
    batch: int = 2048,
    lr: float = 1e-4,
    weight_decay: float = 0.1,
    hidden: int = 512,
    latent: int = 128,
    kl_weight: float = 1e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> VAE:
    """Fit the autoencoder to a random sample of the set's feature vectors.

    Args:
        vectors: N x C, floating point, finite, N at least 1; scaled by the caller (published: each image's each
            channel to [0, 1]).
        steps: of AdamW, at least 1.
        batch: vectors per step, at most N are used; passes over the vectors are shuffled anew each time.
        lr: learning rate.
        weight_decay: of AdamW.
        hidden: width of the hidden layers.
        latent: width of the code.
        kl_weight: of `kl_loss`.
        seed: fixes weights, batches and noise. The same seed, machine and number of threads give the same bits; the
            global generators are neither read nor changed.
        device: where to train; random numbers are drawn on the CPU always.
        progress: called after each step with the number done.

    Returns:
        The network in evaluation mode, on `device`.

    Raises:
        InputError: if the vectors are not as above.
        ConfigError: if a setting is out of range.

    Cost: some 6 * steps * batch * (4 hidden^2 + 2 hidden C + ...) operations; with 512 channels and the default
    widths about 0.3 to 0.6 s a step of 2048 vectors on two CPU cores. The vectors are not copied on the CPU.
    """
    if vectors.ndim != 2 or 0 in vectors.shape or not vectors.is_floating_point():
        raise InputError(f"train_vae needs floating point vectors (N, C), got {vectors.dtype} {tuple(vectors.shape)}.")
    if batch < 1:
        raise ConfigError(f"The batch must be at least 1, got {batch}.")
    _refuse_not_finite(vectors)
    generator = seeded_generator(seed)
    model = VAE(vectors.shape[1], hidden, latent, generator=generator)
    batches = (vectors[picked.to(vectors.device)] for picked in _shuffled(len(vectors), batch, generator))
    return _train(model, batches, steps, lr, weight_decay, kl_weight, generator, device, progress)


def train_vae_images(
    images: Sequence[Tensor],
    *,
    steps: int = 1200,
    images_per_batch: int = 8,
    lr: float = 1e-4,
    weight_decay: float = 0.1,
    hidden: int = 512,
    latent: int = 128,
    kl_weight: float = 1e-3,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> VAE:
    """Fit the autoencoder as published, every batch being all vectors of `images_per_batch` images.

    Args:
        images: C x h x w each, of one C; sizes may differ (each pixel then weighs the same).
        images_per_batch: at most all of them.
        steps: see `train_vae`, as for the other arguments, the result and the errors. Published: 10 000.
        lr: see `train_vae`.
        weight_decay: see `train_vae`.
        hidden: see `train_vae`.
        latent: see `train_vae`.
        kl_weight: see `train_vae`.
        seed: see `train_vae`.
        device: see `train_vae`.
        progress: see `train_vae`.
    """
    if not len(images) or any(x.ndim != 3 or 0 in x.shape or x.shape[0] != images[0].shape[0] for x in images):
        raise InputError("train_vae_images needs at least one image of features (C, h, w), all with the same C.")
    if images_per_batch < 1:
        raise ConfigError(f"images_per_batch must be at least 1, got {images_per_batch}.")
    for image in images:
        _refuse_not_finite(image)
    generator = seeded_generator(seed)
    model = VAE(images[0].shape[0], hidden, latent, generator=generator)
    chosen = _shuffled(len(images), images_per_batch, generator)
    batches = (torch.cat([images[i].flatten(1).T for i in picked.tolist()]) for picked in chosen)
    return _train(model, batches, steps, lr, weight_decay, kl_weight, generator, device, progress)


def _shuffled(count: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of indices for ever, pass after pass in a new order; what does not fill a batch waits for the next."""
    batch = min(batch, count)
    while True:
        order = torch.randperm(count, generator=generator)
        for first in range(0, count - batch + 1, batch):
            yield order[first : first + batch]


def _train(
    model: VAE,
    batches: Iterator[Tensor],
    steps: int,
    lr: float,
    weight_decay: float,
    kl_weight: float,
    generator: torch.Generator,
    device: torch.device | str,
    progress: Progress | None,
) -> VAE:
    """The one training loop."""
    if steps < 1 or not lr > 0 or weight_decay < 0 or kl_weight < 0:
        raise ConfigError(
            "Training needs steps >= 1, lr > 0, weight_decay >= 0 and kl_weight >= 0, "
            f"got {steps}, {lr}, {weight_decay} and {kl_weight}."
        )
    model.to(device).train()
    latent = model.mu.out_features
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    with torch.enable_grad():
        for step in range(steps):
            x = next(batches).detach().to(device, torch.float32)
            noise = torch.randn(len(x), latent, generator=generator).to(device)
            optimizer.zero_grad(set_to_none=True)
            reconstruction, mu, log_sigma = model(x, noise)
            vae_loss(x, reconstruction, mu, log_sigma, kl_weight).backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1)
    return model.eval()


@torch.no_grad()
def vae_residual(vae: VAE, features: Tensor) -> Tensor:
    """What the autoencoder cannot reproduce: R = F - decoder(mu(F)), without noise.

    Args:
        vae: the trained network.
        features: B x C x h x w, scaled as the training vectors were; B may be 0.

    Returns:
        Tensor B x C x h x w, float32, on the features' device; signed. Images are worked on one by one: a batch gives
        the same bits as its images alone. Memory beyond input and output: at most 2^15 pixels' activations.

    Raises:
        InputError: if the shape does not fit the network.
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


def _refuse_not_finite(x: Tensor) -> None:
    if not bool(torch.isfinite(x).all()):
        raise InputError("The features hold NaN or infinite values; check the images and the weights.")
