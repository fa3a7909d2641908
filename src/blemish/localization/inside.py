"""Restricting features and maps to the region of interest. Without one, everything is passed on as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np
import torch

from blemish.features.bands import FeatureBands, Features
from blemish.types import BoolArray, FloatArray


def inside_cells(features: Features, inside: BoolArray | None) -> Features:
    """The cells inside, as a map of one row; C x h x w -> C x 1 x M, or the features themselves if there is no region."""
    if inside is None:
        return features
    return (
        features.inside(inside)
        if isinstance(features, FeatureBands)
        else features[:, torch.from_numpy(inside)][:, None]
    )


def inside_values(values: FloatArray, inside: BoolArray | None) -> FloatArray:
    """The values inside, as a map of one row; h x w -> 1 x M, or the map itself if there is no region."""
    return values if inside is None else values[inside][None]


def zero_outside(values: FloatArray, inside: BoolArray | None) -> FloatArray:
    """The map with 0 outside; h x w, or the map itself if there is no region."""
    return values if inside is None else np.where(inside, values, np.float32(0))


class InsideMaps(Sequence[FloatArray]):
    """The values inside of each map of a set; one is read at a time.

    Args:
        maps: N maps, h x w each.
        masks: N masks of the cells inside.
    """

    def __init__(self, maps: Sequence[FloatArray], masks: Sequence[BoolArray]) -> None:
        self._maps, self._masks = maps, masks

    def __len__(self) -> int:
        return len(self._masks)

    @overload
    def __getitem__(self, index: int) -> FloatArray: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[FloatArray]: ...

    def __getitem__(self, index: int | slice) -> FloatArray | Sequence[FloatArray]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return inside_values(self._maps[index], self._masks[index])


def maps_inside(maps: Sequence[FloatArray], masks: Sequence[BoolArray | None]) -> Sequence[FloatArray]:
    """What scores and thresholds are computed from: the values inside of each map, or the maps if there is no region."""
    known = known_masks(masks, (one.shape for one in maps)) if maps else None
    return maps if known is None else InsideMaps(maps, known)


def known_masks(masks: Iterable[BoolArray | None], sizes: Iterable[tuple[int, ...]]) -> list[BoolArray] | None:
    """The mask of each map; None if all cells of all maps count.

    Args:
        masks: of N images; None where all cells count.
        sizes: rows and columns of the N maps.
    """
    known = list(masks)
    if all(mask is None for mask in known):
        return None
    return [np.ones(size, bool) if mask is None else mask for mask, size in zip(known, sizes, strict=True)]
