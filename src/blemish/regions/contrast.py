"""How much darker or brighter regions are than what surrounds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from blemish.images import Photo
from blemish.regions.outlines import fill_rings
from blemish.regions.region import Region
from blemish.regions.shape import RegionShape
from blemish.types import BoolArray

Outlined = Region | RegionShape


def region_mask(region: Outlined) -> BoolArray:
    """The pixels of a region within its box, bool height x width."""
    return fill_rings((*region.outlines, *region.holes), region.left, region.top, region.width, region.height)


def region_contrasts(regions: Sequence[Outlined], photo: Photo, rim: int) -> list[float | None]:
    """Mean gray value of each region minus that of a rim around it, in the order of the regions.

    Args:
        regions: all regions of one image.
        photo: the image, float32 H x W x 3 in [0, 1], or by its stored values.
        rim: width of the rim in pixels, at least 1; about two cells of the map, so that the blurred edge of the map does
            not hide the difference.

    Returns:
        Numbers from -1 to 1, negative where the region is darker; a constant image gives 0. Pixels of other regions do
        not count to the rim. None for a region without a rim, because regions fill its surroundings.

    Cost: in proportion to the boxes of the regions; no copy of the photograph is made.
    """
    return [_contrast(region, regions, photo, rim) for region in regions]


def _contrast(region: Outlined, regions: Sequence[Outlined], photo: Photo, rim: int) -> float | None:
    from scipy.ndimage import maximum_filter

    left, top = max(0, region.left - rim), max(0, region.top - rim)
    right = min(photo.shape[1], region.left + region.width + rim)
    bottom = min(photo.shape[0], region.top + region.height + rim)
    box = left, top, right - left, bottom - top
    inside = fill_rings((*region.outlines, *region.holes), *box)
    around = maximum_filter(inside, size=2 * rim + 1) & ~inside
    for other in regions:
        if other is not region and _meet(other, *box):
            around &= ~fill_rings((*other.outlines, *other.holes), *box)
    if not (inside.any() and around.any()):
        return None
    gray = photo[top:bottom, left:right].mean(axis=2)
    return float(gray[inside].mean(dtype=np.float64) - gray[around].mean(dtype=np.float64))


def _meet(region: Outlined, left: int, top: int, width: int, height: int) -> bool:
    """Whether the box of a region and another box have a pixel in common."""
    return (
        region.left < left + width
        and left < region.left + region.width
        and region.top < top + height
        and top < region.top + region.height
    )
