"""Headers and stored values of image files; every failure is one line that names the file.

A file is recognized by its content. :mod:`blemish.images.loading` scales the values that are read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blemish.errors import InputError, shown
from blemish.images._pillow import probe_pillow, read_pillow
from blemish.images._tiff import is_tiff, probe_tiff, read_tiff
from blemish.images.raw import ImageInfo, RawImage


def probe(path: Path) -> ImageInfo:
    """Size and kind of an image from its header, without decoding it.

    Raises:
        InputError: as :func:`read_raw`.
    """
    path = Path(path)
    with _reporting(path), path.open("rb") as handle:
        return probe_tiff(path, handle) if is_tiff(handle) else probe_pillow(path, handle)


def read_raw(path: Path) -> RawImage:
    """Stored values of the first page or frame, upright, without alpha.

    Raises:
        InputError: the file is missing, unreadable, no image, damaged or too large; one line that names the file.
    """
    path = Path(path)
    with _reporting(path), path.open("rb") as handle:
        return read_tiff(path, handle) if is_tiff(handle) else read_pillow(path, handle)


@contextmanager
def _reporting(path: Path) -> Iterator[None]:
    """Turn every failure of a decoder into an InputError; decoders raise nearly every type of exception."""
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
