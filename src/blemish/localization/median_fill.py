"""Filling of anomalous regions: a cell within a mostly anomalous region becomes anomalous as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from blemish.localization.inside import zero_outside
from blemish.runtime.spill import Arrays, ArrayStore
from blemish.types import BoolArray, FloatArray

LEVELS = 256
"""Number of values told apart within a map; the median of a window then comes from a small table of counts."""


def median_filled(values: FloatArray, windows: Iterable[int]) -> FloatArray:
    """The map with every cell raised to the median of its window, for each window size in turn.

    Each map value looks at one place only. Where wear, light or a stain changes a large area, each of its cells is a little
    unusual and their values scatter; the median of many neighbors does not. Unlike a mean, a median carries nothing beyond
    an edge, and a defect that is small compared with the window does not change it at all.

    Args:
        values: h x w, finite.
        windows: sides of the square windows, odd, in cells. They are applied one after the other, so that gaps that a
            small window closes are closed for the next one. Larger windows fill larger gaps. At its edge the map is
            mirrored, with the edge cells repeated.

    Returns:
        h x w, float32, nowhere below ``values`` and nowhere above their maximum. A constant map stays as it is. The median
        is taken of values rounded down to one of `LEVELS` values of the map, with equally many cells at each; it is exact
        where the map has no more different values than that.

    Cost: 3 ms for 48 x 64 cells with windows of 7, 13 and 25; proportional to (h + side) (w + side).

    Source: ours, not part of Ardelean & Weyrich: the maximum of the map and its median filter.

    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32)
    >>> float(median_filled(ring, [3]).min())
    1.0
    >>> spot = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.float32)
    >>> np.array_equal(median_filled(spot, [3]), spot)
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


def median_filled_maps(maps: Arrays, windows: Sequence[int] | None, masks: Sequence[BoolArray] | None = None) -> Arrays:
    """The filled maps of a set, in a store of their own; the same maps if there is no window.

    Args:
        maps: N maps, h x w each.
        windows: see :func:`median_filled`.
        masks: the cells inside the region of interest, N masks; the others stay 0. None = all.
    """
    if not windows:
        return maps
    store = ArrayStore()
    filled = (median_filled(one, windows) for one in maps)
    if masks is not None:
        filled = (zero_outside(one, mask) for one, mask in zip(filled, masks, strict=True))
    return store.view(store.add(filled))
