"""Two independent twins of FCA: a slow loop written from the equations, and a plain form in PyTorch operations.

Nothing here imports blemish.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def mirror(index: int, length: int) -> int:
    """Reflect an index at the ends of the axis, as often as needed."""
    if length == 1:
        return 0
    while not 0 <= index < length:
        index = -index if index < 0 else 2 * (length - 1) - index
    return index


def gaussian(size: int, sigma: float) -> list[float]:
    if sigma == 0:
        return [1.0 if n == size // 2 else 0.0 for n in range(size)]
    raw = [math.exp(-((n - size // 2) ** 2) / (2 * sigma**2)) for n in range(size)]
    return [value / sum(raw) for value in raw]


def blur_loop(image: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Direct 2-D sum with mirrored neighbors."""
    weights, half = gaussian(size, sigma), size // 2
    height, width = image.shape
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            for a in range(size):
                for b in range(size):
                    value = image[mirror(y + a - half, height), mirror(x + b - half, width)]
                    out[y, x] += weights[a] * weights[b] * value
    return out


def reference_loop(image: np.ndarray, size: int) -> np.ndarray:
    """(C, H, W) -> (C, T^2): lower median, rank by rank, over the sorted non-overlapping patches."""
    channels, height, width = image.shape
    down, across = max(1, height // size), max(1, width // size)
    out = np.zeros((channels, size * size), np.float32)
    for c in range(channels):
        patches = []
        for py in range(down):
            for px in range(across):
                values = [
                    image[c, mirror(py * size + a, height), mirror(px * size + b, width)]
                    for a in range(size)
                    for b in range(size)
                ]
                patches.append(sorted(values))
        for rank in range(size * size):
            ordered = sorted(patch[rank] for patch in patches)
            out[c, rank] = ordered[(len(ordered) - 1) // 2]
    return out


def fca_loop(
    image: np.ndarray,
    size: int = 7,
    sigma_s: float = 1.0,
    sigma_p: float = 3.0,
    blur_size: int = 5,
    sigma_post: float = 1.0,
    weights: np.ndarray | None = None,
    reference: np.ndarray | None = None,
) -> np.ndarray:
    """(C, H, W) -> (H, W), patch by patch, in float64 from float32 values."""
    channels, height, width = image.shape
    half = size // 2
    reference = reference_loop(image, size) if reference is None else reference
    weights = np.full(channels, 1 / channels) if weights is None else weights / weights.sum()
    place = gaussian(size, sigma_p)
    out = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            errors = np.zeros((size, size))
            for c in range(channels):
                cells = [
                    (float(image[c, mirror(y + a - half, height), mirror(x + b - half, width)]), a, b)
                    for a in range(size)
                    for b in range(size)
                ]
                for rank, (value, a, b) in enumerate(sorted(cells)):  # equal values: by row, then column
                    errors[a, b] += weights[c] * abs(value - float(reference[c, rank]))
            errors = blur_loop(errors, blur_size, sigma_s)
            for a in range(size):
                for b in range(size):
                    row, col = y + a - half, x + b - half
                    if 0 <= row < height and 0 <= col < width:
                        out[row, col] += place[a] * place[b] * errors[a, b]
    return blur_loop(out, blur_size, sigma_post)


def _blur(x: Tensor, size: int, sigma: float) -> Tensor:
    """(N, 1, H, W), one 2-D convolution."""
    line = torch.tensor(gaussian(size, sigma))
    half = size // 2
    return F.conv2d(F.pad(x, (half,) * 4, mode="reflect"), torch.outer(line, line)[None, None])


def pytorch_fca(features: Tensor, size: int = 7, *, stable: bool = True) -> Tensor:
    """(B, C, H, W) -> (B, H, W): pad, unfold, sort, compare, gather back, blur, weigh, fold.

    This is the form without a kernel of our own, with the default settings. `stable=False` is the default of `torch.sort`,
    which is faster and orders ties arbitrarily.
    """
    batch, channels, height, width = features.shape
    area, half = size * size, size // 2
    down, across = height // size, width // size
    blocks = F.unfold(features[:, :, : down * size, : across * size], size, stride=size)
    blocks = blocks.reshape(batch, channels, area, -1).sort(dim=2).values
    typical = blocks.median(dim=3).values
    patches = F.unfold(F.pad(features, (half,) * 4, mode="reflect"), size).reshape(batch, channels, area, -1)
    ordered, places = patches.sort(dim=2, stable=stable)
    errors = (ordered - typical[..., None]).abs()
    back = torch.gather(errors, 2, places.argsort(dim=2)).mean(dim=1)  # B x T^2 x HW
    small = back.transpose(1, 2).reshape(-1, 1, size, size)
    line = torch.tensor(gaussian(size, 3.0))
    small = _blur(small, 5, 1.0) * torch.outer(line, line)
    columns = small.reshape(batch, height * width, area).transpose(1, 2)
    folded = F.fold(columns, (height + 2 * half, width + 2 * half), size)
    return _blur(folded[:, :, half : half + height, half : half + width], 5, 1.0)[:, 0]
