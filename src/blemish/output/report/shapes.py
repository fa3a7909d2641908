"""Shape of the anomalous regions of a group: area, number and elongation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from blemish.output.overlays import fit_within
from blemish.regions import upsample_map
from blemish.results import Result

MEASURED_SIDE = 256
"""Longest side at which maps are measured, in pixels, with the aspect of the image."""

MAX_MEASURED = 100
"""Images measured per group, spread evenly over its members. Medians need no more."""

MIN_REGION = 0.1
"""Smallest region that counts, as a share of the anomalous pixels of its image. Smaller ones are specks."""


class Shape(BaseModel):
    """Medians over those measured images of a group that have a pixel above the threshold.

    Attributes:
        measured: number of images measured.
        with_region: how many of them have a pixel above the threshold.
        area: share of the image above the threshold, 0..1.
        regions: number of regions (8-connected) with at least a tenth of that area.
        elongation: long axis over short axis of the ellipse of the largest region, >= 1.
    """

    model_config = ConfigDict(frozen=True)

    measured: int
    with_region: int
    area: float
    regions: float
    elongation: float


def measure_group(result: Result, members: Sequence[int]) -> Shape:
    """Median shape of a group, measured on at most ``MAX_MEASURED`` members.

    Args:
        result: the result of a run.
        members: rows of the images of the group.

    Returns:
        The medians; all are zero where no pixel exceeds the threshold.
    """
    count = min(len(members), MAX_MEASURED)
    picked = [members[int(i)] for i in np.linspace(0, len(members) - 1, count)] if count else []
    found = [m for m in (measure_image(result, i) for i in picked) if m is not None]
    if not found:
        return Shape(measured=count, with_region=0, area=0.0, regions=0.0, elongation=0.0)
    area, regions, elongation = (float(np.median(column)) for column in zip(*found, strict=True))
    return Shape(measured=count, with_region=len(found), area=area, regions=regions, elongation=elongation)


def measure_image(result: Result, i: int) -> tuple[float, int, float] | None:
    """Area share, number of regions and elongation of the largest region of image ``i``.

    Returns None where no pixel exceeds the threshold.
    """
    from skimage.measure import label, regionprops

    rows, columns = (int(s) * MEASURED_SIDE for s in result.sizes[i])  # small images are enlarged to the same side
    height, width = fit_within(rows, columns, MEASURED_SIDE)
    above = upsample_map(np.asarray(result.maps[i]), height, width) > result.threshold
    total = int(above.sum())
    if total == 0:
        return None
    regions = sorted(regionprops(label(above, connectivity=2)), key=lambda r: float(r.area), reverse=True)
    large = [r for r in regions if r.area >= MIN_REGION * total]
    longest = float(regions[0].axis_major_length)
    shortest = max(float(regions[0].axis_minor_length), 1.0)  # a line one pixel wide has a short axis of 0
    return total / above.size, max(1, len(large)), max(1.0, longest / shortest)
