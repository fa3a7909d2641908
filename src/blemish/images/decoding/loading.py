"""One image file as float RGB in [0, 1].

Decisions, stated once:

- A file is recognized by its content, whatever its suffix.
- Alpha is dropped, not composited: the stored colors are what the camera saw, and a background color would be invented.
- Gray is repeated over three channels. CMYK is converted. A fourth band is taken for alpha; more than four bands in a
  TIFF that is neither RGB nor CMYK are an error, because nobody knows which of them form a picture.
- Each page of a TIFF file and each frame of an animation (GIF, PNG, WebP, AVIF) is an image. Previews, transparency
  masks, and the further pictures in a JPEG file are not.
- Integers deeper than 8 bits are divided by a *white level*. Cameras store 10, 12 or 14 bits in 16-bit files, so the
  level is estimated once for the set (:func:`blemish.images.decoding.white_level.estimate_white_level`); dividing by 65535 would
  give nearly black images.
- EXIF orientation and the TIFF orientation tag are applied, in :func:`decode` and
  :func:`blemish.images.decoding.decoders.probe` alike.
"""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.decoding.decoders import Check, read_raw
from blemish.images.decoding.hot_pixels import without_hot_pixels
from blemish.images.decoding.raw import MAX_MEGABYTES
from blemish.images.decoding.stored import StoredImage
from blemish.images.finding.places import Place
from blemish.types import FloatArray

UNIT_OVERSHOOT = 1.1
"""Floating-point values up to here count as [0, 1], because resampling and sharpening overshoot white a little."""


def decode(
    path: Place,
    *,
    white: float | None = None,
    page: int = 0,
    max_megabytes: float = MAX_MEGABYTES,
    check: Check | None = None,
    repair_hot: bool = False,
) -> FloatArray:
    """Read one image as RGB.

    Args:
        path: PNG, JPEG, TIFF, BMP, WebP, GIF, AVIF, JPEG 2000, PPM, PGM or PBM of any color type that the module text
            names.
        white: stored value that becomes 1, for integers deeper than 8 bits and for floating point; higher values are
            clipped. None: the largest value that the stored bits hold; for floating point 1, and values above 1.1 are
            an error. Images of 8 bits or fewer ignore it.
        page: page or frame, from 0.
        max_megabytes: an image that takes more memory once decoded is refused before it is decoded.
        check: called with the open file after decoding.
        repair_hot: whether single hot pixels above ``white`` are replaced by the median of their neighborhood
            (:mod:`blemish.images.decoding.hot_pixels`) and not only clipped.

    Returns:
        float32 H x W x 3 in [0, 1], contiguous, upright.

    Raises:
        InputError: missing, not a file, not an image, truncated, too large, or with NaN or negative values; the message
            names the file.
    """
    return decode_stored(path, white=white, page=page, max_megabytes=max_megabytes, check=check, repair_hot=repair_hot)[
        :, :
    ]


def decode_stored(
    path: Place,
    *,
    white: float | None = None,
    page: int = 0,
    max_megabytes: float = MAX_MEGABYTES,
    check: Check | None = None,
    repair_hot: bool = False,
) -> StoredImage:
    """Read one image and leave its values as they are stored; arguments and errors are those of :func:`decode`."""
    raw = read_raw(path, page, max_megabytes=max_megabytes, check=check)
    values = raw.values if white is None or not raw.deep or not repair_hot else without_hot_pixels(raw.values, white)
    if raw.floating:
        scale = _float_scale(path, values, white)
    elif raw.bits > 8 and white is not None:
        scale = float(white)
    else:
        scale = float(2**raw.bits - 1)
    if not scale > 0 or not math.isfinite(scale):
        raise InputError(f"{shown(path)}: white level {white} cannot be used; give a number above 0")
    return StoredImage(values, scale, raw.transparent)


def _float_scale(path: Place, values: npt.NDArray[Any], white: float | None) -> float:
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{shown(path)}: holds NaN or infinite values; replace them")
    # resampling may undershoot zero a little; lower values are another kind of data
    if low < -0.01 * max(abs(high), 1e-30):
        raise InputError(f"{shown(path)}: holds negative values (down to {low:g}); shift them to start at 0")
    if white is None and high > UNIT_OVERSHOOT:
        raise InputError(
            f"{shown(path)}: floating-point values up to {high:g}; scale them to [0, 1] or give the white level"
        )
    return 1.0 if white is None else float(white)
