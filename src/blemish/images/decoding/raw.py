"""What a decoder returns: the facts in a header, and stored values before scaling."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from blemish.config.sections import Image as ImageConfig
from blemish.errors import InputError, shown
from blemish.images.finding.places import Place
from blemish.types import BoolArray

MAX_MEGABYTES: int = ImageConfig().max_megabytes
"""Default of ``image.max_megabytes``."""

MAX_PAGES = 10_000
"""Pages or frames of one file; a file with more of them is refused."""

_FLOAT_RGB_BYTES = 12

_FLOAT_PIXELS = 4 * 10**7
"""Pixels that are float RGB at a time: of larger images, only the stored values are in memory as a whole."""


@dataclass(frozen=True)
class ImageInfo:
    """Facts in the header of an image.

    Attributes:
        height: rows, after orientation.
        width: columns, after orientation.
        bits: bits per channel as stored (1 for bilevel, 16 for a 12-bit picture in a 16-bit file).
        channels: 1 for gray, 3 for color; alpha and further bands do not count.
        floating: whether the file stores floating-point values.
        white: stored value of white, where the format states it; None otherwise.
        megabytes: memory that decoding takes: the stored values, and float RGB up to a limit.
    """

    height: int
    width: int
    bits: int
    channels: int
    floating: bool = False
    white: float | None = field(default=None, compare=False)
    megabytes: float = field(default=0.0, compare=False)

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
        transparent: H x W bool, pixels with an alpha of 0; None where there is no alpha channel.
    """

    values: npt.NDArray[Any]
    bits: int
    transparent: BoolArray | None = None

    @property
    def floating(self) -> bool:
        """Whether the file stores floating-point values."""
        return self.values.dtype.kind == "f"

    @property
    def deep(self) -> bool:
        """Whether a white level decides how bright the image is: more than 8 bits, or floating point."""
        return self.floating or self.bits > 8


def decoded_megabytes(
    path: Place, height: int, width: int, bands: int, bytes_per_value: float, max_megabytes: float
) -> float:
    """Megabytes that decoding an image takes: its stored values, and 12 bytes of float RGB for at most
    `_FLOAT_PIXELS` pixels.

    Raises:
        InputError: the image has no pixels, or takes more than ``max_megabytes``; names the file, size and remedy.
    """
    if height < 1 or width < 1 or bands < 1:
        raise InputError(f"{shown(path)}: has no pixels; replace or remove it")
    pixels = height * width
    megabytes = (pixels * bands * bytes_per_value + min(pixels, _FLOAT_PIXELS) * _FLOAT_RGB_BYTES) / 1e6
    if megabytes > max_megabytes:
        raise InputError(
            f"{shown(path)}: {height} x {width} pixels in {bands} {'band' if bands == 1 else 'bands'} take "
            f"{megabytes:.0f} MB decoded, and image.max_megabytes is {max_megabytes:g}; cut it into tiles or raise the limit"
        )
    return megabytes


def without_alpha(bands: npt.NDArray[Any], orientation: int = 1) -> tuple[npt.NDArray[Any], BoolArray | None]:
    """Values of 1 or 3 channels, and where the alpha channel is 0, upright; None if there is no alpha channel.

    Args:
        bands: H x W x C as decoded. A second or fourth band is taken for alpha.
        orientation: EXIF or TIFF orientation 1..8.
    """
    alpha = bands.shape[2] in (2, 4)
    hidden = upright(bands[..., -1:] == 0, orientation)[..., 0] if alpha else None
    return upright(bands[..., : 3 if bands.shape[2] >= 3 else 1], orientation), hidden


def check_page(path: Place, page: int, pages: int) -> None:
    """Refuse a page number that the file does not have.

    Raises:
        InputError: names the file and the number of pages.
    """
    if not 0 <= page < pages:
        raise InputError(f"{shown(path)}: has {pages} pages, and page {page + 1} is asked for; check the number")


def upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """H x W x C turned upright, given its EXIF or TIFF orientation 1..8."""
    if orientation >= 5:
        values = values.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
