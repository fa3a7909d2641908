"""Random numbers from seeded generators of our own; the global generators are neither read nor changed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from blemish.errors import ConfigError, InputError


def seeded_generator(seed: int) -> torch.Generator:
    """A new generator on the CPU, seeded with ``seed``.

    Raises:
        ConfigError: the seed is not from 0 to 2^63 - 1.
    """
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed must be from 0 to 2^63 - 1, got {seed}.")
    return torch.Generator().manual_seed(seed)


def seeded_linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's usual uniform initialization, drawn from the given generator only.

    Weights and biases are uniform within 1 / sqrt(inputs) of 0. ``nn.Linear`` itself would draw from the global generator.
    """
    layer = nn.Linear(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = 1.0 / math.sqrt(inputs)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.uniform_(-bound, bound, generator=generator)
    return layer


def sample_vectors(features: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Feature vectors of randomly chosen pixels of one image, each pixel at most once.

    Args:
        features: C x h x w.
        n: number of vectors, at least 1; a number above h * w gives all of them.
        generator: source of the draws, on the CPU.

    Returns:
        min(n, h * w) x C, in random order, with the dtype and device of ``features``.

    Raises:
        InputError: ``features`` has another number of axes, or an axis of length 0.
        ConfigError: ``n`` is below 1.
    """
    if features.ndim != 3 or 0 in features.shape:
        raise InputError(f"sample_vectors needs features of shape (C, h, w), none 0; got {tuple(features.shape)}.")
    if n < 1:
        raise ConfigError(f"The number of vectors per image must be at least 1, got {n}.")
    flat = features.flatten(1)
    picked = torch.randperm(flat.shape[1], generator=generator)[:n].to(flat.device)
    return flat[:, picked].T.contiguous()
