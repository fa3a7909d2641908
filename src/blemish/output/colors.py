"""Colors that overlays, report and figures share: one per group, and the scale of the heat maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.types import FloatArray

Color = tuple[int, int, int]
"""Red, green and blue in sRGB, each 0..255."""

ByteArray = npt.NDArray[np.uint8]

NORMAL_COLOR: Color = (150, 150, 150)

UNSORTED_COLOR: Color = (130, 60, 200)
"""Color of images that are anomalous but of no type."""

# Hues that Okabe and Ito published as distinguishable with every common form of color blindness. Black is left out
# because it is invisible on dark textures. The hues that differ most come first.
_TYPE_COLORS: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
    (240, 228, 66),
)

_SHADES = ((0, 0.0), (255, 0.5), (0, 0.5))
"""Brightness that the hues are mixed with in each turn, and its share: first unchanged, then lighter, then darker."""


def cluster_color(label: int, normal_label: int | None) -> Color:
    """Color of a group, the same in overlays, report and figures.

    The eighth type has the hue of the first one but is lighter, the fifteenth is darker. From the 22nd type on the
    colors repeat. Negative numbers, which are no type, share one color.

    >>> cluster_color(0, 0) == NORMAL_COLOR, cluster_color(1, 0) == cluster_color(0, None)
    (True, True)
    """
    if label < 0:
        return UNSORTED_COLOR
    if label == normal_label:
        return NORMAL_COLOR
    rank = label - (normal_label is not None and label > normal_label)
    turn, place = divmod(rank, len(_TYPE_COLORS))
    towards, share = _SHADES[turn % len(_SHADES)]
    red, green, blue = (round(part + share * (towards - part)) for part in _TYPE_COLORS[place])
    return red, green, blue


def hex_color(color: Color) -> str:
    """Color in the notation of CSS.

    >>> hex_color((230, 159, 0))
    '#e69f00'
    """
    return "#{:02x}{:02x}{:02x}".format(*color)


def heat_table(steps: int = 256) -> ByteArray:
    """Colors of the heat maps, from nearly black through purple and red to pale yellow.

    The colors are computed in Ottosson's OKLab space: lightness rises in equal steps, the hue turns evenly from 280 to
    465 degrees, and the chroma is a smooth bump that is reduced where sRGB cannot show it. Lightness alone orders the
    values, so the scale survives gray printing and color blindness.

    Args:
        steps: number of colors.

    Returns:
        uint8 steps x 3, sRGB.
    """
    t = np.linspace(0.0, 1.0, steps)
    lightness = 0.16 + 0.80 * t
    hue = np.deg2rad(280.0 + 185.0 * t)
    chroma = 0.03 + 0.19 * np.sin(np.pi * np.clip(t * 0.92 + 0.04, 0, 1)) ** 0.8
    for _ in range(60):  # shrink the chroma of colors outside sRGB; 0.97 ** 60 leaves a sixth
        linear = _oklab_to_linear(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
        outside = (linear.min(axis=1) < -1e-4) | (linear.max(axis=1) > 1 + 1e-4)
        chroma = np.where(outside, chroma * 0.97, chroma)
    linear = np.clip(linear, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def _oklab_to_linear(
    lightness: npt.NDArray[np.float64], a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Linear RGB, N x 3, of N colors in OKLab."""
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
    """Row of :func:`heat_table` for each value.

    Args:
        values: map of any shape.
        low: this value and smaller ones get row 0.
        high: this value and larger ones get the last row.
        steps: number of rows of the table, at most 256.

    Returns:
        uint8, the shape of ``values``.
    """
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-30)
    return np.minimum(np.clip(scaled, 0.0, 1.0) * steps, steps - 1).astype(np.uint8)
