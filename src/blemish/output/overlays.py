"""Pictures of maps: at image size, as heat colors, as masks, and as contours drawn on the photograph."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from blemish.images import resize
from blemish.types import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

Color = tuple[int, int, int]
ByteArray = npt.NDArray[np.uint8]

# Eight hues published by Okabe and Ito as distinguishable with every common form of color blindness; black is left
# out (invisible on dark textures) and the order puts the ones that differ most first.
_TYPE_COLORS: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
)
NORMAL_COLOR: Color = (150, 150, 150)

_SHADES = ((0, 0.0), (255, 0.5), (0, 0.5))
"""Brightness that the hues are mixed with in each turn, and its share: as they are, lighter, darker."""


def cluster_color(label: int, normal_label: int | None) -> Color:
    """Color (sRGB) of a cluster, the same in overlays and report.

    The eighth type has the first one's hue again but lighter, the fifteenth darker; from the 22nd on colors repeat.

    >>> cluster_color(0, 0) == NORMAL_COLOR, cluster_color(1, 0) == cluster_color(0, None)
    (True, True)
    """
    if label == normal_label:
        return NORMAL_COLOR
    rank = label - (normal_label is not None and label > normal_label)
    turn, place = divmod(rank, len(_TYPE_COLORS))
    towards, share = _SHADES[turn % len(_SHADES)]
    red, green, blue = (round(part + share * (towards - part)) for part in _TYPE_COLORS[place])
    return red, green, blue


def upsample_map(values: FloatArray, height: int, width: int) -> FloatArray:
    """Anomaly map at another size, bilinear (antialiased where it shrinks).

    Args:
        values: float32 h x w.
        height: rows wanted.
        width: columns wanted.

    Returns:
        float32 height x width within the range of ``values``; a constant map stays constant.
    """
    return resize(np.ascontiguousarray(values, dtype=np.float32)[..., None], height, width)[..., 0]


def mask(values: FloatArray, threshold: float, height: int, width: int) -> ByteArray:
    """255 where the map, brought to height x width, exceeds the threshold, else 0 (uint8)."""
    return np.where(upsample_map(values, height, width) > threshold, np.uint8(255), np.uint8(0))


def fit_within(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width scaled down, never up, to a longest side; no side below 1.

    >>> fit_within(3000, 2000, 1024), fit_within(50, 40, 1024)
    ((1024, 683), (50, 40))
    """
    factor = min(1.0, longest / max(height, width))
    return max(1, round(height * factor)), max(1, round(width * factor))


def contours(values: FloatArray, threshold: float) -> list[npt.NDArray[np.float64]]:
    """Closed lines around the regions above a threshold.

    Args:
        values: float32 h x w.
        threshold: level of the lines.

    Returns:
        Arrays K x 2 of (row, column) in pixel centers, within the map; regions that touch the border are closed along
        it. Empty where nothing exceeds the threshold.
    """
    from skimage.measure import find_contours

    peak = float(values.max())
    if not (peak > threshold and math.isfinite(threshold)):
        return []
    rim = min(float(values.min()), threshold - (peak - threshold))  # below the level: lines close just at the border
    padded = np.pad(values.astype(np.float64), 1, constant_values=rim)
    limits = np.array(values.shape) - 1
    return [np.clip(line - 1, 0, limits) for line in find_contours(padded, threshold)]


def to_bytes(image: FloatArray) -> ByteArray:
    """Image in [0, 1] as rounded uint8."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)


def draw_overlay(
    image: FloatArray, values: FloatArray, threshold: float, color: Color | None, longest: int = 1024
) -> Image:
    """Photograph with the anomalous regions outlined.

    Args:
        image: float32 H x W x 3 in [0, 1].
        values: its anomaly map at any resolution.
        threshold: what the lines go round.
        color: of the lines, which have a dark rim to stand out on any texture; None draws none (normal images).
        longest: longest side of the result in pixels.

    Returns:
        RGB picture, H x W scaled down to ``longest``.
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


def heat_table(steps: int = 256) -> ByteArray:
    """Colors of the heat maps, from near black over purple and red to pale yellow: uint8 steps x 3, sRGB.

    Computed in Ottosson's OKLab space: lightness rises in equal steps, the hue turns evenly from 280 to 465 degrees and
    the chroma is a smooth bump, reduced where sRGB cannot show it. Lightness alone orders the values, so the scale
    survives gray printing and color blindness.
    """
    t = np.linspace(0.0, 1.0, steps)
    lightness = 0.16 + 0.80 * t
    hue = np.deg2rad(280.0 + 185.0 * t)
    chroma = 0.03 + 0.19 * np.sin(np.pi * np.clip(t * 0.92 + 0.04, 0, 1)) ** 0.8
    for _ in range(60):  # shrink the chroma of what lies outside sRGB; 0.97 ** 60 leaves a sixth
        linear = _oklab_to_linear(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
        outside = (linear.min(axis=1) < -1e-4) | (linear.max(axis=1) > 1 + 1e-4)
        chroma = np.where(outside, chroma * 0.97, chroma)
    linear = np.clip(linear, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def _oklab_to_linear(
    lightness: npt.NDArray[np.float64], a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    lms = np.stack(
        [
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=1,
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear: npt.NDArray[np.float64] = lms**3 @ to_rgb.T
    return linear


def heat_indices(values: FloatArray, low: float, high: float, steps: int = 256) -> ByteArray:
    """Row of :func:`heat_table` for each value: ``low`` and less is 0, ``high`` and more the last (uint8)."""
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-30)
    return np.minimum(np.clip(scaled, 0.0, 1.0) * steps, steps - 1).astype(np.uint8)


def draw_heat(values: FloatArray, low: float, high: float, height: int, width: int) -> Image:
    """Heat map as a palette picture of height x width; ``low`` and ``high`` are one scale for the whole set."""
    from PIL import Image as PilImage

    picture = PilImage.fromarray(heat_indices(upsample_map(values, height, width), low, high))
    picture.putpalette(heat_table().tobytes())
    return picture
