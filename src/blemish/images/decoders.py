"""File formats: stored values and headers of PNG, JPEG, TIFF, BMP and WebP, with every failure as one line.

:mod:`blemish.images.loading` is the public side: it scales what is read here.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError

MAX_PIXELS = 400_000_000
"""Images with more pixels are refused: decoded they take 12 bytes per pixel."""

_PILLOW_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_open_lock = threading.Lock()


@dataclass(frozen=True)
class ImageInfo:
    """What the header of an image says.

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


@dataclass(frozen=True)
class Raw:
    """Stored values before scaling: H x W x (1 or 3), with the bits that are really used."""

    values: npt.NDArray[Any]
    bits: int

    @property
    def floating(self) -> bool:
        """Whether the file stores floating-point values."""
        return self.values.dtype.kind == "f"

    @property
    def deep(self) -> bool:
        """Whether a white level has a say."""
        return self.floating or self.bits > 8


def shown(path: Path | str) -> str:
    """Path as one printable line: newlines and other control characters are escaped, text that is no Unicode too."""
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Whatever a decoder raises becomes one line that names the file; decoders raise nearly everything."""
    try:
        if path.is_dir():
            raise InputError(f"{shown(path)}: is a folder, not an image")
        if path.exists() and not path.is_file():
            raise InputError(f"{shown(path)}: is not a regular file")
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{shown(path)}: no such file; check the path or the link") from error
    except PermissionError as error:
        raise InputError(f"{shown(path)}: may not be read; check its permissions") from error
    except MemoryError as error:
        raise InputError(f"{shown(path)}: does not fit into memory; cut it into tiles") from error
    except Exception as error:
        reason = shown(" ".join(str(error).split())[:160]).rstrip(".") or type(error).__name__
        raise InputError(f"{shown(path)}: cannot be read as an image ({reason}); replace or remove the file") from error


def probe(path: Path) -> ImageInfo:
    """Size and kind of an image from its header, without decoding it; errors as in :func:`blemish.images.loading.decode`."""
    path = Path(path)
    with _reporting(path), path.open("rb") as handle:
        if _is_tiff(handle):
            return _probe_tiff(path, handle)
        with _pillow(path, handle) as (image, turn):
            height, width = image.height, image.width
            if turn >= 5:
                height, width = width, height
            depth, color = _png_kind(handle)
            bits = 16 if depth == 16 else 1 if image.mode == "1" else 8
            gray = color in (0, 4) or image.mode in ("1", "L", "LA")
            return ImageInfo(height, width, bits, 1 if gray else 3)


def read(path: Path) -> Raw:
    """Stored values of the first page or frame, upright, alpha dropped; raises InputError with the name of the file."""
    with _reporting(path), path.open("rb") as handle:
        if _is_tiff(handle):
            return _read_tiff(path, handle)
        with _pillow(path, handle) as (image, turn):
            if _png_kind(handle)[0] == 16:
                return Raw(_upright(_read_png16(handle), turn), 16)
            if image.mode in ("1", "L", "LA", "La"):
                values = np.asarray(image.convert("L"))[..., None]
            else:
                # by way of RGBA, as Pillow warns about palettes with several transparent entries otherwise
                values = np.asarray(image.convert("RGBA" if image.mode in ("P", "PA") else "RGB"))[..., :3]
            return Raw(_upright(values, turn), 8)


def _read_png16(handle: IO[bytes]) -> npt.NDArray[Any]:
    """16-bit PNG through imagecodecs: Pillow halves the depth of color images."""
    import imagecodecs

    handle.seek(0)
    values: npt.NDArray[Any] = np.atleast_3d(imagecodecs.png_decode(handle.read()))
    return values[..., : 3 if values.shape[2] >= 3 else 1]


@contextmanager
def _pillow(path: Path, handle: IO[bytes]) -> Iterator[tuple[Any, int]]:
    """Opened (not yet decoded) by Pillow, with its orientation, under our limit of pixels instead of Pillow's two."""
    from PIL import Image, UnidentifiedImageError

    handle.seek(0)
    if not handle.read(1):
        raise InputError(f"{shown(path)}: the file is empty; replace or remove it")
    handle.seek(0)
    try:
        # Pillow's limit is a global that it looks at while opening only: lifted for that moment. Its warnings are about
        # metadata (damaged EXIF), which must not cost the picture. Both are global state, hence the lock.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(handle, formats=_PILLOW_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
            turn = _orientation(image)
    except UnidentifiedImageError:
        raise InputError(f"{shown(path)}: is not a PNG, JPEG, TIFF, BMP or WebP image; replace or remove it") from None
    with image:
        _check_size(path, image.height, image.width)
        yield image, turn


def _check_size(path: Path, height: int, width: int) -> None:
    if height < 1 or width < 1:
        raise InputError(f"{shown(path)}: has no pixels; replace or remove it")
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{shown(path)}: {height} x {width} pixels are more than the {MAX_PIXELS // 10**6} million allowed; "
            "cut it into tiles"
        )


def _png_kind(handle: IO[bytes]) -> tuple[int, int]:
    """Bits per channel and color type from the header of a PNG, -1 for other formats; handle left where it was."""
    position = handle.tell()
    handle.seek(0)
    head = handle.read(26)
    handle.seek(position)
    return (head[24], head[25]) if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) == 26 else (-1, -1)


def _orientation(image: Any) -> int:
    """EXIF orientation 1..8; damaged metadata counts as upright, the pixels are still good."""
    try:
        value = int(image.getexif().get(274, 1))
    except Exception:
        return 1
    return value if 1 <= value <= 8 else 1


def _upright(values: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Undo an EXIF orientation 1..8 on H x W x C."""
    if orientation >= 5:
        values = values.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _is_tiff(handle: IO[bytes]) -> bool:
    magic = handle.read(4)
    handle.seek(0)
    return magic in _TIFF_MAGIC


@contextmanager
def _first_page(path: Path, handle: IO[bytes]) -> Iterator[Any]:
    import tifffile

    with tifffile.TiffFile(handle) as tiff:
        page = tiff.pages[0]
        _check_size(path, page.imagelength, page.imagewidth)
        end = max((o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)), default=0)
        if end > os.fstat(handle.fileno()).st_size:
            raise InputError(f"{shown(path)}: the file is truncated; replace or remove it")
        yield page


def _tiff_orientation(page: Any) -> int:
    value = page.tags.valueof(274, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _tiff_bits(path: Path, page: Any) -> int:
    bits = page.bitspersample
    if not isinstance(bits, int):  # a tuple where the channels differ
        raise InputError(f"{shown(path)}: its channels have {bits} bits; save it with 8 or 16 bits in each")
    return bits


def _probe_tiff(path: Path, handle: IO[bytes]) -> ImageInfo:
    with _first_page(path, handle) as page:
        height, width = page.imagelength, page.imagewidth
        if _tiff_orientation(page) >= 5:
            height, width = width, height
        palette = int(page.photometric) == 3
        floating = page.dtype is not None and page.dtype.kind == "f"
        gray = page.samplesperpixel < 3 and not palette
        return ImageInfo(height, width, 8 if palette else _tiff_bits(path, page), 1 if gray else 3, floating)


def _read_tiff(path: Path, handle: IO[bytes]) -> Raw:
    with _first_page(path, handle) as page:
        photometric, bits = int(page.photometric), _tiff_bits(path, page)
        jpeg = int(page.compression) in (6, 7, 33007, 34892)
        if photometric not in (0, 1, 2, 3, 5, 6, 34892) or (photometric == 6 and not jpeg):
            raise InputError(f"{shown(path)}: colors stored as {page.photometric!s} are not read; save it as RGB")
        values = np.asarray(page.asarray(maxworkers=1))
        axes = page.axes
        for axis in [a for a in axes if a not in "YXS"]:
            values, axes = values.take(0, axis=axes.index(axis)), axes.replace(axis, "", 1)
        values = values.transpose([axes.index(a) for a in ("Y", "X", "S") if a in axes])
        values = values if values.ndim == 3 else values[..., None]
        if photometric == 3:
            values, bits = _from_palette(values[..., 0], page.colormap), 8
        if values.dtype.kind not in "buif":
            raise InputError(f"{shown(path)}: values of type {values.dtype} are not read; save it as 8 or 16 bits")
        if values.dtype.kind == "i":
            bits -= 1
            if values.min() < 0:
                raise InputError(f"{shown(path)}: holds negative values; shift them to start at 0")
        if photometric == 5 and values.shape[2] >= 4 and values.dtype.kind != "f":
            top = 2**bits - 1
            light = top - values[..., :4].astype(np.float64)
            values = np.rint(light[..., :3] * light[..., 3:] / top).astype(values.dtype)
        values = values[..., : 3 if values.shape[2] >= 3 else 1]
        if photometric == 0 and values.dtype.kind != "f":
            values = (2**bits - 1) - values.astype(np.int64)
        return Raw(_upright(values, _tiff_orientation(page)), bits)


def _from_palette(index: npt.NDArray[Any], colormap: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """8-bit colors of a TIFF palette; some writers fill its 16-bit entries with 8-bit values only."""
    table = colormap if colormap.max() <= 255 else colormap >> 8
    colors: npt.NDArray[np.uint8] = table.astype(np.uint8).T[index]  # 2^bits x 3, indexed by H x W
    return colors
