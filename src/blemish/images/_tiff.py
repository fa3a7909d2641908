"""TIFF files, read through tifffile, which keeps 16-bit, 32-bit and floating-point values as they are stored."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.raw import ImageInfo, RawImage, check_size, upright

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MINISWHITE, _PALETTE, _SEPARATED, _YCBCR = 0, 3, 5, 6
_READABLE_COLORS = (_MINISWHITE, 1, 2, _PALETTE, _SEPARATED, _YCBCR, 34892)
_JPEG_COMPRESSIONS = (6, 7, 33007, 34892)


def is_tiff(handle: IO[bytes]) -> bool:
    """Whether the file starts as TIFF or BigTIFF; the handle is left at the start."""
    magic = handle.read(4)
    handle.seek(0)
    return magic in _MAGIC


def probe_tiff(path: Path, handle: IO[bytes]) -> ImageInfo:
    """Header of the first page."""
    with _first_page(path, handle) as page:
        height, width = page.imagelength, page.imagewidth
        if _orientation(page) >= 5:
            height, width = width, height
        palette = int(page.photometric) == _PALETTE
        floating = page.dtype is not None and page.dtype.kind == "f"
        gray = page.samplesperpixel < 3 and not palette
        return ImageInfo(height, width, 8 if palette else _bits(path, page), 1 if gray else 3, floating)


def read_tiff(path: Path, handle: IO[bytes]) -> RawImage:
    """Stored values of the first page."""
    with _first_page(path, handle) as page:
        photometric, bits = int(page.photometric), _bits(path, page)
        jpeg = int(page.compression) in _JPEG_COMPRESSIONS
        if photometric not in _READABLE_COLORS or (photometric == _YCBCR and not jpeg):
            raise InputError(f"{shown(path)}: colors stored as {page.photometric!s} are not read; save it as RGB")
        values = _planes(page)
        if photometric == _PALETTE:
            values, bits = _from_palette(values[..., 0], page.colormap), 8
        if values.dtype.kind not in "buif":
            raise InputError(f"{shown(path)}: values of type {values.dtype} are not read; save it as 8 or 16 bits")
        if values.dtype.kind == "i":
            bits -= 1
            if values.min() < 0:
                raise InputError(f"{shown(path)}: holds negative values; shift them to start at 0")
        if photometric == _SEPARATED and values.shape[2] >= 4 and values.dtype.kind != "f":
            values = _from_cmyk(values, bits)
        values = values[..., : 3 if values.shape[2] >= 3 else 1]
        if photometric == _MINISWHITE and values.dtype.kind != "f":
            values = (2**bits - 1) - values.astype(np.int64)
        return RawImage(upright(values, _orientation(page)), bits)


@contextmanager
def _first_page(path: Path, handle: IO[bytes]) -> Iterator[Any]:
    import tifffile

    with tifffile.TiffFile(handle) as tiff:
        page = tiff.pages[0]
        check_size(path, page.imagelength, page.imagewidth)
        end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        if end > os.fstat(handle.fileno()).st_size:
            raise InputError(f"{shown(path)}: the file is truncated; replace or remove it")
        yield page


def _orientation(page: Any) -> int:
    """Orientation tag 1..8; a missing or invalid tag counts as upright."""
    value = page.tags.valueof(274, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _bits(path: Path, page: Any) -> int:
    bits = page.bitspersample
    if not isinstance(bits, int):  # a tuple where the channels differ
        raise InputError(f"{shown(path)}: its channels have {bits} bits; save it with 8 or 16 bits in each")
    return bits


def _planes(page: Any) -> npt.NDArray[Any]:
    """Values of a page as H x W x C; of further axes the first entry is taken."""
    values, axes = np.asarray(page.asarray(maxworkers=1)), page.axes
    for axis in [a for a in axes if a not in "YXS"]:
        values, axes = values.take(0, axis=axes.index(axis)), axes.replace(axis, "", 1)
    values = values.transpose([axes.index(a) for a in ("Y", "X", "S") if a in axes])
    return values if values.ndim == 3 else values[..., None]


def _from_palette(index: npt.NDArray[Any], colormap: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """8-bit colors of a palette; some writers fill its 16-bit entries with 8-bit values only."""
    table = colormap if colormap.max() <= 255 else colormap >> 8
    colors: npt.NDArray[np.uint8] = table.astype(np.uint8).T[index]  # 2^bits x 3, indexed by H x W
    return colors


def _from_cmyk(values: npt.NDArray[Any], bits: int) -> npt.NDArray[Any]:
    """RGB of CMYK, without a color profile: each ink multiplied by black."""
    top = 2**bits - 1
    light = top - values[..., :4].astype(np.float64)
    return np.rint(light[..., :3] * light[..., 3:] / top).astype(values.dtype)
