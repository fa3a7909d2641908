"""Drawn pixels of two defect types, and comparison of heads."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


def two_types(images: int = 8) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Features (40 x 6), map values and descriptors of images of two types in turn; 15 pixels of each are anomalous."""
    rng = np.random.default_rng(0)
    features, values, rows = [], [], []
    for i in range(images):
        pixels = rng.normal(0, 1, (40, 6)).astype(np.float32)
        pixels[:15, i % 2] += 3
        features.append(pixels)
        values.append(np.concatenate([np.ones(15), np.zeros(25)]).astype(np.float32))
        rows.append(np.eye(2, dtype=np.float32)[i % 2])
    return features, values, np.stack(rows)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks have the same parameters, bit by bit."""
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
