"""What anomalous regions look like: size, shape, place, brightness and color, measured at the size of a thumbnail."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blemish.output.report.data import Look
from blemish.regions import Region
from blemish.types import BoolArray, FloatArray

MIN_REGION = 0.1
"""Smallest region that counts, as a share of the anomalous pixels of its image. Smaller ones are specks."""

PARTS = 0.1
"""Share of the pixels of a region that is a part of it with a brightness of its own."""

OTHER_BRIGHTNESS = 6.0
"""CIELAB lightness by which a part has to lie beyond the rim: clearly visible beside it."""

RIM = 6
"""Width in pixels of the rim that brightness and color are compared with, after a gap of half of it."""


def measure_look(
    values: FloatArray, threshold: float, photo: FloatArray | None, regions: Sequence[Region], size: tuple[int, int]
) -> Look | None:
    """Look of one image.

    Args:
        values: h x w, the anomaly map at the size of the thumbnail.
        threshold: pixels above it are anomalous. Brightness and color are those of the pixels in the upper half of what
            exceeds it, because outlines enclose some normal texture around a defect.
        photo: h x w x 3 in [0, 1], the thumbnail; None leaves brightness and color unknown.
        regions: the regions of the image, if they are known; size and shape are theirs then.
        size: height and width of the image.

    Returns:
        None where there is neither a region nor an anomalous pixel.
    """
    above = values > threshold
    if regions:
        area, count, elongation, border = _from_regions(regions, size)
    elif above.any():
        area, count, elongation, border = _from_mask(above)
    else:
        return None
    core = values > _middle(values, threshold)
    lightness, mixed, color = (None, None, None) if photo is None else _difference(photo, above, core)
    return Look(
        area=round(area, 6),
        regions=count,
        elongation=round(elongation, 3),
        border=border,
        lightness=lightness,
        mixed=mixed,
        color=color,
    )


def median_look(looks: Sequence[Look]) -> Look | None:
    """Medians over the images of a group; None for no image. ``border`` and ``mixed`` are true for at least half of them."""
    if not looks:
        return None

    def median(values: list[float]) -> float:
        return round(float(np.median(values)), 6)

    lightness = [one.lightness for one in looks if one.lightness is not None]
    mixed = [one.mixed for one in looks if one.mixed is not None]
    color = [one.color for one in looks if one.color is not None]
    return Look(
        area=median([one.area for one in looks]),
        regions=round(median([one.regions for one in looks])),
        elongation=median([one.elongation for one in looks]),
        border=sum(one.border for one in looks) * 2 >= len(looks),
        lightness=median(lightness) if lightness else None,
        mixed=sum(mixed) * 2 >= len(mixed) if mixed else None,
        color=median(color) if color else None,
    )


def _from_regions(regions: Sequence[Region], size: tuple[int, int]) -> tuple[float, int, float, bool]:
    height, width = size
    total = sum(one.area for one in regions)
    largest = max(regions, key=lambda one: one.area)
    count = sum(one.area >= MIN_REGION * total for one in regions)
    border = any(
        one.left <= 0 or one.top <= 0 or one.left + one.width >= width or one.top + one.height >= height
        for one in regions
    )
    return min(1.0, total / (height * width)), max(1, count), max(1.0, largest.elongation), border


def _from_mask(above: BoolArray) -> tuple[float, int, float, bool]:
    from skimage.measure import label, regionprops

    total = int(above.sum())
    parts = sorted(regionprops(label(above, connectivity=2)), key=lambda part: float(part.area), reverse=True)
    count = sum(part.area >= MIN_REGION * total for part in parts)
    longest = float(parts[0].axis_major_length)
    shortest = max(float(parts[0].axis_minor_length), 1.0)  # a line one pixel wide has a short axis of 0
    border = bool(above[0].any() or above[-1].any() or above[:, 0].any() or above[:, -1].any())
    return total / above.size, max(1, count), max(1.0, longest / shortest), border


def _middle(values: FloatArray, threshold: float) -> float:
    """Halfway between the threshold and the highest value."""
    return (threshold + max(threshold, float(values.max()))) / 2 if np.isfinite(threshold) else threshold


def _difference(
    photo: FloatArray, above: BoolArray, core: BoolArray
) -> tuple[float, bool, float] | tuple[None, None, None]:
    """How the most anomalous pixels differ from a rim around all of them; None where either is empty.

    Returns:
        Difference in lightness, whether there are darker and brighter parts, difference in color.
    """
    from scipy.ndimage import binary_dilation
    from skimage.color import rgb2lab

    gap = binary_dilation(above, iterations=RIM // 2)
    rim = binary_dilation(gap, iterations=RIM) & ~gap
    if not core.any() or not rim.any():
        return None, None, None
    pair: npt.NDArray[np.float64] = np.stack([photo[core].mean(axis=0), photo[rim].mean(axis=0)])[None]
    inside, around = rgb2lab(pair.astype(np.float64))[0]
    ends = [np.quantile(rgb2lab(photo[where].astype(np.float64))[:, 0], [PARTS, 1 - PARTS]) for where in (core, rim)]
    darker, brighter = (ends[1][0] - ends[0][0], ends[0][1] - ends[1][1])
    mixed = bool(min(darker, brighter) > OTHER_BRIGHTNESS)
    return round(float(inside[0] - around[0]), 2), mixed, round(float(np.hypot(*(inside[1:] - around[1:]))), 2)
