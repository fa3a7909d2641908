"""Large images in overlapping tiles: which tiles, and the pixels of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from blemish.images.decoding.stored import StoredImage, Window
from blemish.types import FloatArray

BAND_PIXELS = 2**23
"""Pixels of a band, one row of tiles, where tiles can be as low as that: features of 84 MB with 160 channels."""

MIRRORED = 192
"""Pixels around a tile that may be mirrored into it where something does not count; more than the network sees."""

SMALLEST_CORE = 128
"""Smallest side, in pixels, of what a tile adds to its image; a side of a tile is at least this and twice the overlap."""


@dataclass(frozen=True)
class Tile:
    """One tile of an image; all are slices of rows and of columns in pixels of the scaled image.

    Attributes:
        core: what the tile adds to the image. The cores of all tiles cover the image once.
        read: the core and the overlap around it, as far as the image reaches.
    """

    core: Window
    read: Window


def plan_tiles(height: int, width: int, side: int, overlap: int, step: int) -> Iterator[list[Tile]]:
    """The tiles of an image, one row of tiles after the other, each from left to right.

    Args:
        height: rows of the image.
        width: columns of the image.
        side: longest side of a tile with its overlap.
        overlap: pixels around the core of a tile that are read as well; a multiple of ``step``.
        step: every tile begins at a multiple of it.

    >>> [[(tile.core[0], tile.read[0]) for tile in row] for row in plan_tiles(300, 64, 256, 64, 16)][1]
    [(slice(128, 256, None), slice(64, 300, None))]
    """
    core = max(SMALLEST_CORE, side - 2 * overlap) // step * step
    low = min(core, max(SMALLEST_CORE, BAND_PIXELS // width) // step * step)
    for top in range(0, height, low):
        yield [
            Tile(
                (slice(top, min(top + low, height)), slice(left, min(left + core, width))),
                (_widened(top, low, overlap, height), _widened(left, core, overlap, width)),
            )
            for left in range(0, width, core)
        ]


def _widened(start: int, length: int, overlap: int, end: int) -> slice:
    return slice(max(0, start - overlap), min(end, start + length + overlap))


class TilePixels:
    """The pixels of one image at its target size, of which a window is in memory at a time.

    Args:
        image: the image.
        size: height and width that it is brought to.
        filled: puts what is inside the region of interest in place of what is outside, in a window; None: no region.
    """

    def __init__(
        self,
        image: StoredImage,
        size: tuple[int, int],
        filled: Callable[[FloatArray, Window], FloatArray] | None = None,
    ) -> None:
        self.size = size
        self._image, self._filled = image, filled

    def read(self, window: Window) -> FloatArray:
        """A window, 3 x h x w float32, contiguous."""
        if self._filled is None:
            return self._pixels(window)
        (top, bottom), (left, right) = (
            (max(0, side.start - MIRRORED), min(length, side.stop + MIRRORED))
            for side, length in zip(window, self.size, strict=True)
        )
        wide = slice(top, bottom), slice(left, right)
        filled = self._filled(self._pixels(wide), wide)
        rows, columns = window
        return np.ascontiguousarray(
            filled[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        )

    def _pixels(self, window: Window) -> FloatArray:
        return np.ascontiguousarray(self._image.resized(*self.size, window).transpose(2, 0, 1))
