"""PNG, JPEG, BMP and WebP files, read through Pillow; 16-bit PNG through imagecodecs."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.raw import ImageInfo, RawImage, check_size, upright

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_ORIENTATION = 274
_open_lock = threading.Lock()


def probe_pillow(path: Path, handle: IO[bytes]) -> ImageInfo:
    """Header of the first frame."""
    with _opened(path, handle) as (image, orientation):
        height, width = image.height, image.width
        if orientation >= 5:
            height, width = width, height
        depth, color = _png_kind(handle)
        bits = 16 if depth == 16 else 1 if image.mode == "1" else 8
        gray = color in (0, 4) or image.mode in ("1", "L", "LA")
        return ImageInfo(height, width, bits, 1 if gray else 3)


def read_pillow(path: Path, handle: IO[bytes]) -> RawImage:
    """Stored values of the first frame."""
    with _opened(path, handle) as (image, orientation):
        if _png_kind(handle)[0] == 16:
            return RawImage(upright(_read_png16(handle), orientation), 16)
        if image.mode in ("1", "L", "LA", "La"):
            values = np.asarray(image.convert("L"))[..., None]
        else:
            # palettes go through RGBA, because Pillow warns about several transparent entries otherwise
            values = np.asarray(image.convert("RGBA" if image.mode in ("P", "PA") else "RGB"))[..., :3]
        return RawImage(upright(values, orientation), 8)


def _read_png16(handle: IO[bytes]) -> npt.NDArray[Any]:
    """16-bit PNG through imagecodecs, because Pillow halves the depth of color images."""
    import imagecodecs

    handle.seek(0)
    values: npt.NDArray[Any] = np.atleast_3d(imagecodecs.png_decode(handle.read()))
    return values[..., : 3 if values.shape[2] >= 3 else 1]


@contextmanager
def _opened(path: Path, handle: IO[bytes]) -> Iterator[tuple[Any, int]]:
    """The image, opened and not yet decoded, and its orientation; our limit of pixels replaces Pillow's two limits."""
    from PIL import Image, UnidentifiedImageError

    handle.seek(0)
    if not handle.read(1):
        raise InputError(f"{shown(path)}: the file is empty; replace or remove it")
    handle.seek(0)
    try:
        # Pillow reads its limit, a global, only while it opens a file, so the limit is lifted for that moment. Pillow's
        # warnings are about metadata (damaged EXIF), which must not cost the picture. Both are global: hence the lock.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(handle, formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = limit
            orientation = _orientation(image)
    except UnidentifiedImageError:
        raise InputError(f"{shown(path)}: is not a PNG, JPEG, TIFF, BMP or WebP image; replace or remove it") from None
    with image:
        check_size(path, image.height, image.width)
        yield image, orientation


def _png_kind(handle: IO[bytes]) -> tuple[int, int]:
    """Bits per channel and color type from the header of a PNG, -1 for other formats; the handle stays where it was."""
    position = handle.tell()
    handle.seek(0)
    head = handle.read(26)
    handle.seek(position)
    return (head[24], head[25]) if head.startswith(_PNG_MAGIC) and len(head) == 26 else (-1, -1)


def _orientation(image: Any) -> int:
    """EXIF orientation 1..8; damaged metadata counts as upright."""
    try:
        value = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1
    return value if 1 <= value <= 8 else 1
