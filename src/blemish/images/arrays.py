"""Arrays that a caller gives in place of files, as float RGB in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.decoding.hot_pixels import robust_peak, without_hot_pixels
from blemish.images.decoding.white_level import snap_to_bit_depth
from blemish.types import FloatArray

_CHANNELS = (1, 3, 4)


def to_list(images: object) -> list[Any]:
    """Paths or arrays as a list.

    Raises:
        InputError: a single object of another type, a set, a dictionary, or an iterator.
    """
    if isinstance(images, np.ndarray):
        return images.tolist() if images.dtype.kind == "U" else list(_split(images))
    if isinstance(images, (set, frozenset, dict, bytes, bytearray)) or not hasattr(images, "__len__"):
        raise InputError(
            f"images is of type {type(images).__name__}: give a folder, a list of paths, or a list of arrays"
        )
    return list(images)  # type: ignore[call-overload]


def _split(values: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
    """The images in one array: H x W and H x W x (1, 3 or 4) are one image; N x H x W and N x H x W x C are N images.

    Raises:
        InputError: another number of axes.
    """
    if values.ndim == 2 or (values.ndim == 3 and values.shape[2] in _CHANNELS):
        return [values]
    if values.ndim in (3, 4):
        return list(values)
    raise InputError(
        f"an array of shape {values.shape} holds no images: give H x W, H x W x C, N x H x W or N x H x W x C"
    )


def arrays_to_rgb(arrays: Sequence[object], white_level: float | None = None) -> tuple[list[FloatArray], float | None]:
    """Each array as H x W x 3 float32 in [0, 1], and the white level used.

    Args:
        arrays: H x W or H x W x (1, 3 or 4) each; a fourth channel is dropped. Floats must lie in [0, 1]. 8-bit integers
            are divided by 255. Deeper integers are divided by one white level for all of them, as for files; 32-bit and
            64-bit integers that never exceed 255 are taken for 8-bit values.
        white_level: the level of deeper integers; None: estimated.

    Raises:
        InputError: another shape or type, or values outside the range; the message names the array by its number.
    """
    values = [_as_array(one, index) for index, one in enumerate(arrays)]
    deep = [one for one in values if one.dtype.kind in "ui" and one.dtype.itemsize > 1]
    if deep and white_level is None:
        peak = max(robust_peak(one) for one in deep)
        byte_values = peak <= 255 and all(one.dtype.itemsize > 2 for one in deep)
        white_level = 255.0 if byte_values else snap_to_bit_depth(peak)
        level = white_level
        values = [without_hot_pixels(one, level) if any(one is other for other in deep) else one for one in values]
    return [_to_rgb(one, index, white_level) for index, one in enumerate(values)], white_level if deep else None


def _as_array(one: object, index: int) -> npt.NDArray[Any]:
    """H x W x C with C = 1 or 3, of booleans, integers or floats."""
    try:
        values = np.asarray(one)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"array {index} cannot be read ({shown(str(error))}): give NumPy arrays") from error
    if values.dtype.kind not in "buif":
        raise InputError(
            f"array {index} holds values of type {shown(str(values.dtype))[:60]}: give unsigned integers, or floats in [0, 1]"
        )
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3 or values.shape[2] not in _CHANNELS or min(values.shape[:2]) < 1:
        raise InputError(f"array {index} has shape {values.shape}: give H x W, or H x W x 1, 3 or 4")
    return values[:, :, :3]


def _to_rgb(values: npt.NDArray[Any], index: int, white: float | None) -> FloatArray:
    """H x W x 3 in [0, 1]; ``white`` is the white level of integers deeper than 8 bits."""
    if values.shape[2] == 1:
        values = np.repeat(values, 3, axis=2)
    if values.dtype.kind in "ui":
        if values.min() < 0:
            raise InputError(f"array {index} holds negative values (down to {values.min()}): shift them to start at 0")
        deep = values.dtype.itemsize > 1
        top = white if deep and white is not None else 255.0
        scaled = (values.astype(np.float64) / top).astype(np.float32)
        return np.clip(scaled, 0.0, 1.0, out=scaled) if deep else scaled
    scaled = values.astype(np.float32)
    if not np.isfinite(scaled).all():
        raise InputError(f"array {index} holds NaN or infinite values: replace them")
    if scaled.min() < 0 or scaled.max() > 1:
        raise InputError(
            f"array {index} has values outside 0 to 1 ({scaled.min():g} to {scaled.max():g}): scale floats to [0, 1] "
            "or give unsigned integers"
        )
    return scaled
