"""Anomaly maps and masks at the size of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.images import StoredImage, resize
from blemish.types import FloatArray

LARGE_MASK, BAND_ROWS = 2**26, 256
"""Pixels above which a mask is made in bands, and rows of a band."""


def upsample_map(values: FloatArray, height: int, width: int) -> FloatArray:
    """Anomaly map at another size, interpolated bilinearly (with antialiasing where it shrinks).

    Args:
        values: float32 h x w.
        height: rows of the result.
        width: columns of the result.

    Returns:
        float32 height x width within the range of ``values``; a constant map stays constant.
    """
    return resize(np.ascontiguousarray(values, dtype=np.float32)[..., None], height, width)[..., 0]


def binary_mask(values: FloatArray, threshold: float, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Mask of the anomalous pixels at image size.

    Args:
        values: anomaly map, float32 h x w.
        threshold: a pixel is anomalous if the resized map exceeds it.
        height: rows of the image.
        width: columns of the image.

    Returns:
        uint8 height x width: 255 where the image is anomalous, 0 elsewhere.

    Cost: some passes over the mask; of a mask of more than `LARGE_MASK` pixels, `BAND_ROWS` rows are floats at a time.
    """
    if height * width > LARGE_MASK and threshold > 0:
        mask = np.empty((height, width), np.uint8)
        scaled = StoredImage(
            np.asarray(values, np.float32)[..., None], 2 * threshold
        )  # clipped above, where all is 255
        for top in range(0, height, BAND_ROWS):
            band = slice(top, min(top + BAND_ROWS, height))
            above = scaled.resized(height, width, (band, slice(0, width)))[..., 0] > 0.5
            mask[band] = np.where(above, np.uint8(255), np.uint8(0))
        return mask
    return np.where(upsample_map(values, height, width) > threshold, np.uint8(255), np.uint8(0))
