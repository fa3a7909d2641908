"""Outlines as polygons with few corners."""

from __future__ import annotations

import numpy as np

from blemish.regions import Ring, signed_area


def simplified(ring: Ring, most: int) -> Ring:
    """A ring with at most ``most`` corners, which are corners of the ring.

    The Douglas-Peucker method drops corners that lie close to the line between their neighbors; the distance is doubled,
    from half a pixel, until few enough are left. A ring that has no more corners than that stays as it is.

    Args:
        ring: K x 2.
        most: at least 3.

    Returns:
        k x 2, 3 <= k <= ``most``, around an area above 0. If the method leaves none, it is the box of the ring.
    """
    from skimage.measure import approximate_polygon

    if len(ring) <= most:
        return ring
    closed, tolerance = np.concatenate([ring, ring[:1]]), 0.5
    found: Ring = ring
    while len(found) > most:
        found = approximate_polygon(closed, tolerance)[:-1]
        tolerance *= 2
    if len(found) >= 3 and signed_area(found) != 0:
        return found
    (x0, y0), (x1, y1) = ring.min(0), ring.max(0)
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
