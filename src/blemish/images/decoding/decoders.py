"""Headers and stored values of image files; every failure is one line that names the file.

A file is recognized by its content. :mod:`blemish.images.decoding.loading` scales the values that are read here.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from blemish.errors import InputError, shown
from blemish.images.decoding import _deep, _pillow, _png, _tiff
from blemish.images.decoding.raw import MAX_MEGABYTES, ImageInfo, RawImage, check_page
from blemish.images.finding.formats import HEAD_BYTES, sniff
from blemish.images.finding.places import Place, open_place

DECODER_ERRORS = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    ArithmeticError,
    TypeError,
    AttributeError,
    RuntimeError,
    AssertionError,
    BufferError,
    struct.error,
    zlib.error,
)
"""What Pillow, tifffile and imagecodecs raise on damaged files. Each becomes an InputError; none is passed over."""

for _name in ("tifffile", "imagecodecs", "PIL"):
    # they log what they find damaged without the name of the file; our own message has the name
    logging.getLogger(_name).addHandler(logging.NullHandler())

Check = Callable[[IO[bytes]], None]
"""Called with the open file once it has been decoded; raises InputError to refuse what was read."""


def probe(path: Place, page: int = 0, *, max_megabytes: float = MAX_MEGABYTES) -> ImageInfo:
    """Size and kind of an image from its header, without decoding it.

    Args:
        path: the file, or another place.
        page: page or frame, from 0.
        max_megabytes: an image that takes more memory once decoded is refused.

    Raises:
        InputError: as :func:`read_raw`.
    """
    pages = probe_pages(path, max_megabytes=max_megabytes)
    check_page(path, page, len(pages))
    found = pages[page]
    if isinstance(found, str):
        raise InputError(found)
    return found


def probe_pages(
    path: Place, *, max_megabytes: float = MAX_MEGABYTES, check: Check | None = None
) -> list[ImageInfo | str]:
    """Header of each page of a TIFF file or frame of an animation, in order; a plain image has one.

    Previews, transparency masks and the further pictures in a JPEG file are not pages. A page that cannot be read is a
    line of text that says why.

    Raises:
        InputError: the first page cannot be read, for one of the reasons of :func:`read_raw`.
    """
    with _opened(path) as (handle, kind):
        if kind == "TIFF":
            found = _tiff.probe_tiff(path, handle, max_megabytes)
        elif kind == "PNG":
            found = _png.probe_png(path, handle, max_megabytes)
        elif kind == "JPEG2000":
            found = _deep.probe_jpeg2000(path, handle, max_megabytes)
        elif kind == "PPM" and _deep.pnm_depth(handle) > 255:
            found = _deep.probe_deep_pnm(path, handle, max_megabytes)
        else:
            found = _pillow.probe_pillow(path, handle, kind, max_megabytes)
        if check is not None:
            check(handle)
        return found


def read_raw(
    path: Place, page: int = 0, *, max_megabytes: float = MAX_MEGABYTES, check: Check | None = None
) -> RawImage:
    """Stored values of one page or frame, upright, without alpha.

    Args:
        path: the file, or another place.
        page: page or frame, from 0.
        max_megabytes: an image that takes more memory once decoded is refused before it is decoded.
        check: called with the open file after decoding.

    Raises:
        InputError: the file is missing, unreadable, no image, damaged or too large; one line that names the file.
    """
    with _opened(path) as (handle, kind):
        if kind == "TIFF":
            raw = _tiff.read_tiff(path, handle, page, max_megabytes)
        elif kind == "PNG":
            raw = _png.read_png(path, handle, page, max_megabytes)
        elif kind == "JPEG2000":
            raw = _deep.read_jpeg2000(path, handle, max_megabytes)
        elif kind == "PPM" and _deep.pnm_depth(handle) > 255:
            raw = _deep.read_deep_pnm(path, handle, max_megabytes)
        else:
            raw = _pillow.read_pillow(path, handle, kind, page, max_megabytes)
        if check is not None:
            check(handle)
        return raw


@contextmanager
def _opened(path: Place) -> Iterator[tuple[IO[bytes], str]]:
    """The open file and its format; every error of a decoder becomes an InputError that names the file."""
    try:
        with open_place(path) as handle:
            head = handle.read(HEAD_BYTES)
            if not head:
                raise InputError(f"{shown(path)}: the file is empty; replace or remove it")
            kind = sniff(head)
            if kind is None:
                raise InputError(f"{shown(path)}: is not an image of a known format; replace or remove it")
            yield handle, kind
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{shown(path)}: no such file; check the path or the link") from error
    except PermissionError as error:
        raise InputError(f"{shown(path)}: may not be read; check its permissions") from error
    except MemoryError as error:
        raise InputError(f"{shown(path)}: does not fit into memory; cut it into tiles") from error
    except DECODER_ERRORS as error:
        reason = shown(" ".join(str(error).split())[:160]).rstrip(".") or type(error).__name__
        raise InputError(f"{shown(path)}: cannot be read as an image ({reason}); replace or remove the file") from error
