"""From features to anomaly maps: distance to the rest of the set, border calibration, and a threshold without labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import InputError
from blemish.results import FloatArray

BORDER_DEPTH = 4
"""Cells from the edge whose typical level is compared with the interior's."""

MIN_SEPARATION = 1.1
"""Images are called anomalous only if the upper group's median score exceeds the lower group's by this factor."""


@dataclass(frozen=True)
class NeighbourModel:
    """Feature vectors sampled from some images of the set: what the rest of the set looks like.

    Attributes:
        vectors: M images x S vectors x C, float32.
        owners: M, index of the image that each row came from, so that no image is compared with itself.
        quantile: which of the M distances, in ascending order, counts; above 0 a few images that share a defect do not
            make it normal.
    """

    vectors: Tensor
    owners: tuple[int, ...]
    quantile: float = 0.03

    @torch.no_grad()
    def distance(self, features: Tensor, owner: int | None = None) -> Tensor:
        """Euclidean distance of each cell to its nearest vector in the other images, at the quantile over these images.

        Args:
            features: C x h x w, float32, scaled as the vectors are.
            owner: index of this image in the set; its own vectors are left out.

        Returns:
            h x w, float32, >= 0. Zeros where there is no other image to compare with.

        Cost: h w M S C multiply-adds, 4 h w M S bytes.
        Source: mutual scoring of unlabelled images (MuSc, Li et al. 2024) on a bounded sample, with a quantile in place of
        its interval mean; not part of Ardelean & Weyrich.
        """
        channels, height, width = features.shape
        keep = [row for row, own in enumerate(self.owners) if own != owner]
        if not keep:
            return torch.zeros(height, width)
        bank = self.vectors[keep]
        cells = features.flatten(1).T  # P x C
        squared = (bank.square().sum(2).flatten() - 2 * cells @ bank.reshape(-1, channels).T).unflatten(
            1, (len(keep), bank.shape[1])
        )
        nearest = squared.amin(2) + cells.square().sum(1, keepdim=True)  # P x M
        rank = int(self.quantile * (len(keep) - 1))
        chosen = nearest.topk(rank + 1, dim=1, largest=False).values[:, -1]
        # the expansion |a|^2 - 2ab + |b|^2 leaves rounding of about 1e-6 |a|^2: equal vectors must come out as equal
        floor = 4e-6 * (1 + cells.square().sum(1))
        return torch.where(chosen > floor, chosen.clamp_min(0).sqrt(), 0.0).unflatten(0, (height, width))


@torch.no_grad()
def pca_residual(features: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """What the principal components do not explain: F - m - V V^T (F - m), C x h x w; ``components`` is D x C, orthonormal."""
    centred = features.flatten(1) - mean[:, None]
    return (centred - components.T @ (components @ centred)).unflatten(1, features.shape[1:])


def edge_distance(height: int, width: int, depth: int = BORDER_DEPTH) -> npt.NDArray[np.int64]:
    """Cells between each cell and the nearest edge, at most ``depth``.

    >>> edge_distance(3, 3, depth=4).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    rows = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
    columns = np.minimum(np.arange(width), np.arange(width)[::-1])[None]
    return np.minimum(np.minimum(rows, columns), depth)


@dataclass(frozen=True)
class BorderCalibration:
    """How far values near the border lie above the interior's throughout the set; see :func:`fit_border`."""

    median: tuple[float, ...]
    spread: tuple[float, ...]

    def apply(self, values: FloatArray) -> FloatArray:
        """The map with its border brought down to the interior's level; a border that is not higher stays as it is."""
        distance, out = edge_distance(*values.shape), values.copy()
        inner_median, inner_spread = self.median[-1], self.spread[-1]
        inner_upper = inner_median + inner_spread
        for ring in range(BORDER_DEPTH):
            here, median, spread = distance == ring, self.median[ring], self.spread[ring]
            if median > inner_median:
                gain = min(1.0, inner_spread / spread) if spread > 0 else 1.0
                out[here] = inner_median + (values[here] - median) * gain
            elif median + spread > inner_upper > 0:
                out[here] = values[here] * (inner_upper / (median + spread))
        return np.maximum(out, 0.0).astype(np.float32)


def fit_border(maps: Sequence[FloatArray]) -> BorderCalibration:
    """Median and upper spread (90th percentile - median) of map values for each distance to the edge, over a sample of maps.

    Padding, vignetting and cut edges make the rim of every image look unusual. The paper zeroes five cells and so loses
    the defects there; we compare the rim with the rim of the other images instead (a deviation).
    """
    values = np.concatenate([one.ravel() for one in maps])
    rings = np.concatenate([edge_distance(*one.shape).ravel() for one in maps])
    inner = values[rings == BORDER_DEPTH]
    groups = [values[rings == ring] for ring in range(BORDER_DEPTH)] + [inner if inner.size else values]
    groups = [group if group.size else groups[-1] for group in groups]
    medians = tuple(float(np.median(group)) for group in groups)
    spreads = tuple(float(np.quantile(group, 0.9)) - median for group, median in zip(groups, medians, strict=True))
    return BorderCalibration(medians, spreads)


def split_scores(scores: FloatArray) -> float:
    """Threshold on image scores between normal and anomalous, without labels.

    Otsu's criterion, exact over all cuts of the sorted logarithms. Nothing is anomalous if the two groups are hardly
    apart (``MIN_SEPARATION``): then the answer is the largest score.

    Args:
        scores: N, >= 0.

    Returns:
        Threshold; scores above it are anomalous.

    Raises:
        InputError: no score, or one that is NaN or infinite.

    >>> split_scores(np.array([1.0, 1.1, 0.9, 5.0, 6.0], np.float32)) < 5
    True
    >>> split_scores(np.ones(4, np.float32))
    1.0
    """
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError("the threshold needs at least one score, and all of them finite")
    ordered = np.sort(scores.astype(np.float64))
    if len(ordered) < 2 or ordered[-1] <= 0:
        return float(ordered[-1])
    logs = np.log(np.maximum(ordered, 1e-3 * ordered[-1]))
    n = len(logs)
    low = np.arange(1, n)
    sums = np.cumsum(logs)
    below, above = sums[:-1] / low, (sums[-1] - sums[:-1]) / (n - low)
    between = low * (n - low) * (above - below) ** 2
    between[ordered[1:] == ordered[:-1]] = -1.0
    cut = int(between.argmax())
    lower, upper = ordered[: cut + 1], ordered[cut + 1 :]
    if between[cut] <= 0 or np.median(upper) < MIN_SEPARATION * np.median(lower):
        return float(ordered[-1])
    return float((lower[-1] + upper[0]) / 2)
