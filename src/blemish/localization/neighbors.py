"""From features to anomaly maps: distance to the rest of the set, and border calibration."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.types import FloatArray

BORDER_DEPTH = 4
"""Cells from the edge whose typical level is compared with the interior's."""

BLOCK = 512
"""Cells whose distances are in memory at a time (19 MB of 9 216 vectors: beyond 32 MB glibc asks the system every time)."""

SPREAD_QUANTILE = 0.1
"""How far a vector lies from the rest of the set is the distance at this quantile over the other images, nearest first."""

SPREAD_FLOOR = 0.1
"""Least spread that counts, in parts of the median: vectors that several images share to the last bit are no sharper."""


@dataclass(frozen=True)
class NeighborModel:
    """Feature vectors sampled from some images of the set: what the rest of the set looks like.

    Attributes:
        vectors: M images x S vectors x C, float32.
        owners: M, index of the image that each row came from, so that no image is compared with itself; copies have one.
        quantile: which of the M distances, in ascending order, counts; above 0 a few images that share a defect do not
            make it normal.
        gains: M x S, what a distance to each vector is multiplied by, see :meth:`evened`; None: 1.
    """

    vectors: Tensor
    owners: tuple[int, ...]
    quantile: float = 0.03
    gains: Tensor | None = None

    @functools.cached_property
    def _bank(self) -> tuple[Tensor, Tensor]:
        """All vectors as columns, C x S M, and their squared lengths, S M; images side by side, which minima run along."""
        flat = self.vectors.transpose(0, 1).flatten(0, 1)
        return flat.T.contiguous(), flat.square().sum(1)

    @torch.no_grad()
    def distance(self, features: Tensor, owner: int | None = None) -> Tensor:
        """Euclidean distance of each cell to its nearest vector in the other images, at the quantile over these images.

        Args:
            features: C x h x w, float32, scaled as the vectors are.
            owner: index of this image in the set; its own vectors are left out.

        Returns:
            h x w, float32, >= 0. Zeros where there is no other image to compare with.

        Cost: h w M S C multiply-adds, 4 ``BLOCK`` M S bytes.
        Source: mutual scoring of unlabeled images (MuSc, Li et al. 2024) on a bounded sample, with a quantile in place of
        its interval mean; not part of Ardelean & Weyrich.
        """
        height, width = features.shape[1:]
        keep = torch.tensor([own != owner for own in self.owners])
        if not keep.any():
            return torch.zeros(height, width)
        columns, lengths = self._bank
        cells = features.flatten(1).T.contiguous()  # P x C
        room = torch.empty(min(BLOCK, len(cells)), len(lengths))
        parts = [
            self._nearest(torch.addmm(lengths, block, columns, alpha=-2, out=room[: len(block)]), keep)
            for block in cells.split(BLOCK)
        ]
        squares = cells.square().sum(1)
        chosen = torch.cat([part for part, _ in parts]) + squares
        # the expansion |a|^2 - 2ab + |b|^2 leaves rounding of about 1e-6 |a|^2: equal vectors must come out as equal
        found = torch.where(chosen > 4e-6 * squares, chosen.clamp_min(0).sqrt(), 0.0)
        if self.gains is not None:
            found = found * self.gains.T.flatten()[torch.cat([which for _, which in parts])]
        return found.unflatten(0, (height, width))

    def _nearest(self, products: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """From |b|^2 - 2 a b of P cells and all vectors: that of the vector that counts, and its column; P each."""
        images, each = self.vectors.shape[:2]
        products = products.unflatten(1, (each, images))
        nearest = products.amin(1)[:, keep]  # P x M
        rank = int(self.quantile * (nearest.shape[1] - 1))
        values, places = nearest.topk(rank + 1, dim=1, largest=False)
        if self.gains is None:
            return values[:, -1], places[:, -1]  # the place is not asked for
        image = keep.nonzero().flatten()[places[:, -1]]
        row = products.gather(2, image[:, None, None].expand(-1, each, 1)).argmin(1).flatten()
        return values[:, -1], row * images + image

    @torch.no_grad()
    def evened(self, exponent: float) -> NeighborModel:
        """The same with distances in units of how far each vector itself lies from the rest of the set.

        Rare but sound material (a vein, a glossy spot, coarse grain) has few like it in a bounded sample, so that every
        cell of it is far from all vectors; the vectors it is nearest to are as far from each other. A distance to vector b
        is multiplied by (median s / s_b)^exponent, s_b the distance of b to the other images at `SPREAD_QUANTILE`.

        Args:
            exponent: 0 (nothing changes) to 1 (the ratio itself).

        Returns:
            A model with ``gains``, or this one where there is nothing to compare or the exponent is 0. Cost: one
            :meth:`distance` of M S cells.

        Source: the local outlier factor (Breunig et al. 2000), with one reference vector per cell and a power in between;
        not part of Ardelean & Weyrich.
        """
        if not exponent:
            return self
        plain = NeighborModel(self.vectors, self.owners, SPREAD_QUANTILE)
        spreads = torch.stack(
            [plain.distance(rows.T[:, None], own)[0] for rows, own in zip(self.vectors, self.owners, strict=True)]
        )
        middle = float(spreads.median())
        if not middle > 0:
            return self
        return replace(self, gains=(spreads / middle).clamp_min(SPREAD_FLOOR) ** -exponent)


@torch.no_grad()
def pca_residual(features: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """What the principal components do not explain: F - m - V V^T (F - m), C x h x w; ``components`` is D x C, orthonormal."""
    centerd = features.flatten(1) - mean[:, None]
    return (centerd - components.T @ (components @ centerd)).unflatten(1, features.shape[1:])


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
