"""Filling anomalous regions: what lies within a region that is anomalous for the most part belongs to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from blemish.runtime.spill import Arrays, ArrayStore
from blemish.types import FloatArray

LEVELS = 256
"""Values told apart within a map, so that a window's median is a matter of a small table of counts."""


def filled(values: FloatArray, windows: Iterable[int]) -> FloatArray:
    """The map with every cell raised to what at least half of the cells around it reach.

    Distances see one place at a time. Where wear, light or a stain changes a large area, each of its cells is a little
    unusual and their values scatter; the median of many neighbors does not. Unlike a mean it carries nothing beyond an edge,
    and a defect that is small against the window does not appear in it at all.

    Args:
        values: h x w, finite.
        windows: sides of the squares around a cell, odd, in cells; one after the other, so that gaps that a small one
            closes are closed for the next. At its edge the map is mirrored, edge cells included.

    Returns:
        h x w, float32, nowhere below ``values`` and nowhere above their maximum. The median is that of values rounded down
        to one of ``LEVELS`` of the map's own, with equally many cells at each: exact where it has no more of them.

    Cost: 48 x 64 cells with windows of 7, 13 and 25 3 ms, in proportion to (h + side) (w + side).
    Source: ours, not part of Ardelean & Weyrich; a median filter, and the larger of it and the map.

    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32)
    >>> float(filled(ring, [3]).min())
    1.0
    >>> spot = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    >>> np.array_equal(filled(spot, [3]), spot)
    True
    """
    # scikit-image takes a third of a second to import
    from skimage.filters.rank import median

    out = values.astype(np.float32)
    for side in windows:
        levels = np.unique(out)
        if len(levels) > LEVELS:
            levels = np.unique(np.sort(out, axis=None)[:: -(-out.size // LEVELS)])
        places = (np.searchsorted(levels, out, side="right") - 1).astype(np.uint8)
        reach = side // 2
        medians = median(np.pad(places, reach, mode="symmetric"), np.ones((side, side), bool))
        out = np.maximum(out, levels[medians[reach:-reach, reach:-reach]])
    return out


def filled_maps(maps: Arrays, windows: Sequence[int] | None) -> Arrays:
    """A set's maps, filled, in a store of their own; the same ones where there is no window."""
    if not windows:
        return maps
    store = ArrayStore()
    return store.view(store.keep(filled(one, windows) for one in maps))
