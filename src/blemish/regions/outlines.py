"""Outlines of masks along the edges of pixels, and masks from outlines."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from blemish.types import BoolArray

Ring = npt.NDArray[np.float64]
"""K x 2 corners (x, y) of a closed line, in pixels; the last corner is not the first one again."""

_STEPS = np.array([(0, 1), (1, 0), (0, -1), (-1, 0)])
"""(row, column) of one step in each direction: right, down, left, up."""


def trace_outlines(mask: BoolArray, left: int = 0, top: int = 0) -> tuple[list[Ring], list[Ring]]:
    """Lines around the parts of a mask, along the edges of its pixels.

    Args:
        mask: h x w bool.
        left: x of the mask's first column.
        top: y of the mask's first row.

    Returns:
        The outer rings and the rings around holes. Pixels that touch at a corner belong together (8-connected), and
        holes that touch at a corner are separate, so each part has one outer ring. Outer rings run clockwise on screen,
        holes the other way. A ring has a corner only where its direction changes; filling all rings by
        :func:`fill_rings` gives back the mask.

    Cost: time and memory in proportion to the length of the lines, after one pass over the mask.
    """
    corners, directions, following = _edges(mask)
    outlines: list[Ring] = []
    holes: list[Ring] = []
    seen = np.zeros(len(following), bool)
    successor = following.tolist()
    for first in range(len(successor)):
        if seen[first]:
            continue
        edges = [first]
        while (edge := successor[edges[-1]]) != first:
            edges.append(edge)
        seen[edges] = True
        turns = directions[edges] != np.roll(directions[edges], 1)
        ring = corners[edges][turns][:, ::-1].astype(np.float64) + np.array([left, top])
        (outlines if signed_area(ring) > 0 else holes).append(ring)
    return outlines, holes


def _edges(mask: BoolArray) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Unit edges between the inside and the outside of a mask, with the inside on their right.

    Returns:
        E x 2 start corners (row, column), E directions (0 right, 1 down, 2 left, 3 up), and for each edge the edge that
        follows it.
    """
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    # a pixel's upper edge starts at its upper left corner and runs right, its right edge at the upper right, and so on
    sides = (
        (padded[:-2, 1:-1], (0, 0)),
        (padded[1:-1, 2:], (0, 1)),
        (padded[2:, 1:-1], (1, 1)),
        (padded[1:-1, :-2], (1, 0)),
    )
    starts = [np.argwhere(inside & ~beyond) + np.array(corner) for beyond, corner in sides]
    directions = [np.full(len(places), direction) for direction, places in enumerate(starts)]
    start, direction_of = np.concatenate(starts), np.concatenate(directions)
    stride = mask.shape[1] + 1
    keys = (start[:, 0] * stride + start[:, 1]) * 4 + direction_of
    order = np.argsort(keys)
    start, direction_of, keys = start[order], direction_of[order], keys[order]
    end = start + _STEPS[direction_of]
    following = np.full(len(keys), -1)
    for turn in (1, 0, 3):  # the last one found wins: a left turn joins pixels that touch at a corner
        wanted = (end[:, 0] * stride + end[:, 1]) * 4 + (direction_of + turn) % 4
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        following = np.where(keys[at] == wanted, at, following) if len(keys) else following
    return start, direction_of, following


def signed_area(ring: Ring) -> float:
    """Area inside a ring in square pixels: positive if it runs clockwise on screen, negative otherwise.

    >>> signed_area(np.array([(0, 0), (4, 0), (4, 3), (0, 3)], float))
    12.0
    """
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


def fill_rings(rings: Iterable[Ring], left: int, top: int, width: int, height: int) -> BoolArray:
    """Mask of the pixels whose center lies inside an odd number of rings.

    Args:
        rings: outer rings and holes alike. All their sides are horizontal or vertical, as :func:`trace_outlines` makes
            them, at any scale.
        left: x of the first column of the mask.
        top: y of the first row of the mask.
        width: columns of the mask.
        height: rows of the mask.

    Returns:
        bool height x width.
    """
    crossings = np.zeros((height, width + 1), np.uint8)
    for ring in rings:
        ends = np.roll(ring, -1, axis=0)
        upright = ring[:, 0] == ends[:, 0]
        columns = np.clip(np.ceil(ring[upright, 0] - left - 0.5), 0, width).astype(np.int64)
        rows = np.ceil(np.sort(np.stack([ring[upright, 1], ends[upright, 1]]), axis=0) - top - 0.5)
        first, last = np.clip(rows, 0, height).astype(np.int64)
        for column, begin, stop in zip(columns.tolist(), first.tolist(), last.tolist(), strict=True):
            crossings[begin:stop, column] ^= 1
    return np.bitwise_xor.accumulate(crossings, axis=1)[:, :width].astype(bool)
