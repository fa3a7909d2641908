"""Place and shape of a region, before its type is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from blemish.regions.outlines import Ring
from blemish.regions.region import Region
from blemish.types import BoolArray, IntArray


@dataclass(frozen=True)
class RegionShape:
    """A region as its map shows it. :meth:`region` adds what is known later: image, type and contrast.

    Attributes:
        left, top, width, height, outlines, holes, area, elongation, orientation, score: as in
            :class:`blemish.regions.Region`.
        places: flat positions of the cells of the map that belong to the region, ascending: at least one, all above the
            threshold, and none of another region.
        map_size: rows and columns of the map.
    """

    left: int
    top: int
    width: int
    height: int
    outlines: tuple[Ring, ...]
    holes: tuple[Ring, ...]
    area: int
    elongation: float
    orientation: float
    score: float
    places: IntArray
    map_size: tuple[int, int]

    @property
    def cells(self) -> BoolArray:
        """The cells of the region as h x w bool."""
        cells = np.zeros(self.map_size, bool)
        cells.flat[self.places] = True
        return cells

    def region(self, image: int, label: int, contrast: float | None = None, confidence: float | None = None) -> Region:
        """The region as a row of a result; arguments are the attributes of :class:`blemish.regions.Region`."""
        measured = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("places", "map_size")}
        return Region(image=image, label=label, contrast=contrast, confidence=confidence, **measured)


def principal_axes(mask: BoolArray, pixel_height: float = 1.0, pixel_width: float = 1.0) -> tuple[float, float]:
    """Elongation and orientation of the pixels of a mask.

    Args:
        mask: bool h x w with at least one pixel.
        pixel_height: height of a pixel of the mask, in any unit.
        pixel_width: its width, in the same unit.

    Returns:
        The ratio of the longer axis to the shorter one, >= 1, and the angle of the longer axis in degrees, above -90 and
        at most 90: 0 is horizontal, and positive angles rise to the right. The axes are the square roots of the
        eigenvalues of the second moments of the filled pixels, so a single square pixel has elongation 1 and angle 0.
    """
    area = int(np.count_nonzero(mask))
    rows, columns = (np.arange(side, dtype=np.float64) for side in mask.shape)
    per_row, per_column = mask.sum(1, dtype=np.float64), mask.sum(0, dtype=np.float64)
    row, column = rows @ per_row / area, columns @ per_column / area
    yy = (rows - row) ** 2 @ per_row / area + 1 / 12
    xx = (columns - column) ** 2 @ per_column / area + 1 / 12
    xy = (rows - row) @ (mask @ (columns - column)) / area
    xx, yy, xy = xx * pixel_width**2, yy * pixel_height**2, xy * pixel_width * pixel_height
    half = math.hypot((xx - yy) / 2, xy)
    mean = (xx + yy) / 2
    if half <= 1e-9 * mean:
        return 1.0, 0.0
    angle = -math.degrees(math.atan2(2 * xy, xx - yy)) / 2  # y runs downwards
    return math.sqrt((mean + half) / (mean - half)), 90.0 if angle <= -90 else angle + 0.0
