"""Random numbers from seeded generators of our own; the global generators are neither read nor changed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from blemish.errors import ConfigError


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


def draw_places(count: int, n: int, generator: torch.Generator) -> Tensor:
    """``n`` of the numbers below ``count`` in random order, each at most once; all of them if there are no more.

    Raises:
        ConfigError: ``n`` is below 1.
    """
    if n < 1:
        raise ConfigError(f"The number of vectors per image must be at least 1, got {n}.")
    return torch.randperm(count, generator=generator)[:n]
