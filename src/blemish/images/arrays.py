"""Arrays that a caller gives in place of files, as float RGB in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.images.white_level import snap_to_bit_depth
from blemish.types import FloatArray


def arrays_to_rgb(arrays: Sequence[npt.NDArray[np.generic]]) -> list[FloatArray]:
    """Each array as H x W x 3 float32 in [0, 1].

    Args:
        arrays: H x W or H x W x (1, 3 or 4) each; a fourth channel is dropped. Floats must lie in [0, 1]. 8-bit integers
            are divided by 255. Deeper integers are divided by one white level for all of them, as for files.

    Raises:
        InputError: another shape or type, or values outside the range; the message names the array by its number.
    """
    values = [np.asarray(one) for one in arrays]
    peaks = [float(one.max()) for one in values if one.size and one.dtype.kind in "ui" and one.dtype.itemsize > 1]
    white = snap_to_bit_depth(max(peaks)) if peaks else None
    return [_to_rgb(one, index, white) for index, one in enumerate(values)]


def _to_rgb(values: npt.NDArray[np.generic], index: int, white: float | None) -> FloatArray:
    """H x W x 3 in [0, 1]; ``white`` is the white level of integers deeper than 8 bits."""
    if values.dtype.kind not in "biuf":
        raise InputError(f"array {index} has the type {values.dtype}: give unsigned integers, or floats in [0, 1]")
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    if values.ndim != 3 or values.shape[2] not in (1, 3, 4) or min(values.shape[:2]) < 1:
        raise InputError(f"array {index} has shape {values.shape}: give H x W, or H x W x 1, 3 or 4")
    values = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[:, :, :3]
    if values.dtype.kind in "ui":
        top = 255.0 if values.dtype.itemsize == 1 or white is None else white
        scaled = (values.astype(np.float64) / top).astype(np.float32)
    else:
        scaled = values.astype(np.float32)
    if not np.isfinite(scaled).all() or scaled.min() < 0 or scaled.max() > 1:
        raise InputError(f"array {index} has values outside 0 to 1: scale floats to [0, 1] or give unsigned integers")
    return scaled
