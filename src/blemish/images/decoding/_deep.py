"""JPEG 2000, and PPM and PGM of 16 bits, with the full depth of their values, which Pillow would reduce."""

from __future__ import annotations

import re
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.decoding.raw import ImageInfo, RawImage, decoded_megabytes, without_alpha
from blemish.images.finding.places import Place

_PNM_HEADER = re.compile(rb"(P[1-6])(?:\s|#[^\n]*\n)+(\d+)(?:\s|#[^\n]*\n)+(\d+)(?:(?:\s|#[^\n]*\n)+(\d+))?\s")
_CODESTREAM = b"\xff\x4f\xff\x51"
_SEARCHED = 2**16


def pnm_depth(handle: IO[bytes]) -> int:
    """Highest value that a PGM or PPM file states; 255 or less is read through Pillow."""
    handle.seek(0)
    found = _PNM_HEADER.match(handle.read(4096))
    return int(found[4]) if found and found[1] in (b"P5", b"P6") and found[4] else 1


def probe_deep_pnm(path: Place, handle: IO[bytes], max_megabytes: float) -> list[ImageInfo | str]:
    """Header of a binary PGM or PPM file deeper than 8 bits."""
    channels, width, height, top, _ = _pnm_header(path, handle)
    megabytes = decoded_megabytes(path, height, width, channels, 2, max_megabytes)
    white = float(top) if top < 65535 else None
    return [ImageInfo(height, width, 16, channels, white=white, megabytes=megabytes)]


def read_deep_pnm(path: Place, handle: IO[bytes], max_megabytes: float) -> RawImage:
    """Values of a binary PGM or PPM file deeper than 8 bits."""
    channels, width, height, _, start = _pnm_header(path, handle)
    decoded_megabytes(path, height, width, channels, 2, max_megabytes)
    handle.seek(start)
    data = handle.read(height * width * channels * 2)
    if len(data) < height * width * channels * 2:
        raise InputError(f"{shown(path)}: the file is truncated; replace or remove it")
    values = np.frombuffer(data, ">u2").reshape(height, width, channels).astype(np.uint16)
    return RawImage(values, 16)


def _pnm_header(path: Place, handle: IO[bytes]) -> tuple[int, int, int, int, int]:
    """Channels, width, height, highest value, and where the values start."""
    handle.seek(0)
    found = _PNM_HEADER.match(handle.read(4096))
    if found is None or int(found[4]) > 65535:
        raise InputError(f"{shown(path)}: its PPM header is damaged; replace or remove it")
    return 1 if found[1] == b"P5" else 3, int(found[2]), int(found[3]), int(found[4]), found.end()


def probe_jpeg2000(path: Place, handle: IO[bytes], max_megabytes: float) -> list[ImageInfo | str]:
    """Header of a JPEG 2000 file, from its codestream."""
    height, width, bands, bits = _siz(path, handle)
    megabytes = decoded_megabytes(path, height, width, bands, 1 if bits <= 8 else 2, max_megabytes)
    white = 2.0**bits - 1 if 8 < bits < 16 else None
    stored = 8 if bits <= 8 else 16
    return [ImageInfo(height, width, stored, 3 if bands >= 3 else 1, white=white, megabytes=megabytes)]


def read_jpeg2000(path: Place, handle: IO[bytes], max_megabytes: float) -> RawImage:
    """Values of a JPEG 2000 file of up to 16 bits."""
    import imagecodecs

    height, width, bands, bits = _siz(path, handle)
    decoded_megabytes(path, height, width, bands, 1 if bits <= 8 else 2, max_megabytes)
    handle.seek(0)
    values: npt.NDArray[Any] = np.asarray(imagecodecs.jpeg2k_decode(handle.read()))
    values = values if values.ndim == 3 else values[..., None]
    values, hidden = without_alpha(values)
    if values.dtype.kind != "u":
        raise InputError(f"{shown(path)}: values of type {values.dtype} are not read; save it as 8 or 16 bits")
    if bits < 8:
        values = np.rint(values * (255 / (2**bits - 1))).astype(np.uint8)
    return RawImage(values, 8 if bits <= 8 else 16, hidden)


def _siz(path: Place, handle: IO[bytes]) -> tuple[int, int, int, int]:
    """Height, width, components and bits of the first component."""
    handle.seek(0)
    head = handle.read(_SEARCHED)
    at = head.find(_CODESTREAM)
    body = head[at + 6 : at + 6 + 37]
    if at < 0 or len(body) < 37:
        raise InputError(f"{shown(path)}: its JPEG 2000 header is damaged; replace or remove it")
    right, bottom, left, top = (int.from_bytes(body[i : i + 4], "big") for i in (2, 6, 10, 14))
    bands, bits = int.from_bytes(body[34:36], "big"), (body[36] & 0x7F) + 1
    if bits > 16:
        raise InputError(f"{shown(path)}: JPEG 2000 of {bits} bits is not read; save it with 16 bits")
    return bottom - top, right - left, bands, bits
