"""Descriptors: one vector per image that says what its anomalous pixels look like.

D = sum over pixels p of w(A)_p * (G(p) - mean of G), with A the anomaly map and G the features blurred a little (7 x 7,
sigma 2). With w = softmax(A / tau): Ardelean & Weyrich, CVPR 2024 workshops, arXiv 2404.12246, section 3.2. The other
weightings are ours, or baselines that the paper compares.

A blur is linear, and so is the sum. Instead of C feature channels the weights are blurred (with the transposed
blur, in float64), which gives the same numbers for a small part of the work. The mean is subtracted from the weights
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
from blemish.types import FloatArray

SURELY_ABOVE = 0.95
"""The quantile of an image's map above which cells count in any case: a twentieth of them."""

_MAX_VALUES = 1 << 24
"""Map values of which a quantile is taken at most; larger samples are thinned evenly."""


@torch.no_grad()
def softmax_descriptor(
    features: Tensor,
    maps: Tensor,
    *,
    tau: float,
    blur_size: int = 7,
    sigma: float = 2.0,
    center: bool = True,
) -> Tensor:
    """The average of an image's features, weighted towards its most anomalous pixels.

    Args:
        features: B x C x h x w, floating point, finite; B may be 0.
        maps: B x h x w, finite; larger means more anomalous.
        tau: temperature, finite, > 0, in the units of the maps. A small one lets only the highest pixels count
            (`max_descriptor` is the limit), a large one all of them (`average_descriptor`). See `relative_tau`.
        blur_size: taps per axis of the blur of the features, odd; 1 means none.
        sigma: of that blur, in cells; 0 means none.
        center: subtract the image's mean feature.

    Returns:
        Tensor B x C, float32, on the features' device. If centerd, a constant map gives exactly 0, as do features
        that are constant in each channel, up to rounding. Adding a constant to a map changes nothing.

    Raises:
        ConfigError: if tau or the blur is out of range.
        InputError: if a shape does not fit or a value is not finite.

    Cost: one pass over the features, in float64.

    >>> maps = torch.tensor([[[0.0, 0.0, 1.0]]])
    >>> features = torch.tensor([[[[1.0, 2.0, 6.0]]]])
    >>> softmax_descriptor(features, maps, tau=0.01, blur_size=1)
    tensor([[3.]])
    """
    if not (math.isfinite(tau) and tau > 0):
        raise ConfigError(f"tau must be a finite number > 0, got {tau}.")
    _check(features, maps)
    return weighted_sum(features, spread(softmax_weights(maps, tau), blur_size, sigma, center))


def softmax_weights(maps: Tensor, tau: float) -> Tensor:
    """softmax(A / tau) over the pixels of each map, B x h x w float64."""
    flat = maps.detach().to(torch.float64).flatten(1)
    if len(flat):
        # The largest exponent is 0: nothing overflows, and the sum is at least 1.
        flat = ((flat - flat.amax(dim=1, keepdim=True)) / tau).exp()
        flat = flat / flat.sum(dim=1, keepdim=True)
    return flat.reshape(maps.shape)


@torch.no_grad()
def excess_descriptor(
    features: Tensor, maps: Tensor, *, level: float, blur_size: int = 7, sigma: float = 2.0, center: bool = True
) -> Tensor:
    """The average of an image's features, weighted by how far the map exceeds a level.

    Weights are max(A - l, 0) over their sum, with l the level or, if that is lower, the image's own quantile
    ``SURELY_ABOVE``: an image always has a part that stands out most. Every cell of a large defect counts, whatever its
    peak, and nothing below the level does: in a softmax the one asks for a large temperature and the other for a small.

    Args:
        level: finite, in the units of the maps; see `region_level`.

    The other arguments, the result and its invariances, errors and cost are those of `softmax_descriptor`; a map without
    anything above the level (a constant one) counts everywhere alike.

    >>> maps = torch.tensor([[[0.0, 1.0, 3.0]]])
    >>> features = torch.tensor([[[[3.0, 6.0, 9.0]]]])
    >>> excess_descriptor(features, maps, level=0.0, blur_size=1)
    tensor([[2.2500]])
    """
    if not math.isfinite(level):
        raise ConfigError(f"level must be a finite number, got {level}.")
    _check(features, maps)
    return weighted_sum(features, spread(excess_weights(maps, level), blur_size, sigma, center))


def excess_weights(maps: Tensor, level: float) -> Tensor:
    """max(A - l, 0) over its sum, for each map, with l as :func:`excess_descriptor` has it; B x h x w float64."""
    flat = maps.detach().to(torch.float64).flatten(1)
    if len(flat):
        own = flat.quantile(SURELY_ABOVE, dim=1, keepdim=True)
        excess = (flat - own.clamp_max(level)).clamp_min(0)
        total = excess.sum(1, keepdim=True)
        flat = torch.where(total > 0, excess / total.clamp_min(torch.finfo(torch.float64).tiny), 1 / flat.shape[1])
    return flat.reshape(maps.shape)


@torch.no_grad()
def max_descriptor(
    features: Tensor, maps: Tensor, *, blur_size: int = 7, sigma: float = 2.0, center: bool = True
) -> Tensor:
    """The features of the single most anomalous pixel: all the weight on the map's largest value.

    Of equal values the first in row order counts. Arguments, result and errors are those of `softmax_descriptor`.
    """
    _check(features, maps)
    return weighted_sum(features, spread(max_weights(maps), blur_size, sigma, center))


def max_weights(maps: Tensor) -> Tensor:
    """1 at the first of each map's largest values, 0 elsewhere, B x h x w float64."""
    weights = torch.zeros(len(maps), maps[0].numel() if len(maps) else 1, dtype=torch.float64, device=maps.device)
    for row, values in zip(weights, maps, strict=True):
        row[np.argmax(values.detach().cpu().numpy())] = 1.0  # NumPy's is the first; torch does not promise it
    return weights.reshape(maps.shape)


@torch.no_grad()
def average_descriptor(features: Tensor, *, blur_size: int = 7, sigma: float = 2.0) -> Tensor:
    """The plain average of the blurred features: equal weights, no map, not centerd (it would be 0), B x C.

    Arguments and errors are those of `softmax_descriptor`.

    >>> average_descriptor(torch.tensor([[[[1.0, 2.0, 6.0]]]]), blur_size=1)
    tensor([[3.]])
    """
    shape = (features.shape[0], *features.shape[2:]) if features.ndim == 4 else (0, 0, 0)
    maps = torch.zeros(shape, dtype=torch.float64, device=features.device)
    _check(features, maps)
    return weighted_sum(features, spread(average_weights(maps), blur_size, sigma, center=False))


def average_weights(maps: Tensor) -> Tensor:
    """The same everywhere, B x h x w float64."""
    return torch.full_like(maps, 1.0 / max(1, maps[0].numel() if len(maps) else 1), dtype=torch.float64)


def relative_tau(
    maps: Tensor | Sequence[Tensor] | Sequence[npt.NDArray[np.floating]], fraction: float = 0.15, q: float = 0.99
) -> float:
    """A temperature that follows the scale of the set's maps: `fraction` of the q-quantile of their values.

    Scaling all maps scales tau, so that the descriptors stay the same. The published tau is 0.002, for one scale.

    Args:
        maps: the set's maps or a sample of them, h x w each; sizes may differ. Of more than 2^24 values every n-th is
            looked at.
        fraction: finite, > 0.
        q: in [0, 1].

    Returns:
        tau > 0. Where the quantile is not positive the largest value takes its place; where that is not positive
        either (nothing is anomalous anywhere) the answer is 1.

    Raises:
        ConfigError: if fraction or q is out of range.
        InputError: if there is no map, or a value is NaN or infinite.

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


def region_level(maps: Sequence[FloatArray], threshold: float, share: float) -> float:
    """The map value above which cells count in a descriptor: somewhat below the threshold.

    The threshold asks whether an image is anomalous at all; where it is, its defect reaches further.

    Args:
        maps: the set's maps or a sample of them, at least one, finite.
        threshold: on the images' scores.
        share: of the way from what maps typically hold (the median of their medians) to the threshold; 1 = the threshold.

    >>> region_level([np.zeros((3, 3), np.float32), np.full((3, 3), 2.0, np.float32)], 9.0, 0.75)
    7.0
    """
    typical = float(np.median([np.median(one) for one in maps]))
    return typical + share * (threshold - typical)


def region_geometry(values: FloatArray, level: float) -> tuple[float, float, float]:
    """Size, extent and elongation of the anomalous part of one map.

    The map's excess over a level (or over its own 98th percentile, if that is lower: an image always has a part
    that stands out most) is taken as a mass distribution.

    Args:
        values: h x w anomaly map, finite.
        level: map value above which a cell belongs to that part; the pipeline gives the threshold.

    Returns:
        log(1 + effective number of cells), log of the standard deviation along the longer axis in cells, log of the
        ratio of the longer axis to the shorter. The axes are the square roots of the eigenvalues of the mass's second
        moments; 0.3 cells squared are added to both, so that a single cell has an extent. All 0 but the extent where
        nothing stands out.

    Source: moments of regions as in image processing textbooks; not in Ardelean & Weyrich, whose descriptors know the
    appearance of a defect and nothing of its shape.

    >>> [round(one, 2) for one in region_geometry(np.eye(9, dtype=np.float32), 0.5)]
    [2.3, 1.31, 1.91]
    """
    precise = values.astype(np.float64)
    mass = np.maximum(precise - min(level, float(np.quantile(precise, 0.98))), 0.0)
    total, power = mass.sum(), np.square(mass).sum()
    size, moments = 0.0, np.zeros((2, 2))
    if power > 0:
        size = float(np.log1p(total * total / power))
        places = np.stack(np.nonzero(mass)).astype(np.float64)
        weights = mass[mass > 0] / total
        centerd = places - (places @ weights)[:, None]
        moments = (centerd * weights) @ centerd.T
    short, long = np.linalg.eigvalsh(moments) + 0.3
    return size, float(0.5 * np.log(long)), float(0.5 * np.log(long / short))


def with_geometry(
    descriptors: FloatArray, shapes: FloatArray, weight: float, anomalous: npt.NDArray[np.bool_]
) -> FloatArray:
    """Descriptors with :func:`region_geometry` beside them, N x (D + 3).

    Args:
        descriptors: N x D.
        shapes: N x 3. They are standardized over the anomalous images (over all, where fewer than two are) and scaled
            so that the mean length of these is about ``weight`` times that of the descriptors. Anomalous images that are
            much alike are no measure: half the deviation over all images is the least.
        weight: >= 0; with 0 the descriptors come back as they are.
        anomalous: N.
    """
    if weight == 0:
        return descriptors
    seen = shapes[anomalous] if anomalous.sum() > 1 else shapes
    deviation = np.maximum(seen.std(0), 0.5 * shapes.std(0))
    standard = (shapes - seen.mean(0)) / np.where(deviation > 1e-6, deviation, np.inf)
    scale = weight * float(np.linalg.norm(descriptors, axis=1).mean()) / math.sqrt(shapes.shape[1])
    return np.concatenate([descriptors, scale * standard], 1).astype(np.float32)


def spread(weights: Tensor, blur_size: int, sigma: float, center: bool) -> Tensor:
    """What each pixel's features count as they are, if the blurred features of each count by ``weights``; B x h x w float64.

    Args:
        weights: B x h x w, summing to 1 each. blur_size, sigma: of the blur. center: the mean of the features is subtracted.
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
    # one by one: a batch gives the same bits as its images alone
    parts = [down.T @ one @ across for one in weights]
    return torch.stack(parts) if parts else weights


def weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """The sum over pixels of weights (B x h x w) times features (B x C x h x w), in float64; B x C float32."""
    out = torch.empty(features.shape[:2], dtype=torch.float32, device=features.device)
    for index in range(len(features)):
        these = weights[index].to(features.device, torch.float64)
        out[index] = features[index].detach().to(torch.float64).flatten(1) @ these.flatten()
    return out


def _check(features: Tensor, maps: Tensor) -> None:
    if features.ndim != 4 or 0 in features.shape[1:] or not features.is_floating_point():
        raise InputError(f"A descriptor needs floating point features (B, C, h, w), got {tuple(features.shape)}.")
    wanted = (features.shape[0], *features.shape[2:])
    if maps.shape != wanted:
        raise InputError(f"The maps must have shape {wanted}, as the features have; got {tuple(maps.shape)}.")
    if not bool(torch.isfinite(maps).all()) or not bool(torch.isfinite(features).all()):
        raise InputError("The features or the maps hold NaN or infinite values.")
