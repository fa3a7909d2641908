"""The picture within each image of a set: what is learned and scored, and what takes the place of the rest."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.images.decoding.raw import ImageInfo
from blemish.images.decoding.stored import StoredImage, Window
from blemish.images.inside.borders import Borders, find_borders
from blemish.images.inside.roi import WHOLE, RegionOfInterest
from blemish.images.scaling.sizes import resize
from blemish.types import BoolArray, FloatArray, IntArray

ALPHA_BYTES = 2**26
"""Bytes of transparency masks in memory; beyond them, images are decoded again when theirs is needed."""

LEAST_VISIBLE = 0.01
"""If less of an image is visible than this share, its alpha channel says nothing."""

_UNKNOWN, _OPAQUE, _TRANSPARENT = -1, 0, 1
_NUMBERS = 12


class PictureArea:
    """What of each image counts: the region of interest, without constant borders and transparent pixels.

    Args:
        infos: header of each image.
        roi: the region of interest; None: whole images.
        borders: whether constant borders and transparent pixels are no picture.
        decode: decodes image i, which calls :meth:`look`; used where results of an earlier run left that out.

    Attributes:
        seeks_borders: as ``borders``.
    """

    def __init__(
        self, infos: Sequence[ImageInfo], roi: RegionOfInterest | None, borders: bool, decode: Callable[[int], object]
    ) -> None:
        self._roi, self.seeks_borders, self._decode = roi, borders, decode
        self._sizes = [(info.height, info.width) for info in infos]
        # for each image whether it has transparent pixels, and its borders
        self._known = np.full((len(infos), 1 + _NUMBERS), _UNKNOWN, np.int64)
        self._alpha: OrderedDict[int, npt.NDArray[np.uint8]] = OrderedDict()

    def look(self, index: int, image: StoredImage) -> None:
        """Find the borders of image ``index``. Thread-safe: each image has its own row."""
        if not self.seeks_borders:
            return
        hidden = image.transparent
        usable = hidden is not None and hidden.any() and not hidden.mean() > 1 - LEAST_VISIBLE
        if usable and hidden is not None:
            self._alpha[index] = np.packbits(hidden)
            while sum(one.nbytes for one in list(self._alpha.values())) > ALPHA_BYTES and len(self._alpha) > 2:
                self._alpha.popitem(last=False)
        found = Borders() if usable else find_borders(image.values, image.white)
        self._known[index] = [_TRANSPARENT if usable else _OPAQUE, *found.numbers()]

    @property
    def bordered(self) -> int:
        """Number of images, among those looked at, with borders or transparent pixels."""
        return int((self._known > 0).any(axis=1).sum())

    @property
    def state(self) -> IntArray:
        """What was found so far, N x 13; :meth:`recall` takes it back."""
        return self._known.copy()

    def recall(self, state: IntArray) -> None:
        """Take over what an earlier run found in the same images."""
        self._known = np.where(self._known == _UNKNOWN, state, self._known)

    def inside(self, index: int, height: int, width: int) -> BoolArray | None:
        """The cells of a grid over image ``index`` of which at least half counts; None if all of the image counts."""
        region = None if self._roi is None else self._roi.inside(index, height, width)
        if not self._has_borders(index):
            return region
        picture = self._picture(index, height, width) >= 0.5
        both = picture if region is None else picture & region
        return both if both.any() else region

    def filled(self, index: int, image: FloatArray, size: tuple[int, int], window: Window | None = None) -> FloatArray:
        """Pixels of image ``index`` with what does not count replaced by what does, mirrored at its edge; 3 x h x w.

        The network sees some distance around each cell. The mirror keeps the outside from reaching across the edge, and
        adds no edge of its own.

        Args:
            index: the image.
            image: its pixels, or those of a window.
            size: height and width of the whole image.
            window: rows and columns of the window; None: ``image`` is the whole image.
        """
        inside = None if self._roi is None else self._roi.pixels(index, *size, window)
        if self._has_borders(index):
            picture = self._picture(index, *size, window) >= WHOLE
            inside = picture if inside is None else inside & picture
        if inside is None or inside.all() or not inside.any():
            return image
        rows, columns = _mirrored_places(np.packbits(inside).tobytes(), *inside.shape)
        return np.ascontiguousarray(image[:, rows, columns])

    def restricted(self, index: int) -> bool:
        """Whether any part of image ``index`` may not count."""
        return self._roi is not None or self._has_borders(index)

    def digest(self, index: int) -> tuple[Any, ...]:
        """What a key must hold of the region; borders follow from the content of the image."""
        return (
            *(() if self._roi is None else (self._roi.digest(index),)),
            *(("borders",) if self.seeks_borders else ()),
        )

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every other image, see :meth:`blemish.images.ImageSource.keep`."""
        if self._roi is not None:
            self._roi.keep(indices)
        self._sizes = [self._sizes[index] for index in indices]
        self._known = self._known[list(indices)]
        self._alpha = OrderedDict((new, self._alpha[old]) for new, old in enumerate(indices) if old in self._alpha)

    def _has_borders(self, index: int) -> bool:
        if not self.seeks_borders:
            return False
        if self._known[index, 0] == _UNKNOWN:
            self._decode(index)
        return bool((self._known[index] > 0).any())

    def _picture(self, index: int, height: int, width: int, window: Window | None = None) -> FloatArray:
        """How much of each cell of a grid shows the picture, from 0 to 1."""
        stored = self._sizes[index]
        if self._known[index, 0] != _TRANSPARENT:
            return Borders.from_numbers(self._known[index, 1:]).picture(stored, height, width, window)
        if index not in self._alpha:
            self._decode(index)
        visible = ~np.unpackbits(self._alpha[index], count=stored[0] * stored[1]).view(bool).reshape(stored)[..., None]
        if window is None and visible.size <= 2**25:
            return resize(visible.astype(np.float32), height, width)[..., 0]
        return StoredImage(visible, 1.0).resized(height, width, window)[..., 0]


@functools.lru_cache(maxsize=16)
def _mirrored_places(packed: bytes, height: int, width: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each pixel, the row and the column of the pixel inside that takes its place.

    Args:
        packed: the pixels inside, as :func:`numpy.packbits` packs them.
        height: rows.
        width: columns.
    """
    from scipy.ndimage import distance_transform_edt

    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width)
    inside = bits.view(bool).reshape(height, width)
    nearest = distance_transform_edt(~inside, return_distances=False, return_indices=True)
    mirrored = 2 * nearest - np.indices(inside.shape)
    limits = np.array(inside.shape)[:, None, None]
    usable = ((mirrored >= 0) & (mirrored < limits)).all(0)
    mirrored = np.where(usable, mirrored, 0)
    rows, columns = np.where(usable & inside[mirrored[0], mirrored[1]], mirrored, nearest)
    return rows, columns
