"""Pictures of anomaly maps: heat maps, and photographs with the anomalous regions outlined."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from blemish.images import Photo, resize
from blemish.output.colors import ByteArray, Color, heat_indices, heat_table
from blemish.regions import upsample_map
from blemish.types import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image


def fit_within(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width, scaled down to a longest side and never up; no side becomes 0.

    >>> fit_within(3000, 2000, 1024), fit_within(50, 40, 1024)
    ((1024, 683), (50, 40))
    """
    factor = min(1.0, longest / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def contours(values: FloatArray, threshold: float) -> list[npt.NDArray[np.float64]]:
    """Closed lines around the regions above a threshold.

    Args:
        values: float32 h x w.
        threshold: value of the map along the lines.

    Returns:
        Arrays K x 2 of (row, column) in pixel centers, within the map. Regions that touch the border are closed along
        it. The list is empty where nothing exceeds the threshold.
    """
    from skimage.measure import find_contours

    peak = float(values.max())
    if not (peak > threshold and math.isfinite(threshold)):
        return []
    rim = min(float(values.min()), threshold - (peak - threshold))  # below the threshold: lines close at the border
    padded = np.pad(values.astype(np.float64), 1, constant_values=rim)
    limits = np.array(values.shape) - 1
    return [np.clip(line - 1, 0, limits) for line in find_contours(padded, threshold)]


def to_bytes(image: FloatArray) -> ByteArray:
    """Image in [0, 1] as rounded uint8."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)


def draw_overlay(image: Photo, values: FloatArray, threshold: float, color: Color | None, longest: int = 1024) -> Image:
    """Photograph with the anomalous regions outlined.

    Args:
        image: float32 H x W x 3 in [0, 1], or by its stored values.
        values: anomaly map of the image at any resolution.
        threshold: the lines enclose the regions above it.
        color: color of the lines, which get a dark rim so that they stand out on any texture; None draws no lines,
            as for normal images.
        longest: longest side of the picture in pixels; smaller images keep their size.

    Returns:
        RGB picture with the aspect of the image.
    """
    from PIL import Image as PilImage
    from PIL import ImageDraw

    height, width = fit_within(image.shape[0], image.shape[1], longest)
    picture = PilImage.fromarray(to_bytes(resize(image, height, width)))
    if color is None:
        return picture
    pen = ImageDraw.Draw(picture)
    thickness = max(2, round(max(height, width) / 220))
    lines = [
        [(float(c), float(r)) for r, c in line] for line in contours(upsample_map(values, height, width), threshold)
    ]
    for shade, extra in (((0, 0, 0), 2), (color, 0)):
        for line in lines:
            pen.line(line, fill=shade, width=thickness + extra, joint="curve")
    return picture


def draw_heat(values: FloatArray, low: float, high: float, height: int, width: int) -> Image:
    """Heat map as a palette picture.

    Args:
        values: anomaly map, float32 h x w.
        low: value of the darkest color.
        high: value of the brightest color; with ``low`` it is one scale for the whole set.
        height: rows of the picture.
        width: columns of the picture.
    """
    from PIL import Image as PilImage

    picture = PilImage.fromarray(heat_indices(upsample_map(values, height, width), low, high))
    picture.putpalette(heat_table().tobytes())
    return picture
