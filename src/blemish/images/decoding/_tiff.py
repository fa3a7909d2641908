"""TIFF files, read through tifffile, which keeps 16-bit, 32-bit and floating-point values as they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.decoding.raw import (
    MAX_PAGES,
    ImageInfo,
    RawImage,
    check_page,
    decoded_megabytes,
    upright,
    without_alpha,
)
from blemish.images.finding.places import Place

_MINISWHITE, _MINISBLACK, _PALETTE, _SEPARATED, _YCBCR = 0, 1, 3, 5, 6
_READABLE_COLORS = (_MINISWHITE, _MINISBLACK, 2, _PALETTE, _SEPARATED, _YCBCR, 34892)
_JPEG_COMPRESSIONS = (6, 7, 33007, 34892)
_SUBFILE_TYPE, _ORIENTATION, _MAX_SAMPLE, _WHITE_LEVEL = 254, 274, 281, 50717
_REDUCED_OR_MASK = 1 | 4
_EXTRA_SAMPLES, _ALPHA = 338, (1, 2)
_MAX_BANDS = 4


def probe_tiff(path: Place, handle: IO[bytes], max_megabytes: float) -> list[ImageInfo | str]:
    """Header of each page, or why that page cannot be read; an InputError if the first page cannot."""
    with _opened(path, handle) as pages:
        first = _info(path, pages[0], max_megabytes)
        found: list[ImageInfo | str] = [first]
        for number, page in enumerate(pages[1:], start=2):
            try:
                found.append(_info(path, page, max_megabytes))
            except InputError as error:
                found.append(f"{error} (page {number})")
        hidden = _unlisted_pages(pages[0].parent, len(pages))
        if hidden:
            found.append(
                f"{shown(path)}: an ImageJ stack holds {hidden} more images without a header of their own; "
                "save it as an ordinary TIFF"
            )
        return found


def read_tiff(path: Place, handle: IO[bytes], number: int, max_megabytes: float) -> RawImage:
    """Stored values of one page; ``number`` counts from 0."""
    with _opened(path, handle) as pages:
        check_page(path, number, len(pages))
        page = pages[number]
        _info(path, page, max_megabytes)  # refuses what cannot be read before anything is decoded
        photometric, bits = int(page.photometric), _bits(path, page)
        values = _planes(path, page)
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
        hidden = None
        if _tag(page, _EXTRA_SAMPLES, 0) in _ALPHA and values.shape[2] in (2, 4):
            _, hidden = without_alpha(values, _orientation(page))
        values = values[..., : 3 if values.shape[2] >= 3 else 1]
        if photometric == _MINISWHITE and values.dtype.kind != "f":
            values = (2**bits - 1) - values.astype(np.int64)
        return RawImage(upright(values, _orientation(page)), bits, hidden)


def _info(path: Place, page: Any, max_megabytes: float) -> ImageInfo:
    height, width, bands = page.imagelength, page.imagewidth, page.samplesperpixel
    bits, photometric = _bits(path, page), int(page.photometric)
    if page.imagedepth > 1:
        raise InputError(f"{shown(path)}: is a volume of {page.imagedepth} slices; save each slice as a page")
    if bands > _MAX_BANDS and photometric in (_MINISWHITE, _MINISBLACK):
        raise InputError(f"{shown(path)}: holds {bands} bands; save 1 of them as gray or 3 of them as RGB")
    jpeg = int(page.compression) in _JPEG_COMPRESSIONS
    if photometric not in _READABLE_COLORS or (photometric == _YCBCR and not jpeg):
        raise InputError(f"{shown(path)}: colors stored as {page.photometric!s} are not read; save it as RGB")
    megabytes = decoded_megabytes(path, height, width, bands, max(bits / 8, 1), max_megabytes)
    if _orientation(page) >= 5:
        height, width = width, height
    palette = photometric == _PALETTE
    floating = page.dtype is not None and page.dtype.kind == "f"
    gray = bands < 3 and not palette
    white = None if floating or palette else _stated_white(page, bits)
    return ImageInfo(height, width, 8 if palette else bits, 1 if gray else 3, floating, white, megabytes)


@contextmanager
def _opened(path: Place, handle: IO[bytes]) -> Iterator[list[Any]]:
    """The pages at full resolution; previews and transparency masks are no pages of their own."""
    import tifffile

    handle.seek(0)
    with tifffile.TiffFile(handle) as tiff:
        if len(tiff.pages) > MAX_PAGES:
            raise InputError(f"{shown(path)}: holds {len(tiff.pages)} pages, more than {MAX_PAGES}; split the file")
        pages = [page if isinstance(page, tifffile.TiffPage) else page.aspage() for page in tiff.pages]
        full = [page for page in pages if not _tag(page, _SUBFILE_TYPE, 0) & _REDUCED_OR_MASK]
        if not pages:
            raise InputError(f"{shown(path)}: has no pages; replace or remove it")
        yield full or pages[:1]


def _unlisted_pages(tiff: Any, listed: int) -> int:
    """Images of an ImageJ stack that have no page of their own in the file."""
    metadata = tiff.imagej_metadata if tiff.is_imagej else None
    images = (metadata or {}).get("images", 1)
    return max(images - len(tiff.pages), 0) if isinstance(images, int) and listed else 0


def _tag(page: Any, code: int, default: int) -> int:
    """First integer of a tag; a missing or invalid tag counts as the default."""
    value = page.tags.valueof(code, default)
    value = value[0] if isinstance(value, tuple) and value else value
    return int(value) if isinstance(value, int) else default


def _stated_white(page: Any, bits: int) -> float | None:
    """Stored value of white, if bits or tags say more than that the values fit into 16 or 32 bits."""
    if 8 < bits < 16:
        return 2.0**bits - 1
    level = _tag(page, _WHITE_LEVEL, 0)
    if bits > 8 and 255 < level < 2**bits - 1:
        return float(level)
    top = _tag(page, _MAX_SAMPLE, 0)
    return float(top) if bits > 8 and top in (1023, 4095, 16383) else None


def _orientation(page: Any) -> int:
    """Orientation tag 1..8; a missing or invalid tag counts as upright."""
    value = _tag(page, _ORIENTATION, 1)
    return value if 1 <= value <= 8 else 1


def _bits(path: Place, page: Any) -> int:
    bits = page.bitspersample
    if not isinstance(bits, int):  # a tuple where the channels differ
        raise InputError(f"{shown(path)}: its channels have {bits} bits; save it with 8 or 16 bits in each")
    return bits


def _planes(path: Place, page: Any) -> npt.NDArray[Any]:
    """Values of a page as H x W x C; missing or short strips are an error, where tifffile would fill them with zeros."""
    truncated = InputError(f"{shown(path)}: the file is truncated; replace or remove it")
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    size = page.parent.filehandle.size
    if len(places) < int(np.prod(page.chunked)) or any(n <= 0 or at <= 0 or at + n > size for at, n in places):
        raise truncated
    decode = page.decode

    def checked(*args: Any, **named: Any) -> Any:
        segment, index, shape = decode(*args, **named)
        rows = min(page.rowsperstrip, page.imagelength - index[2]) if not page.is_tiled else 0
        if segment is None or segment.shape[1] < rows:
            raise truncated
        return segment, index, shape

    page.__dict__["decode"] = checked
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
