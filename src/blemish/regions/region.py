"""One anomalous region of one image."""

from __future__ import annotations

from dataclasses import dataclass

from blemish.regions.outlines import Ring


@dataclass(frozen=True)
class Region:
    """A connected part of an image whose map lies above the threshold.

    All lengths are in pixels of the image, after EXIF orientation; x runs to the right and y downwards, and the corner of
    the first pixel is (0, 0).

    Attributes:
        image: row of the image in the result, >= 0.
        left, top, width, height: smallest box of whole pixels around the region.
        outlines: outer rings; a region has several only where a gap of a cell was bridged.
        holes: rings around parts that do not belong to the region.
        area: number of pixels.
        elongation: longer axis divided by the shorter one, >= 1.
        orientation: angle of the longer axis in degrees, -90 < angle <= 90; 0 is horizontal, 90 vertical, and positive
            angles rise to the right.
        contrast: mean gray value inside minus that of a rim around the region, -1 to 1; negative is darker. None if the
            pixels were not at hand.
        score: highest value of the map in the region, in units of the map.
        label: number of its type among the result's groups; -1 is unlike every type.
        confidence: probability of the type, 0 to 1; None if it is not known.
    """

    image: int
    left: int
    top: int
    width: int
    height: int
    outlines: tuple[Ring, ...]
    holes: tuple[Ring, ...]
    area: int
    elongation: float
    orientation: float
    contrast: float | None
    score: float
    label: int
    confidence: float | None = None
