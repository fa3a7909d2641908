"""Anomaly maps and masks at the size of the image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.images import resize
from blemish.types import FloatArray


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
    """
    return np.where(upsample_map(values, height, width) > threshold, np.uint8(255), np.uint8(0))
