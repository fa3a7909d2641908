"""Defect masks: how their values are read, what their folders are called, and which image each mask belongs to."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError, shown
from blemish.images.decoding.decoders import read_raw

_FOLDER_NAMES = frozenset({"mask", "masks", "gt", "groundtruth", "label", "labels", "annotation", "annotations"})
_LARGEST_CLASS = 32  # class numbers are small; the marker for "ignore" is far above them
_IGNORE_VALUES = (255, 65535)  # the highest value of 8 and of 16 bits
_MAX_GRAY_CLASSES, _MIN_GRAY_STEP = 3, 8  # classes drawn in a few distinct grays, as opposed to a soft edge or noise
_LOSSY_TIFF = frozenset({6, 7, 33007, 34712, 34892, 50001})  # JPEG, JPEG 2000 and WebP inside a TIFF


@dataclass(frozen=True)
class Mask:
    """What a mask file says about the pixels of its image.

    Attributes:
        defect: bool H x W, True for pixels of a defect.
        ignored: bool H x W, True for pixels that no score counts, none of them a defect pixel; None if there are none.
    """

    defect: npt.NDArray[np.bool_]
    ignored: npt.NDArray[np.bool_] | None = None


def read_mask(path: Path) -> Mask:
    """The defect pixels and the ignored pixels of a mask file.

    The values of color masks are the maximum over the channels. Colored palettes whose first color is black hold class
    numbers, so the palette index is the value. See :func:`interpret_mask` for what the values mean.

    Args:
        path: an image file with 1 to 4 channels and one page.

    Raises:
        InputError: the file cannot be read, has more channels or pages, or holds NaN or negative values. The message
            names the file.
    """
    path = Path(path)
    values, lossy = read_raw(path).values.max(axis=2), _is_lossy(path)
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and values.min() >= 0):
        raise InputError(f"{shown(path)}: the mask holds NaN, infinite or negative values; replace them")
    indices = None if lossy else _class_indices(path)
    if indices is not None and indices.shape == values.shape:
        values = indices
    return interpret_mask(values, lossy=lossy)


def read_mask_of(path: Path, height: int, width: int) -> Mask:
    """The mask of an image of that height and width, in pixels.

    Raises:
        InputError: as :func:`read_mask`, or the mask has another size than its image.
    """
    mask = read_mask(path)
    if mask.defect.shape != (height, width):
        rows, columns = mask.defect.shape
        raise InputError(
            f"{shown(path)}: the mask is {rows} x {columns}, its image {height} x {width}; "
            "save the mask at the size of its image"
        )
    return mask


def interpret_mask(values: npt.NDArray[Any], *, lossy: bool = False) -> Mask:
    """The defect pixels and the ignored pixels, decided from the values that a mask holds.

    1. One non-zero value: it marks the defect. This covers 0/1 and 0/255.
    2. Class numbers, that is, zero and values up to 32: each non-zero value marks a defect. The highest value of 8 or
       16 bits (255 or 65535) beside them means "ignore".
    3. Zero and two or three other values at least 8 apart: each of them marks a defect (classes drawn in gray).
    4. Anything else is a drawing with soft edges or compression noise: values above half of the maximum mark a defect.

    Args:
        values: H x W, finite, >= 0.
        lossy: the values come from lossy compression, so only rules 1 and 4 apply.

    >>> interpret_mask(np.array([[0, 1, 255, 2]])).defect.tolist()
    [[False, True, False, True]]
    """
    levels = np.unique(values)
    nonzero = levels[levels > 0]
    if len(nonzero) > 1 and levels[0] == 0 and not lossy:
        large = nonzero[nonzero > _LARGEST_CLASS]
        has_classes = len(large) < len(nonzero) and bool((nonzero == np.rint(nonzero)).all())
        if has_classes and len(large) == 1 and large[0] in _IGNORE_VALUES:
            ignored = np.asarray(values == large[0])
            return Mask(np.asarray(values > 0) & ~ignored, ignored)
        is_gray_coded = len(nonzero) <= _MAX_GRAY_CLASSES and bool((np.diff(levels) >= _MIN_GRAY_STEP).all())
        if (has_classes and not len(large)) or is_gray_coded:
            return Mask(np.asarray(values > 0))
    top = levels[-1] if len(levels) else 0
    return Mask(np.asarray((values > 0) & (values > top / 2)))


def is_mask_folder(name: str) -> bool:
    """Whether a folder of this name holds masks and not a defect type.

    >>> [is_mask_folder(name) for name in ("MASK", "ground_truth", "gt", "scratch")]
    [True, True, True, False]
    """
    return name.strip().casefold().replace("_", "").replace("-", "").replace(" ", "") in _FOLDER_NAMES


def stem_in(mask: Path, stems: Iterable[str]) -> str | None:
    """The stem of the image that a mask is named after: the mask's own stem, or without ``_mask``; None if neither."""
    known = set(stems)
    return next((stem for stem in (mask.stem, mask.stem.removesuffix("_mask")) if stem in known), None)


def pair_masks(images: Sequence[Path], masks: Sequence[Path]) -> list[Path | None]:
    """The mask of each image by name, None where there is none.

    Raises:
        InputError: a mask without an image, two masks for one image, or one mask for two images of the same stem.
    """
    by_stem: dict[str, Path] = {}
    stems = {p.stem for p in images}
    for mask in masks:
        stem = stem_in(mask, stems)
        if stem is None:
            raise orphan_error(mask)
        if stem in by_stem:
            raise InputError(f"{shown(mask)}: second mask for one image, beside {shown(by_stem[stem])}; remove one")
        by_stem[stem] = mask
    return [by_stem.get(p.stem) for p in images]


def orphan_error(mask: Path) -> InputError:
    """The error for a mask whose name belongs to no image."""
    return InputError(
        f"{shown(mask)}: mask without an image of that name; remove it, add the image, "
        "or rename its folder if that holds images of a defect type"
    )


def _is_lossy(path: Path) -> bool:
    """Whether the file's compression may change values; also checks the channels and pages of a TIFF."""
    with path.open("rb") as handle:
        head = handle.read(12)
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        import tifffile

        with tifffile.TiffFile(path) as tiff:
            page, pages = tiff.pages[0], len(tiff.pages)
            channels, compression = int(page.samplesperpixel), int(page.compression)
        if channels > 4 or pages > 1:
            found = f"{channels} channels" if channels > 4 else f"{pages} pages"
            raise InputError(f"{shown(path)}: the mask has {found}; save it as one gray or color picture")
        return compression in _LOSSY_TIFF
    return head.startswith(b"\xff\xd8\xff") or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def _class_indices(path: Path) -> npt.NDArray[Any] | None:
    """Palette indices of a PNG whose palette is black first and colored; None for every other file."""
    from PIL import Image

    with path.open("rb") as handle:
        head = handle.read(26)
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or head[25:26] != b"\x03":
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG",)) as picture:
                palette = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
                indices = np.asarray(picture)
                upright = picture.getexif().get(274, 1) == 1
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    colored = bool((palette != palette[:, :1]).any())
    return indices if upright and colored and not palette[0].any() and indices.ndim == 2 else None
