"""PNG files, read through libpng, which checks every checksum and the number of rows and keeps 16-bit values.

Pillow serves for EXIF data and for the later frames of an animation.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.decoding._pillow import exif_orientation, opened, to_bands
from blemish.images.decoding.raw import MAX_PAGES, ImageInfo, RawImage, check_page, decoded_megabytes, without_alpha
from blemish.images.finding.places import Place

_BANDS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # color type -> stored values per pixel
_PALETTE = 3
_EXIF_TEXTS = (b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp")
_MAX_EXIF = 2**20


@dataclass(frozen=True)
class _Header:
    """What the chunks of a PNG say, apart from its pixels."""

    height: int
    width: int
    bits: int
    color: int
    frames: int = 1
    significant: int | None = None
    exif: bytes | None = None
    text_exif: bool = False


def probe_png(path: Place, handle: IO[bytes], max_megabytes: float) -> list[ImageInfo | str]:
    """Header of each frame."""
    header = _read_header(path, handle)
    height, width, megabytes = header.height, header.width, _megabytes(path, header, max_megabytes)
    if _orientation(path, handle, header) >= 5:
        height, width = width, height
    bits = 16 if header.bits == 16 else 1 if (header.bits, header.color) == (1, 0) else 8
    white = 2.0**header.significant - 1 if header.significant and 8 < header.significant < header.bits else None
    gray = header.color in (0, 4)
    return [ImageInfo(height, width, bits, 1 if gray else 3, white=white, megabytes=megabytes)] * header.frames


def read_png(path: Place, handle: IO[bytes], page: int, max_megabytes: float) -> RawImage:
    """Stored values of one frame."""
    import imagecodecs

    header = _read_header(path, handle)
    check_page(path, page, header.frames)
    _megabytes(path, header, max_megabytes)
    orientation = _orientation(path, handle, header)
    if page:
        if header.bits == 16:
            raise InputError(f"{shown(path)}: frames of 16 bits are not read; save each frame as a file of its own")
        with opened(path, handle, "PNG") as image:
            image.seek(page)
            frame, hidden = without_alpha(to_bands(image), orientation)
            return RawImage(frame, 8, hidden)
    handle.seek(0)
    values: npt.NDArray[Any] = np.asarray(imagecodecs.png_decode(handle.read()))
    values = values if values.ndim == 3 else values[..., None]
    values, hidden = without_alpha(values, orientation)
    return RawImage(values, 16 if header.bits == 16 else 8, hidden)


def _read_header(path: Place, handle: IO[bytes]) -> _Header:
    """Walk over the chunks; their data is skipped, so that the cost does not depend on the size of the image."""
    handle.seek(0, os.SEEK_END)
    size = handle.tell()
    handle.seek(0)
    head = handle.read(33)
    if len(head) < 33 or head[12:16] != b"IHDR" or struct.unpack(">I", head[29:33])[0] != zlib.crc32(head[12:29]):
        raise InputError(f"{shown(path)}: its PNG header is damaged; replace or remove it")
    width, height, bits, color = struct.unpack(">IIBB", head[16:26])
    if color not in _BANDS or bits not in (1, 2, 4, 8, 16):
        raise InputError(f"{shown(path)}: its PNG header is damaged; replace or remove it")
    found: dict[str, Any] = {}
    at, seen_pixels = 33, False
    while at + 12 <= size:
        handle.seek(at)
        length, kind = struct.unpack(">I4s", handle.read(8))
        if at + 12 + length > size or kind == b"IEND":
            break
        seen_pixels |= kind == b"IDAT"
        if kind == b"acTL" and not seen_pixels:
            found["frames"] = _frame_count(path, handle.read(4))
        elif kind == b"sBIT":
            found["significant"] = max(handle.read(min(length, 4)), default=0)
        elif kind == b"eXIf" and length <= _MAX_EXIF:
            found["exif"] = handle.read(length)
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and not seen_pixels:
            found["text_exif"] = found.get("text_exif", False) or handle.read(24).startswith(_EXIF_TEXTS)
        at += 12 + length
    return _Header(height, width, bits, color, **found)


def _loaded_exif(data: bytes) -> Any:
    from PIL import Image

    exif = Image.Exif()
    exif.load(data)
    return exif


def _megabytes(path: Place, header: _Header, max_megabytes: float) -> float:
    bands = 3 if header.color == _PALETTE else _BANDS[header.color]
    return decoded_megabytes(path, header.height, header.width, bands, max(header.bits // 8, 1), max_megabytes)


def _frame_count(path: Place, data: bytes) -> int:
    frames = max(int.from_bytes(data, "big"), 1)
    if frames > MAX_PAGES:
        raise InputError(f"{shown(path)}: claims {frames} frames, more than {MAX_PAGES}; save them as files")
    return frames


def _orientation(path: Place, handle: IO[bytes], header: _Header) -> int:
    """EXIF orientation 1..8, from the chunk or, as older programs write it, from a text; 1 if there is none."""
    if header.exif is None and not header.text_exif:
        return 1
    from PIL import Image

    if header.exif is not None:
        return exif_orientation(lambda: _loaded_exif(header.exif or b""))
    with opened(path, handle, "PNG") as image:
        return exif_orientation(lambda: Image.Image.getexif(image))
