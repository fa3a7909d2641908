"""The region of interest: the part of each image that counts. What lies outside is neither learned nor scored."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath

import numpy as np

from blemish.errors import ConfigError, InputError, shown
from blemish.images.decoding.decoders import probe, read_raw
from blemish.images.decoding.files import file_digest
from blemish.images.decoding.raw import ImageInfo
from blemish.images.decoding.stored import StoredImage, Window
from blemish.images.finding.places import open_regular
from blemish.images.scaling.sizes import resize
from blemish.types import BoolArray

WHOLE = 1 - 1e-5
"""A resized pixel counts as inside if at least this share of what it shows is inside; the rest is rounding."""

_LARGE_PIXELS = 2**25
"""Pixels from which a mask is resized in bands."""


class RegionOfInterest:
    """The masks of a set of images.

    Args:
        path: one mask for all images, or a folder with a mask for each: the path of the image below the input folder, with
            any suffix. A mask has the size of its image, and pixels other than 0 are inside.
        names: path of each image below the input folder.
        infos: header of each image.

    Raises:
        ConfigError: a mask is missing, is no image, or has another size than its image; the message names both.
    """

    def __init__(self, path: Path, names: Sequence[str], infos: Sequence[ImageInfo]) -> None:
        if not path.exists():
            raise ConfigError(f"{shown(path)}: no such file or folder; give a mask for image.roi, or a folder of masks")
        self._paths = _masks_of(path, names) if path.is_dir() else [path] * len(names)
        self._digest_of = functools.cache(_digest)
        self._read = functools.lru_cache(maxsize=2)(_read_mask)
        self._reduced = functools.lru_cache(maxsize=64)(self._reduce)
        with _as_setting():
            sizes = {one: (info.height, info.width) for one in set(self._paths) for info in [probe(one)]}
        for name, mask, info in zip(names, self._paths, infos, strict=True):
            own, other = sizes[mask], (info.height, info.width)
            if own != other:
                raise ConfigError(
                    f"{shown(mask)}: the mask has {own[0]} x {own[1]} pixels, but the image {shown(name)} has "
                    f"{other[0]} x {other[1]}; give masks of the size of their images"
                )

    def inside(self, index: int, height: int, width: int) -> BoolArray:
        """The cells of a grid over image ``index`` that count: those with at least half of their area inside.

        Raises:
            ConfigError: there is none.
        """
        inside = self._reduced(self._paths[index], height, width, 0.5)
        if not inside.any():
            raise ConfigError(
                f"{shown(self._paths[index])}: the region is too small for the {height} x {width} cells of the features; "
                "give a larger region, or raise image.size"
            )
        return inside

    def pixels(self, index: int, height: int, width: int, window: Window | None = None) -> BoolArray:
        """The pixels of image ``index`` that lie in the region as a whole, at a size of the image.

        Args:
            index: the image.
            height: rows of the image.
            width: columns of the image.
            window: the part that is wanted; None: all.
        """
        if window is None:
            return self._reduced(self._paths[index], height, width, WHOLE)
        mask = StoredImage(self._read(self._paths[index])[..., None], 1.0)
        return mask.resized(height, width, window)[..., 0] >= WHOLE

    def digest(self, index: int) -> str:
        """Digest of the mask of image ``index``."""
        return self._digest_of(self._paths[index])

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every other image, see :meth:`blemish.images.ImageSource.keep`."""
        self._paths = [self._paths[index] for index in indices]

    def _reduce(self, path: Path, height: int, width: int, share: float) -> BoolArray:
        mask = self._read(path)[..., None]
        huge = mask.size > _LARGE_PIXELS
        return resize(StoredImage(mask, 1.0) if huge else mask.astype(np.float32), height, width)[..., 0] >= share


def _masks_of(folder: Path, names: Sequence[str]) -> list[Path]:
    """The mask of each image in a folder of masks."""
    masks = {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    found = [masks.get(_stem(name)) for name in names]
    without = [name for name, mask in zip(names, found, strict=True) if mask is None]
    if without:
        raise ConfigError(
            f"{shown(folder)}: holds no mask for {len(without)} of {len(names)} images, such as {shown(without[0])}; "
            "a mask has the path of its image, with any suffix"
        )
    return [mask for mask in found if mask is not None]


def _stem(name: str) -> str:
    """Path of an image without page and suffix; absolute paths count by their last part.

    >>> _stem("a/roll.tif#2"), _stem("/data/b.png")
    ('a/roll', 'b')
    """
    path = PurePath(name.rpartition("#")[0] if name.rpartition("#")[2].isdecimal() and "#" in name else name)
    return (PurePath(path.name) if path.is_absolute() else path).with_suffix("").as_posix()


def _read_mask(path: Path) -> BoolArray:
    with _as_setting():
        values = read_raw(path).values
    inside: BoolArray = (values != 0).any(axis=2)
    if not inside.any():
        raise ConfigError(f"{shown(path)}: the mask is empty; pixels other than 0 are inside the region of interest")
    return inside


def _digest(path: Path) -> str:
    with _as_setting(), open_regular(path) as handle:
        return file_digest(handle)


@contextmanager
def _as_setting() -> Iterator[None]:
    """A mask that cannot be read ends the run: unlike an image, it is part of the settings and not skipped."""
    try:
        yield
    except InputError as error:
        raise ConfigError(f"image.roi: {error}") from error
