"""What the anomalous regions of a type look like, in numbers and in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict

from blemish.output.overlays import fit_within, upsample_map
from blemish.results import Result

MEASURED_SIDE = 256
"""Maps are measured with the aspect of the image and this longest side: enough for a shape, quick for large sets."""

MAX_MEASURED = 100
"""Images measured per group, spread evenly over its members; medians need no more."""

MIN_REGION = 0.1
"""A region counts if it holds at least this share of the anomalous pixels of its image; the rest are specks."""


class Shape(BaseModel):
    """Medians over the measured images of a group that have any pixel above the threshold.

    Attributes:
        measured: images looked at.
        with_region: how many of them have a pixel above the threshold.
        area: share of the image above the threshold, 0..1.
        regions: number of regions (8-connected) with at least a tenth of that area.
        elongation: long over short axis of the largest region's ellipse, >= 1.
    """

    model_config = ConfigDict(frozen=True)

    measured: int
    with_region: int
    area: float
    regions: float
    elongation: float


def measure_group(result: Result, members: Sequence[int]) -> Shape:
    """Measure at most ``MAX_MEASURED`` members of a group; all zero where no pixel exceeds the threshold."""
    count = min(len(members), MAX_MEASURED)
    picked = [members[int(i)] for i in np.linspace(0, len(members) - 1, count)] if count else []
    found = [m for m in (measure_image(result, i) for i in picked) if m is not None]
    if not found:
        return Shape(measured=count, with_region=0, area=0.0, regions=0.0, elongation=0.0)
    area, regions, elongation = (float(np.median(column)) for column in zip(*found, strict=True))
    return Shape(measured=count, with_region=len(found), area=area, regions=regions, elongation=elongation)


def measure_image(result: Result, i: int) -> tuple[float, int, float] | None:
    """Area share, number of regions and elongation of the largest one; None where no pixel exceeds the threshold."""
    from skimage.measure import label, regionprops

    rows, columns = (int(s) * MEASURED_SIDE for s in result.sizes[i])  # enlarged too where the image is smaller
    height, width = fit_within(rows, columns, MEASURED_SIDE)
    above = upsample_map(np.asarray(result.maps[i]), height, width) > result.threshold
    total = int(above.sum())
    if total == 0:
        return None
    regions = sorted(regionprops(label(above, connectivity=2)), key=lambda r: float(r.area), reverse=True)
    large = [r for r in regions if r.area >= MIN_REGION * total]
    longest = float(regions[0].axis_major_length)
    shortest = max(float(regions[0].axis_minor_length), 1.0)  # a line one pixel wide has an axis of 0
    return total / above.size, max(1, len(large)), max(1.0, longest / shortest)


def percent(share: float) -> str:
    """Share as text with one decimal, cut rather than rounded: only all is 100 %, only nothing is 0 %.

    >>> percent(0.99996), percent(1.0), percent(0.00001), percent(0.0), percent(0.25)
    ('99.9 %', '100 %', '< 0.1 %', '0 %', '25.0 %')
    """
    if share <= 0:
        return "0 %"
    if share >= 1:
        return "100 %"
    tenths = int(share * 1000 + 1e-9)
    return f"{min(tenths, 999) / 10:.1f} %" if tenths else "< 0.1 %"


def in_words(shape: Shape) -> str:
    """One line for a person: form, number of regions, area.

    >>> in_words(Shape(measured=9, with_region=9, area=0.008, regions=1, elongation=6.0))
    'Long and thin, one region, covers 0.8 % of the image.'
    """
    if shape.with_region == 0:
        return "No pixel lies above the threshold."
    form = "Long and thin" if shape.elongation >= 3 else "Elongated" if shape.elongation >= 1.7 else "Compact"
    number = round(shape.regions)
    spread = "one region" if number <= 1 else f"{number} regions" if number <= 4 else f"scattered over {number} regions"
    if shape.area >= 0.5:
        form = "Nearly everywhere" if shape.area >= 0.9 else "Large"
    text = f"{form}, {spread}, covers {percent(shape.area).replace('<', 'less than')} of the image."
    if shape.with_region < shape.measured:
        text += f" {shape.measured - shape.with_region} of {shape.measured} images measured have no such region."
    return text


def contrast_words(shapes: dict[str, Shape]) -> dict[str, str]:
    """What sets each type apart from the other types, where it is at least half as much again; else an empty text.

    Args:
        shapes: name of the type -> its shape, anomalous types only.
    """
    sayings = (
        ("area", "largest area of all types", "smallest area of all types"),
        ("elongation", "most elongated of all types", ""),
        ("regions", "most regions of all types", ""),
    )
    words: dict[str, list[str]] = {name: [] for name in shapes}
    known = {name: s for name, s in shapes.items() if s.with_region}
    for attribute, most, least in sayings if len(known) > 1 else ():
        order = sorted(known, key=lambda name: (float(getattr(known[name], attribute)), name))
        values = [float(getattr(known[name], attribute)) for name in order]
        if values[-1] >= 1.5 * values[-2]:
            words[order[-1]].append(most)
        if least and values[1] >= 1.5 * values[0]:
            words[order[0]].append(least)
    return {name: ", ".join(said).capitalize() + "." if said else "" for name, said in words.items()}
