"""Images too large for float RGB: their stored values stay as they are, and windows become float RGB when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from blemish.types import BoolArray, FloatArray

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BAND_BYTES = 64 * 2**20
"""Bytes of float values in memory at a time while an image is resized."""

Window = tuple[slice, slice]
"""Rows and columns, each with a start and a stop."""


class StoredImage:
    """An image by its stored values; parts and smaller copies of it are float RGB in [0, 1].

    Args:
        values: H x W x (1 or 3), integers, booleans or floating point.
        white: stored value that becomes 1; higher ones are clipped.
        transparent: H x W bool, pixels with an alpha of 0; None: there is no alpha channel.
    """

    def __init__(self, values: npt.NDArray[np.generic], white: float, transparent: BoolArray | None = None) -> None:
        self.values, self.white, self.transparent = values, white, transparent

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, and 3."""
        return self.values.shape[0], self.values.shape[1], 3

    def __getitem__(self, window: Window) -> FloatArray:
        """A part of the image, h x w x 3 float32, contiguous."""
        part = self._floats(*window)
        return np.repeat(part, 3, axis=2) if part.shape[2] == 1 else part

    def resized(self, height: int, width: int, window: Window | None = None) -> FloatArray:
        """The image at another size, or a window of it, as :func:`blemish.images.scaling.sizes.resize` gives it up to rounding.

        Args:
            height: rows of the whole image at its new size.
            width: columns of the whole image at its new size.
            window: rows and columns of the part that is wanted, at the new size; None: all.

        Returns:
            h x w x 3 float32 in [0, 1].

        Cost: memory for the result and `BAND_BYTES`, whatever the size of the image.
        """
        rows, columns = window or (slice(0, height), slice(0, width))
        if (height, width) == self.values.shape[:2]:
            return self[rows, columns]
        across, taken = _weights(self.values.shape[1], width, columns)
        step = max(1, int(BAND_BYTES / (4 * 3 * (taken.stop - taken.start) * max(1.0, self.values.shape[0] / height))))
        out = np.empty((rows.stop - rows.start, columns.stop - columns.start, 3), np.float32)
        for start in range(rows.start, rows.stop, step):
            band = slice(start, min(start + step, rows.stop))
            down, source = _weights(self.values.shape[0], height, band)
            part = self._floats(source, taken)
            for channel in range(3):
                place = out[band.start - rows.start : band.stop - rows.start, :, channel]
                if channel < part.shape[2]:
                    place[...] = (across @ (down @ part[..., channel]).T).T
                else:
                    place[...] = out[band.start - rows.start : band.stop - rows.start, :, 0]
        return np.clip(out, 0.0, 1.0, out=out)

    def _floats(self, rows: slice, columns: slice) -> FloatArray:
        """Values in [0, 1] of a window, without repeating a gray channel."""
        values = self.values[rows, columns]
        # float32 division is exact enough here: 24 bits of mantissa against at most 16 bits of picture
        part = np.empty(values.shape, np.float32)
        np.divide(values, np.float32(self.white), out=part, casting="unsafe")
        return np.clip(part, 0.0, 1.0, out=part)


Photo = FloatArray | StoredImage
"""An image as float32 H x W x 3 in [0, 1], or one that gives such windows."""


def _weights(stored: int, wanted: int, window: slice) -> tuple[csr_array, slice]:
    """Weights of stored places in a window of wanted places: bilinear, with a wider triangle where the axis shrinks.

    Returns:
        Weights, window x places, and the range of stored places that they need.
    """
    from scipy.sparse import csr_array

    scale = stored / wanted
    support = max(scale, 1.0)
    centers = scale * (np.arange(window.start, window.stop) + 0.5)
    first = np.maximum((centers - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centers + support + 0.5).astype(np.int64), stored)
    places = first[:, None] + np.arange(int((last - first).max()))
    weights = np.clip(1 - np.abs(places + 0.5 - centers[:, None]) / support, 0, None) * (places < last[:, None])
    weights /= weights.sum(1, keepdims=True)
    source = slice(int(first.min()), int(last.max()))
    columns = np.minimum(places, source.stop - 1) - source.start
    pointers = np.arange(len(centers) + 1) * places.shape[1]
    shape = len(centers), source.stop - source.start
    return csr_array((weights.astype(np.float32).ravel(), columns.ravel(), pointers), shape=shape), source
