"""Parts of a region that valleys of the map separate."""

from __future__ import annotations

import numpy as np

from blemish.types import BoolArray, FloatArray, IntArray


def basins(values: FloatArray, cells: BoolArray, threshold: float, depth: float) -> IntArray:
    """The parts of a region, each around one peak of the map.

    The map is flooded from its peaks downwards. Where two basins meet, they stay apart if the map has fallen by ``depth``
    of the lower peak's excess over the threshold, and are one from there on if not.

    Args:
        values: anomaly map, float32 h x w.
        cells: h x w bool, the region.
        threshold: in units of the map.
        depth: share of the excess, > 0. Larger values leave more in one part.

    Returns:
        h x w int64, number of the part of each cell, from 1 in the order of the peaks, the highest first; 0 outside the
        region.

    Cost: some microseconds per cell of the region.

    >>> row = np.array([[3.0, 1.2, 2.0, 1.9, 2.1]], np.float32)
    >>> basins(row, row > 1, 1.0, 0.6).tolist()
    [[1, 1, 2, 2, 2]]
    """
    width = values.shape[1] + 2
    level = np.pad(values, 1).ravel().tolist()  # a rim of one cell, so that every cell has eight neighbors
    inside = np.flatnonzero(np.pad(cells, 1))
    order = inside[np.argsort([-level[cell] for cell in inside], kind="stable")].tolist()
    steps = [row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1) if row or column]
    toward: dict[int, int] = {}  # from each cell one that is nearer to its peak; peaks lead to themselves

    def peak(cell: int) -> int:
        while toward[cell] != cell:
            toward[cell] = cell = toward[toward[cell]]
        return cell

    for cell in order:
        near = {peak(cell + step) for step in steps if cell + step in toward}
        highest, *others = sorted(near, key=lambda one: (-level[one], one)) or [cell]
        toward[cell] = highest
        for lower in others:
            excess = level[lower] - threshold
            if excess <= 0 or level[lower] - level[cell] < depth * excess:
                toward[lower] = highest
    numbers: dict[int, int] = {}
    out = np.zeros((values.shape[0] + 2) * width, np.int64)
    for cell in order:
        out[cell] = numbers.setdefault(peak(cell), len(numbers) + 1)
    return out.reshape(-1, width)[1:-1, 1:-1]
