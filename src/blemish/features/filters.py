"""Gaussian blur, reflect padding and min-max scaling of maps, which several stages share."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from blemish.errors import InputError


def gaussian_kernel(size: int, sigma: float) -> Tensor:
    """Weights of a sampled 1-D Gaussian; they sum to 1.

    Args:
        size: number of taps, odd, at least 1.
        sigma: standard deviation in cells, finite and >= 0; 0 puts all the weight on the middle tap, which is no blur.

    Returns:
        Tensor of shape (size,), float32, symmetric, on the CPU. The exponentials are computed in float64.

    Raises:
        InputError: the size is even or below 1, or sigma is negative or not finite.

    >>> gaussian_kernel(3, 1.0)
    tensor([0.2741, 0.4519, 0.2741])
    """
    if size < 1 or size % 2 == 0:
        raise InputError(f"The size of a Gaussian kernel must be odd and at least 1, got {size}.")
    if not math.isfinite(sigma) or sigma < 0:
        raise InputError(f"sigma must be a finite number >= 0, got {sigma}.")
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    if sigma == 0:
        return offsets.eq(0).to(torch.float32)
    # The division comes first, so that a tiny sigma does not give 0/0 at the middle tap.
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    return weights.div(weights.sum()).to(torch.float32)


def reflect_indices(length: int, before: int, after: int) -> Tensor:
    """Indices that extend an axis by mirroring it at its first and last cell, without repeating these cells.

    Maps, patches and the extractor's border are padded this way; a network may pad its input in another way. If more cells
    are needed than the axis has, the reflection is repeated (as in NumPy's `mode="reflect"`; torch refuses). An axis of
    one cell is repeated.

    Args:
        length: cells on the axis, at least 1.
        before: cells to add in front, >= 0.
        after: cells to add at the end, >= 0.

    Returns:
        Tensor of shape (before + length + after,), int64, values in [0, length).

    Raises:
        InputError: the axis has no cells.

    >>> reflect_indices(3, 2, 4).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1, 2]
    """
    if length < 1:
        raise InputError("An axis without cells cannot be padded.")
    positions = torch.arange(-before, length + after)
    if length == 1:
        return torch.zeros_like(positions)
    period = 2 * (length - 1)
    positions = positions % torch.full_like(positions, period)  # ONNX has no remainder by a symbolic number
    return torch.where(positions < length, positions, period - positions)


def pad_reflect(x: Tensor, *, top: int = 0, bottom: int = 0, left: int = 0, right: int = 0) -> Tensor:
    """The map extended along its last two axes by `reflect_indices`; leading axes, dtype and device are kept.

    >>> pad_reflect(torch.tensor([[1.0, 2.0]]), left=2).tolist()
    [[1.0, 2.0, 1.0, 2.0]]
    """
    if top or bottom:
        x = x.index_select(-2, reflect_indices(x.shape[-2], top, bottom).to(x.device))
    if left or right:
        x = x.index_select(-1, reflect_indices(x.shape[-1], left, right).to(x.device))
    return x


def correlate_axis(x: Tensor, kernel: Tensor, axis: int) -> Tensor:
    """Correlation of one axis with a short odd kernel, with reflection at the ends; the shape is kept.

    The taps are added in a fixed order, element by element, so that the result does not depend on the number
    of threads. Cost: one pass over x per tap.
    """
    length = x.shape[axis]
    half = kernel.numel() // 2
    padded = x.index_select(axis, reflect_indices(length, half, half).to(x.device))
    taps = kernel.tolist()
    total: Tensor = padded.narrow(axis, 0, length) * taps[0]
    for offset, tap in enumerate(taps[1:], start=1):
        total.add_(padded.narrow(axis, offset, length), alpha=tap)
    return total


def gaussian_blur(x: Tensor, size: int, sigma: float) -> Tensor:
    """The maps blurred along the last two axes with a size x size Gaussian, with reflection at the borders.

    Args:
        x: floating point, shape (..., H, W), H and W at least 1; they may be smaller than the kernel.
        size: taps per axis, odd, at least 1.
        sigma: standard deviation in cells, >= 0; with 0 or a size of 1 the result is an equal copy.

    Returns:
        Tensor with the shape, dtype and device of x. A constant stays the same up to rounding; non-negative input
        gives non-negative output.

    Raises:
        InputError: x has no cells, fewer than two axes or is not floating point, or the kernel is not valid.

    >>> x = torch.zeros(5, 5)
    >>> x[2, 2] = 1.0
    >>> gaussian_blur(x, 3, 1.0)[2]
    tensor([0.0000, 0.1238, 0.2042, 0.1238, 0.0000])
    """
    _check_maps(x, "gaussian_blur")
    kernel = gaussian_kernel(size, sigma)
    return correlate_axis(correlate_axis(x, kernel, x.ndim - 2), kernel, x.ndim - 1)


def unit_range(x: Tensor) -> Tensor:
    """Each channel of each image scaled to [0, 1] by its own minimum and maximum over the pixels.

    Args:
        x: floating point, shape (..., H, W), finite.

    Returns:
        Tensor with the shape, dtype and device of x. A channel whose values are all equal becomes 0, and so does a
        channel whose range is too small to divide by without overflow.

    Raises:
        InputError: x has no cells, fewer than two axes or is not floating point.

    >>> unit_range(torch.tensor([[[2.0, 4.0], [3.0, 2.0]], [[7.0, 7.0], [7.0, 7.0]]])).tolist()
    [[[0.0, 1.0], [0.5, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]
    """
    _check_maps(x, "unit_range")
    low = x.amin(dim=(-2, -1), keepdim=True)
    span = x.amax(dim=(-2, -1), keepdim=True) - low
    usable = span >= torch.finfo(x.dtype).tiny
    scaled = (x - low) / torch.where(usable, span, torch.ones_like(span))
    return torch.where(usable, scaled, torch.zeros_like(scaled))


def _check_maps(x: Tensor, name: str) -> None:
    """Raise InputError unless x has height and width, at least one cell and a floating point type."""
    if x.ndim < 2 or x.shape[-1] < 1 or x.shape[-2] < 1:
        raise InputError(f"{name} needs maps of shape (..., H, W) with H, W >= 1, got {tuple(x.shape)}.")
    if not x.is_floating_point():
        raise InputError(f"{name} needs floating point values, got {x.dtype}; convert them first.")
