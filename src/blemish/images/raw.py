"""What a decoder returns: the facts in a header, and stored values before scaling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from blemish.errors import InputError, shown

MAX_PIXELS = 400_000_000
"""Images with more pixels are refused. A decoded image takes 12 bytes per pixel."""


@dataclass(frozen=True)
class ImageInfo:
    """Facts in the header of an image.

    Attributes:
        height: rows, after orientation.
        width: columns, after orientation.
        bits: bits per channel as stored (1 for bilevel, 16 for a 12-bit picture in a 16-bit file).
        channels: 1 for gray, 3 for color; alpha and further bands do not count.
        floating: whether the file stores floating-point values.
    """

    height: int
    width: int
    bits: int
    channels: int
    floating: bool = False

    @property
    def deep(self) -> bool:
        """Whether a white level decides how bright the image is: more than 8 bits, or floating point."""
        return self.floating or self.bits > 8


@dataclass(frozen=True)
class RawImage:
    """Stored values before scaling.

    Attributes:
        values: H x W x (1 or 3), integers, booleans or floating point, upright, without alpha.
        bits: bits per channel that ``values`` use.
    """

    values: npt.NDArray[Any]
    bits: int

    @property
    def floating(self) -> bool:
        """Whether the file stores floating-point values."""
        return self.values.dtype.kind == "f"

    @property
    def deep(self) -> bool:
        """Whether a white level decides how bright the image is: more than 8 bits, or floating point."""
        return self.floating or self.bits > 8


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse an image without pixels or with more than :data:`MAX_PIXELS`.

    Raises:
        InputError: names the file and the size.
    """
    if height < 1 or width < 1:
        raise InputError(f"{shown(path)}: has no pixels; replace or remove it")
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{shown(path)}: {height} x {width} pixels are more than the {MAX_PIXELS // 10**6} million allowed; "
            "cut it into tiles"
        )


def upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """H x W x C turned upright, given its EXIF or TIFF orientation 1..8."""
    if orientation >= 5:
        values = values.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
