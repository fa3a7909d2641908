"""Anomaly maps from distances: how far each feature vector lies from the nearest vectors of the other images."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import torch
from torch import Tensor

BLOCK = 512
"""Cells whose distances are in memory at a time (19 MB of 9 216 patches: beyond 32 MB glibc asks the system every time)."""

DENSITY_QUANTILE = 0.1
"""Quantile, over the other images, of the distance to each image's nearest patch that measures how isolated a patch is."""

DENSITY_FLOOR = 0.1
"""Least isolation that counts, as a multiple of the median: patches that several images share to the last bit have none."""


@dataclass(frozen=True)
class MemoryBank:
    """Patches (feature vectors) sampled from some images of the set, to which all cells are compared.

    Attributes:
        patches: M images x S patches x C, float32.
        image_ids: M, id of the image that each row came from, so that no image is compared with itself; copies of an
            image have one id.
        image_quantile: which of the M distances, in ascending order, counts; in [0, 1]. A value above 0 keeps a few
            images that share a defect from making it normal.
        density_weights: M x S factors on the distances to each patch, see :meth:`with_density_normalization`; None: 1.
    """

    patches: Tensor
    image_ids: tuple[int, ...]
    image_quantile: float = 0.03
    density_weights: Tensor | None = None

    @functools.cached_property
    def _columns(self) -> tuple[Tensor, Tensor]:
        """All patches as columns, C x (S M), and their squared lengths, S M; minima run along the images of a patch."""
        flat = self.patches.transpose(0, 1).flatten(0, 1)
        return flat.T.contiguous(), flat.square().sum(1)

    @torch.no_grad()
    def distance(self, features: Tensor, image_id: int | None = None) -> Tensor:
        """Euclidean distance of each cell to its nearest patch in the other images, at the quantile over these images.

        Args:
            features: C x h x w, float32, normalized as the patches are; on any device.
            image_id: id of this image; its own patches are left out. None: all patches count.

        Returns:
            h x w, float32, >= 0, on the device of the patches; zeros if there is no other image to compare with.

        Cost: h w M S C multiply-adds, 4 `BLOCK` M S bytes.

        Source: mutual scoring of unlabeled images (MuSc, Li et al. 2024) on a bounded sample, with a quantile in place of
        its interval mean; not part of Ardelean & Weyrich.
        """
        height, width = features.shape[1:]
        keep = torch.tensor([one != image_id for one in self.image_ids], device=self.patches.device)
        if not keep.any():
            return torch.zeros(height, width, device=self.patches.device)
        columns, squares = self._columns
        cells = features.flatten(1).T.contiguous().to(self.patches.device)  # P x C
        buffer = torch.empty(min(BLOCK, len(cells)), len(squares), device=self.patches.device)
        parts = [
            self._nearest(self._products(block, columns, squares, buffer[: len(block)]), keep)
            for block in cells.split(BLOCK)
        ]
        own_squares = cells.square().sum(1)
        chosen = torch.cat([part for part, _ in parts]) + own_squares
        # The expansion |a|^2 - 2ab + |b|^2 leaves rounding of about 1e-6 |a|^2: equal vectors must have distance 0.
        found = torch.where(chosen > 4e-6 * own_squares, chosen.clamp_min(0).sqrt(), 0.0)
        if self.density_weights is not None:
            found = found * self.density_weights.T.flatten()[torch.cat([column for _, column in parts])]
        return found.unflatten(0, (height, width))

    def _products(self, cells: Tensor, columns: Tensor, squares: Tensor, out: Tensor) -> Tensor:
        """|b|^2 - 2 a b of P cells a and all patches b, into ``out``, P x (S M)."""
        return torch.addmm(squares, cells, columns, alpha=-2, out=out)

    def _nearest(self, products: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """Value and column of the patch that counts, P each, from |b|^2 - 2 a b of P cells and all patches."""
        images, each = self.patches.shape[:2]
        products = products.unflatten(1, (each, images))
        nearest = products.amin(1)[:, keep]  # P x M
        rank = int(self.image_quantile * (nearest.shape[1] - 1))
        values, places = nearest.topk(rank + 1, dim=1, largest=False)
        if self.density_weights is None:
            return values[:, -1], places[:, -1]  # nobody uses the column in this case
        image = keep.nonzero().flatten()[places[:, -1]]
        row = products.gather(2, image[:, None, None].expand(-1, each, 1)).argmin(1).flatten()
        return values[:, -1], row * images + image

    @torch.no_grad()
    def with_density_normalization(self, exponent: float) -> MemoryBank:
        """A bank whose distances are measured in units of how isolated each patch is.

        Rare but normal texture (a vein, a glossy spot, coarse grain) has few patches like it in a bounded sample, so that
        its cells are far from all patches. The patches that are nearest to it are equally far from each other. A distance
        to patch b is therefore multiplied by (median s / s_b)^exponent, where s_b is the distance of b to the other images
        at `DENSITY_QUANTILE`.

        Args:
            exponent: strength of the normalization, from 0 (off) to 1 (full).

        Returns:
            A bank with ``density_weights``; this bank itself if the exponent is 0 or there is nothing to compare.

        Cost: one :meth:`distance` of M S cells.

        Source: the local outlier factor (Breunig et al. 2000), with one reference patch per cell and an exponent; not
        part of Ardelean & Weyrich.
        """
        if not exponent:
            return self
        plain = MemoryBank(self.patches, self.image_ids, DENSITY_QUANTILE)
        isolation = torch.stack(
            [plain.distance(rows.T[:, None], own)[0] for rows, own in zip(self.patches, self.image_ids, strict=True)]
        )
        middle = float(isolation.median())
        if not middle > 0:
            return self
        return replace(self, density_weights=(isolation / middle).clamp_min(DENSITY_FLOOR) ** -exponent)
