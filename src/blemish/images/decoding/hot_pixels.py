"""Single pixels far brighter than all around them, which come from a defective sensor element and show no surface."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

_FACTOR = 3.0
"""A pixel is hot if it exceeds the upper third of its 5 x 5 neighborhood by this factor. The optics of a camera spread
even a point of light over several pixels, which keeps a highlight below the factor. A defective pixel at the end of a
16-bit range exceeds a 12-bit image by a factor of 16 and more."""

_HARMFUL = 4.0

_FEW, _SHARE = 64, 1e-4
"""If more pixels of a channel than both the number and the share are hot, they are noise or texture and stay."""


def robust_peak(values: npt.NDArray[Any]) -> float:
    """Highest value of H x W x C integers or floats, apart from hot pixels.

    Hot pixels count unless they are at least four times as bright as everything else, the ratio of two common bit depths:
    below it they do little harm, and bright noise looks like them. Infinite or NaN if the highest value is.
    """
    highest = float(values.max())
    peak = max(_channel_peak(values[..., channel]) for channel in range(values.shape[2]))
    return peak if _HARMFUL * peak <= highest else highest


def without_hot_pixels(values: npt.NDArray[Any], above: float) -> npt.NDArray[Any]:
    """The image with each hot pixel that exceeds a value replaced by the median of its 5 x 5 neighborhood.

    Args:
        values: H x W x C integers or floats.
        above: the white level; hot pixels up to it stay, because a surface may be that bright.

    Returns:
        The input itself if it has no such pixel; otherwise a copy.
    """
    result = values
    for channel in range(values.shape[2]):
        plane = values[..., channel]
        places = np.argwhere(plane > above)
        if len(places) > _most(plane):
            continue
        for row, column in places.tolist():
            window = _window(plane, row, column)
            if _is_hot(float(plane[row, column]), window):
                result = values.copy() if result is values else result
                result[row, column, channel] = window[len(window) // 2]
    return result


def _channel_peak(plane: npt.NDArray[Any]) -> float:
    highest = float(plane.max())
    if not math.isfinite(highest) or highest <= 0 or plane.size < 2:
        return highest
    for place in _brightest(plane):
        row, column = divmod(place, plane.shape[1])
        value = float(plane[row, column])
        if not _is_hot(value, _window(plane, row, column)):
            return value or highest
    return highest


def _brightest(plane: npt.NDArray[Any]) -> Iterator[int]:
    """Flat positions of the brightest pixels, from the brightest on: one more than may be hot."""
    flat = plane.reshape(-1)
    count = min(_most(plane) + 1, flat.size)
    order = np.argpartition(flat, flat.size - count)[flat.size - count :]
    yield from order[np.argsort(flat[order], kind="stable")[::-1]].tolist()


def _most(plane: npt.NDArray[Any]) -> int:
    return int(max(_FEW, _SHARE * plane.size))


def _window(plane: npt.NDArray[Any], row: int, column: int) -> npt.NDArray[Any]:
    """Sorted values of the 5 x 5 neighborhood, as far as it lies inside the image."""
    return np.sort(plane[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3], axis=None)


def _is_hot(value: float, window: npt.NDArray[Any]) -> bool:
    return value > _FACTOR * float(window[-1 - len(window) // 3])
