"""JPEG, BMP, WebP, GIF, AVIF and 8-bit PPM, PGM and PBM files, read through Pillow."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.decoding.raw import MAX_PAGES, ImageInfo, RawImage, check_page, decoded_megabytes, without_alpha
from blemish.images.finding.places import Place

_ANIMATED = ("GIF", "WEBP", "AVIF")  # a JPEG with several pictures holds previews and gain maps, not frames
_GRAY = ("1", "L", "LA")
_ORIENTATION = 274
_METADATA_ERRORS = (
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow raises on damaged EXIF data. Reading EXIF never decodes pixels here, so no decoding error is among them."""

_open_lock = threading.Lock()


def probe_pillow(path: Place, handle: IO[bytes], kind: str, max_megabytes: float) -> list[ImageInfo | str]:
    """Header of each frame."""
    with opened(path, handle, kind) as image:
        height, width, megabytes = image.height, image.width, _megabytes(path, image, max_megabytes)
        gray = image.mode in _GRAY
        if _orientation(image) >= 5:
            height, width = width, height
        bits = 1 if image.mode == "1" else 8
        return [ImageInfo(height, width, bits, 1 if gray else 3, megabytes=megabytes)] * _frames(path, image, kind)


def read_pillow(path: Place, handle: IO[bytes], kind: str, page: int, max_megabytes: float) -> RawImage:
    """Stored values of one frame."""
    with opened(path, handle, kind) as image:
        _megabytes(path, image, max_megabytes)
        orientation = _orientation(image)
        check_page(path, page, _frames(path, image, kind) if page else 1)
        if page:
            image.seek(page)
        values, hidden = without_alpha(to_bands(image), orientation)
        return RawImage(values, 8, hidden)


def _megabytes(path: Place, image: Any, max_megabytes: float) -> float:
    return decoded_megabytes(path, image.height, image.width, 1 if image.mode in _GRAY else 4, 1, max_megabytes)


def to_bands(image: Any) -> npt.NDArray[Any]:
    """8-bit values of an opened image, H x W x (1 to 4); a second or fourth band is alpha."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        bands = np.asarray(image)
    elif image.mode in ("1", "La"):
        bands = np.asarray(image.convert("L" if image.mode == "1" else "LA"))
    else:
        # palettes go through RGBA, because Pillow warns about several transparent entries otherwise
        bands = np.asarray(image.convert("RGBA" if image.mode in ("P", "PA", "RGBa") else "RGB"))
    return bands if bands.ndim == 3 else bands[..., None]


@contextmanager
def opened(path: Place, handle: IO[bytes], kind: str) -> Iterator[Any]:
    """The image, opened as one format and not yet decoded; our limit of bytes replaces Pillow's limits of pixels."""
    from PIL import Image, UnidentifiedImageError

    handle.seek(0)
    try:
        # Pillow reads its limit, a global, only while it opens a file, so the limit is lifted for that moment. Pillow's
        # warnings are about metadata (damaged EXIF), which must not cost the picture. Both are global: hence the lock.
        with _open_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind not in Image.OPEN:
                Image.init()
            if kind not in Image.OPEN:
                raise InputError(f"{shown(path)}: the installed Pillow cannot read {kind}; update it")
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(handle, formats=(kind,))
            finally:
                Image.MAX_IMAGE_PIXELS = limit
    except UnidentifiedImageError:
        raise InputError(f"{shown(path)}: its {kind} header is damaged; replace or remove it") from None
    with image:
        yield image


def exif_orientation(read: Callable[[], Any]) -> int:
    """Orientation 1..8 from EXIF data; damaged or missing data counts as upright."""
    with _open_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = int(read().get(_ORIENTATION, 1))
        except _METADATA_ERRORS:
            return 1
    return value if 1 <= value <= 8 else 1


def _orientation(image: Any) -> int:
    from PIL import Image

    # the method of the base class reads metadata only; the method of a format may decode the image
    return exif_orientation(lambda: Image.Image.getexif(image))


def _frames(path: Place, image: Any, kind: str) -> int:
    frames = int(getattr(image, "n_frames", 1)) if kind in _ANIMATED else 1
    if frames > MAX_PAGES:
        raise InputError(f"{shown(path)}: holds {frames} frames, more than {MAX_PAGES}; save them as files")
    return max(frames, 1)
