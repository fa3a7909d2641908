"""Descriptors: one vector per image that says what its anomalous pixels look like.

D = sum over pixels p of w(A)_p * (G(p) - mean of G), where A is the anomaly map and G are the features after a small blur
(7 x 7, sigma 2). The weights w = softmax(A / tau) are those of Ardelean & Weyrich, CVPR 2024 workshops, arXiv 2404.12246,
section 3.2. The other weights are ours, or baselines that the paper compares.

A blur is linear, and so is the sum. The blur is therefore applied to the weights (transposed, in float64) instead of to
the C feature channels, which gives the same numbers for a small part of the work. The mean is subtracted from the weights
too, so that a constant map gives exactly 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import ConfigError, InputError
from blemish.features.filters import correlate_axis, gaussian_kernel

COUNTED_QUANTILE = 0.95
"""Cells above this quantile of their own map always count: a twentieth of the cells of an image."""

_MAX_VALUES = 1 << 24
"""Largest number of map values of which a quantile is taken; larger samples are thinned evenly."""


@torch.no_grad()
def softmax_weights(maps: Tensor, tau: float) -> Tensor:
    """softmax(A / tau) over the pixels of each map.

    Args:
        maps: B x h x w, finite; B may be 0. Adding a constant to a map changes nothing.
        tau: temperature in the units of the maps, finite, > 0. A small one lets only the highest pixels count
            (:func:`max_weights` is the limit), a large one all of them alike. See :func:`relative_tau`.

    Returns:
        B x h x w float64; the weights of each map sum to 1.

    Raises:
        ConfigError: tau is out of range.

    >>> softmax_weights(torch.tensor([[[0.0, 0.0, 1.0]]]), 1.0)
    tensor([[[0.2119, 0.2119, 0.5761]]], dtype=torch.float64)
    """
    if not (math.isfinite(tau) and tau > 0):
        raise ConfigError(f"tau must be a finite number > 0, got {tau}.")
    flat = maps.detach().to(torch.float64).flatten(1)
    if len(flat):
        # The largest exponent is 0: nothing overflows, and the sum is at least 1.
        flat = ((flat - flat.amax(dim=1, keepdim=True)) / tau).exp()
        flat = flat / flat.sum(dim=1, keepdim=True)
    return flat.reshape(maps.shape)


@torch.no_grad()
def thresholded_weights(maps: Tensor, level: float) -> Tensor:
    """max(A - l, 0) over its sum, for each map.

    Here l is the level or, if that is lower, the map's own quantile `COUNTED_QUANTILE`: every image has a part that
    stands out most. Every cell of a large defect counts, whatever the highest value of the map is, and no cell below the
    level does. A softmax would need a large temperature for the one and a small temperature for the other.

    Args:
        maps: B x h x w, finite; B may be 0.
        level: map value above which cells count, finite. A higher level leaves more of a defect's rim out.

    Returns:
        B x h x w float64; the weights of each map sum to 1. They are equal where nothing exceeds l, as in a constant map.

    Raises:
        ConfigError: the level is not finite.

    >>> thresholded_weights(torch.tensor([[[0.0, 1.0, 3.0]]]), 0.0)
    tensor([[[0.0000, 0.2500, 0.7500]]], dtype=torch.float64)
    """
    if not math.isfinite(level):
        raise ConfigError(f"level must be a finite number, got {level}.")
    flat = maps.detach().to(torch.float64).flatten(1)
    if len(flat):
        own = flat.quantile(COUNTED_QUANTILE, dim=1, keepdim=True)
        excess = (flat - own.clamp_max(level)).clamp_min(0)
        total = excess.sum(1, keepdim=True)
        flat = torch.where(total > 0, excess / total.clamp_min(torch.finfo(torch.float64).tiny), 1 / flat.shape[1])
    return flat.reshape(maps.shape)


@torch.no_grad()
def max_weights(maps: Tensor) -> Tensor:
    """1 at the first (in row order) of each map's largest values and 0 elsewhere, B x h x w float64."""
    weights = torch.zeros(len(maps), maps[0].numel() if len(maps) else 1, dtype=torch.float64, device=maps.device)
    for row, values in zip(weights, maps, strict=True):
        row[np.argmax(values.detach().cpu().numpy())] = 1.0  # NumPy returns the first one; torch does not promise it
    return weights.reshape(maps.shape)


def average_weights(maps: Tensor) -> Tensor:
    """Equal weights that sum to 1 in each map, B x h x w float64."""
    return torch.full_like(maps, 1.0 / max(1, maps[0].numel() if len(maps) else 1), dtype=torch.float64)


@torch.no_grad()
def blur_weights(weights: Tensor, blur_size: int, sigma: float, center: bool) -> Tensor:
    """Weights for plain features that give the same sum as ``weights`` give for blurred features.

    Args:
        weights: B x h x w; those of each map sum to 1.
        blur_size: taps per axis of the blur of the features, odd; 1 means none.
        sigma: standard deviation of the blur in cells, >= 0; 0 means none.
        center: whether the mean of the image's features is subtracted; the result then sums to 0.

    Returns:
        B x h x w float64.

    Raises:
        ConfigError: the blur is out of range.
    """
    if blur_size < 1 or blur_size % 2 == 0 or not (math.isfinite(sigma) and sigma >= 0):
        raise ConfigError(f"The blur needs an odd size >= 1 and a sigma >= 0, got {blur_size} and {sigma}.")
    _, height, width = weights.shape
    kernel = gaussian_kernel(blur_size, sigma)
    down, across = (
        correlate_axis(torch.eye(side, dtype=torch.float64), kernel, 0).to(weights.device) for side in (height, width)
    )
    weights = weights.to(torch.float64)
    if center:
        weights = weights - 1.0 / (height * width)
    # One by one, so that a batch gives the same bits as its images alone.
    parts = [down.T @ one @ across for one in weights]
    return torch.stack(parts) if parts else weights


@torch.no_grad()
def weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """Descriptors: the sum over pixels of weight times features, taken in float64.

    Args:
        features: B x C x h x w, floating point; B may be 0.
        weights: B x h x w, see :func:`blur_weights`.

    Returns:
        B x C float32, on the device of ``features``.

    Raises:
        InputError: a shape does not fit, or the features are not floating point.

    >>> features = torch.tensor([[[[3.0, 6.0, 9.0]]]])
    >>> weights = thresholded_weights(torch.tensor([[[0.0, 1.0, 3.0]]]), 0.0)
    >>> weighted_sum(features, blur_weights(weights, 1, 0.0, center=True))
    tensor([[2.2500]])
    """
    if features.ndim != 4 or 0 in features.shape[1:] or not features.is_floating_point():
        raise InputError(f"A descriptor needs floating point features (B, C, h, w), got {tuple(features.shape)}.")
    wanted = (features.shape[0], *features.shape[2:])
    if weights.shape != wanted:
        raise InputError(f"The weights must have shape {wanted}, as the features have; got {tuple(weights.shape)}.")
    out = torch.empty(features.shape[:2], dtype=torch.float32, device=features.device)
    for index in range(len(features)):
        these = weights[index].to(features.device, torch.float64)
        out[index] = features[index].detach().to(torch.float64).flatten(1) @ these.flatten()
    return out


def relative_tau(
    maps: Tensor | Sequence[Tensor] | Sequence[npt.NDArray[np.floating]], fraction: float = 0.15, q: float = 0.99
) -> float:
    """A temperature that follows the scale of the set's maps: ``fraction`` of the q-quantile of their values.

    Scaling all maps scales tau, so that the descriptors stay the same. The published tau is 0.002, for one scale.

    Args:
        maps: the set's maps or a sample of them, h x w each; sizes may differ. Of more than 2^24 values every n-th is
            used.
        fraction: share of the quantile, finite, > 0. A larger one lets more pixels count.
        q: quantile, in [0, 1].

    Returns:
        tau > 0. Where the quantile is not positive, the largest value takes its place; where that is not positive
        either (nothing is anomalous anywhere), the result is 1.

    Raises:
        ConfigError: ``fraction`` or ``q`` is out of range.
        InputError: there is no map, or a value is NaN or infinite.

    >>> round(relative_tau([np.linspace(0.0, 1.0, 101).reshape(1, 101)]), 6)
    0.1485
    """
    if not (math.isfinite(fraction) and fraction > 0) or not 0 <= q <= 1:
        raise ConfigError(f"relative_tau needs fraction > 0 and q from 0 to 1, got {fraction} and {q}.")
    parts = [np.asarray(one.detach().cpu() if isinstance(one, Tensor) else one).ravel() for one in maps]
    total = sum(part.size for part in parts)
    if not total:
        raise InputError("relative_tau needs at least one map with values.")
    values = np.concatenate(parts)[:: -(-total // _MAX_VALUES)].astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("The anomaly maps hold NaN or infinite values.")
    for scale in (float(np.quantile(values, q)), float(values.max())):
        if fraction * scale > 0:
            return fraction * scale
    return 1.0
