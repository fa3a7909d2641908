"""Constant borders, which are no picture: the bars of a letterbox, and the corners that rotating an image leaves.

A surface that is black or white up to the border of its image must not be taken for one. A border is therefore only what
a program draws and a camera does not see: whole rows or columns, or right triangles in at least three corners, of exactly
one value, with a sharp edge to the picture. Compression blurs that edge, so pixels close to it may differ.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.images.decoding.stored import Window
from blemish.types import FloatArray, IntArray

FEWEST_PIXELS = 8
"""Rows, columns, or length of a leg in pixels from which a constant border counts; less hardly reaches a cell."""

FEWEST_CORNERS = 3
"""A rotation leaves a triangle in each corner. Only one may be missing: a broken piece can end in one by itself."""

BLUR = 16
"""Pixels from a straight edge that compression can change, a JPEG block of halved colors; from a slanted one, half more."""

NEAR, STEADY, CONTRAST = 24 / 255, 3 / 255, 12 / 255
"""Share of white by which single blurred pixels may differ from the border, half of them, and by which the picture must."""

EDGE = 4
"""Pixels behind a border that must differ from it: where a surface fades into black, they do not."""

LEAST_PICTURE = 0.25
"""Share of the image that must remain."""

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Borders:
    """The constant borders of an image, in pixels of the image as stored.

    Attributes:
        top, bottom, left, right: rows and columns without a picture.
        corners: legs of the triangle in each corner of what remains, from the top left clockwise: along the row and along
            the column; 0 where there is none.
    """

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    corners: tuple[tuple[int, int], ...] = ((0, 0),) * 4

    def __bool__(self) -> bool:
        return self != Borders()

    def numbers(self) -> IntArray:
        """The attributes as 12 numbers; :meth:`from_numbers` reads them."""
        *bars, corners = astuple(self)
        return np.array([*bars, *np.ravel(corners)], np.int64)

    @classmethod
    def from_numbers(cls, numbers: IntArray) -> Borders:
        """The borders whose :meth:`numbers` these are."""
        top, bottom, left, right, *legs = (int(one) for one in numbers)
        return cls(top, bottom, left, right, tuple(zip(legs[::2], legs[1::2], strict=True)))

    def picture(self, stored: tuple[int, int], height: int, width: int, window: Window | None = None) -> FloatArray:
        """How much of each cell of a grid over the image shows the picture, from 0 to 1; at slanted edges about.

        Args:
            stored: height and width of the image.
            height: rows of the grid.
            width: columns of the grid.
            window: the part that is wanted; None: all.
        """
        rows, columns = window or (slice(0, height), slice(0, width))
        down, y = _overlaps(stored[0], height, rows, self.top, stored[0] - self.bottom)
        across, x = _overlaps(stored[1], width, columns, self.left, stored[1] - self.right)
        share = down[:, None] * across[None, :]
        cell = max(stored[0] / height, stored[1] / width)
        wide, tall = stored[1] - self.left - self.right, stored[0] - self.top - self.bottom
        for number, (row_leg, column_leg) in enumerate(self.corners):
            if row_leg:
                u = x if number in (0, 3) else wide - x
                v = y if number in (0, 1) else tall - y
                depth = _depth(u[None, :], v[:, None], row_leg, column_leg)
                share *= np.clip(0.5 - depth / cell, 0, 1)
        return share.astype(np.float32)


def find_borders(values: Values, white: float) -> Borders:
    """The constant borders of an image.

    Args:
        values: H x W x C, as stored.
        white: value of white.

    Returns:
        Nothing but zeros where there are none, or where too little picture would be left.

    Cost: some rows and columns of an image without borders.
    """
    height, width = values.shape[:2]
    if min(height, width) < 4 * FEWEST_PIXELS:
        return Borders()
    top, bottom = _bar(values, white), _bar(values[::-1], white)
    if top + bottom >= height:
        return Borders()
    inner = values[top : height - bottom]
    left, right = (_bar(one, white) for one in (inner.transpose(1, 0, 2), inner[:, ::-1].transpose(1, 0, 2)))
    if left + right >= width:
        return Borders()
    inner = inner[:, left : width - right]
    corners = _corners(inner, white)
    area = inner.shape[0] * inner.shape[1] - sum(a * b / 2 for a, b in corners)
    if area < LEAST_PICTURE * height * width:
        return Borders()
    return Borders(top, bottom, left, right, corners)


def _bar(lines: Values, white: float) -> int:
    """Number of leading lines without a picture, L x M x C."""
    value, exact = lines[0, 0], 0
    while exact < len(lines) and (lines[exact] == value).all():
        exact += 1
    if exact < FEWEST_PIXELS:
        return 0
    end = exact
    while end < min(len(lines), exact + BLUR) and _is_blurred(_difference(lines[end], value), white):
        end += 1
    beyond = _difference(lines[end + 1 : end + 1 + EDGE], value)
    return end if beyond.size and np.median(beyond) >= CONTRAST * white else 0


def _is_blurred(difference: FloatArray, white: float) -> bool:
    """Whether a line is the border but for what compression did to it; a gradient of the picture is not."""
    middle, most = np.quantile(difference, [0.5, 0.95])
    return bool(middle <= STEADY * white and most <= NEAR * white)


def _corners(inner: Values, white: float) -> tuple[tuple[int, int], ...]:
    """Legs of the triangle in each corner, from the top left clockwise."""
    views = (inner, inner[:, ::-1], inner[::-1, ::-1], inner[::-1])
    found = [_triangle(view, white) for view in views]
    values = [view[0, 0].tolist() for view, legs in zip(views, found, strict=True) if legs != (0, 0)]
    alike = all(one == values[0] for one in values)
    return tuple(found) if len(values) >= FEWEST_CORNERS and alike else ((0, 0),) * 4


def _triangle(view: Values, white: float) -> tuple[int, int]:
    """Legs of the triangle in the first corner, along the row and along the column; (0, 0) if there is none."""
    offset = FEWEST_PIXELS // 2  # the edge of a rotated picture can miss the first line by a pixel or two
    value = view[0, 0]
    if not ((view[0, :offset] == value).all() and (view[:offset, 0] == value).all()):
        return 0, 0
    x, y = (_run(line, value, white) for line in (view[offset], view[:, offset]))
    if min(x, y) < FEWEST_PIXELS:
        return 0, 0
    # both points lie on the edge: x / row leg + offset / column leg = 1, and the other way around
    inverse = np.linalg.solve([[x, offset + 0.5], [offset + 0.5, y]], [1.0, 1.0])
    if min(inverse) <= 0:
        return 0, 0
    row_leg, column_leg = (round(1 / one) for one in inverse.tolist())
    part = view[:column_leg, :row_leg]
    difference = _difference(part, value)
    depth = _depth(np.arange(part.shape[1]) + 0.5, np.arange(part.shape[0])[:, None] + 0.5, row_leg, column_leg)
    within, beyond = difference[depth > 2], difference[(depth < -EDGE) & (depth > -EDGE - FEWEST_PIXELS)]
    if not (within.size and beyond.size):
        return 0, 0
    middle, most = np.quantile(within, [0.5, 0.97])
    solid = middle == 0 and most <= CONTRAST * white and not difference[depth > 1.5 * BLUR].any()
    return (row_leg, column_leg) if solid and np.median(beyond) >= 2 * CONTRAST * white else (0, 0)


def _run(line: Values, value: Values, white: float) -> int:
    """Leading pixels of a line, M x C, that are about equal to a value."""
    other = _difference(line, value) > NEAR * white / 2
    return int(np.argmax(other)) if other.any() else len(line)


def _difference(pixels: Values, value: Values) -> FloatArray:
    """Largest difference of the channels from a value."""
    return np.abs(pixels.astype(np.float32) - value.astype(np.float32)).max(axis=-1)


def _depth(x: Any, y: Any, row_leg: float, column_leg: float) -> npt.NDArray[np.float64]:
    """Distance of points from the slanted side of a triangle in the corner at (0, 0), positive inside."""
    return (1 - x / row_leg - y / column_leg) / np.hypot(1 / row_leg, 1 / column_leg)


def _overlaps(
    stored: int, count: int, window: slice, start: int, stop: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Along an axis, the share of each cell between two places, and the distance of its center from the first one."""
    edges = np.arange(window.start, window.stop + 1) * (stored / count)
    low, high = edges[:-1], edges[1:]
    share = np.clip(np.minimum(high, stop) - np.maximum(low, start), 0, None) / (high - low)
    return share, (low + high) / 2 - start
