"""Image files in, float RGB arrays out: finding, decoding, one brightness scale and one plan of sizes for a whole set.

Decisions, stated once:

- A file is recognized by its content; its suffix only decides whether a folder listing picks it up.
- Alpha is dropped, not composited: the stored colors are what the camera saw, a background color would be invented.
- Gray is repeated over three channels. Of TIFF files with more than three bands the first three are used
  (CMYK is converted), of several pages, layers or frames the first.
- Integers deeper than 8 bits are divided by a *white level*. Cameras store 10, 12 or 14 bits in 16-bit files, so the
  level is found once for the set (:func:`white_level`); dividing by 65535 blindly would give nearly black images.
- EXIF orientation and the TIFF orientation tag are applied, in :func:`decode` and :func:`probe` alike.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from blemish.errors import InputError
from blemish.images.decoders import MAX_PIXELS, ImageInfo, probe, shown
from blemish.images.decoders import read as read_raw
from blemish.types import FloatArray

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "ImageInfo",
    "common_scale",
    "decode",
    "find_images",
    "load",
    "plan_sizes",
    "probe",
    "resize",
    "shown",
    "target_size",
    "white_level",
]

SizeMode = Literal["dataset", "image", "stretch"]

IMAGE_SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Suffixes (lower case; any case matches) that :func:`find_images` looks for."""

MIN_SIDE = 32
"""Shortest side, in pixels, of any planned size."""

_WHITE_LEVELS = (1023, 4095, 16383, 65535, 2**32 - 1)

_UNIT_OVERSHOOT = 1.1
"""Floating point up to here is taken for [0, 1]: resampling and sharpening ring a little over white."""


def find_images(folder: Path, *, exclude: Collection[Path] = ()) -> list[Path]:
    """All image files below a folder, sorted by their path relative to it.

    Hidden files and folders (leading dot) are left out, other files are told apart by suffix only. Linked folders are
    followed, each real folder is entered once, so loops end. Broken links with an image suffix are listed: whoever
    decodes them names them.

    Args:
        folder: where to look, recursively.
        exclude: folders that are not entered, such as an output folder inside the input folder.

    Returns:
        Paths that start with ``folder``, ordered by relative path with ``/`` as separator, code point by code point.

    Raises:
        InputError: the folder is missing, is a file, cannot be read, or holds no image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{shown(folder)}: no such folder; check the path")
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: is a file; give the folder that holds the images")
    images: list[Path] = []
    others = 0
    for path in _walk(folder, {os.path.realpath(p) for p in exclude}):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        else:
            others += 1
    if not images:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise InputError(
            f"{shown(folder)}: no images found ({others} other files seen); put files ending in {kinds} there"
        )
    return sorted(images, key=lambda p: p.relative_to(folder).as_posix())


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Every visible file; real folders come before linked ones, so that a file is listed under its own name."""
    real, linked = [folder], list[Path]()
    while real or linked:
        here = real.pop() if real else linked.pop(0)
        key = os.path.realpath(here)
        if key in seen:
            continue
        seen.add(key)
        try:
            entries = sorted(os.scandir(here), key=lambda e: e.name)
        except OSError as error:
            raise InputError(f"{shown(here)}: cannot be listed ({error.strerror}); check its permissions") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = here / entry.name
            if path.is_dir():
                (linked if entry.is_symlink() else real).append(path)
            elif entry.is_symlink() or entry.is_file():
                yield path


def decode(path: Path, *, white: float | None = None) -> FloatArray:
    """Read one image as RGB.

    Args:
        path: PNG, JPEG, TIFF, BMP or WebP of any color type that the module text names.
        white: stored value that becomes 1, for integers deeper than 8 bits and for floating point; higher values are
            clipped.
            Default: the largest value that the stored bits hold; for floating point 1, and values above 1.1 are then
                an error.
            Images of 8 bits or fewer ignore it.

    Returns:
        float32 H x W x 3 in [0, 1], contiguous, upright.

    Raises:
        InputError: missing, no file, no image, truncated, too large, NaN or negative values; the message names the
            file.
    """
    raw = read_raw(Path(path))
    values = raw.values
    if raw.floating:
        scale = _float_scale(path, values, white)
    elif raw.bits > 8 and white is not None:
        scale = float(white)
    else:
        scale = float(2**raw.bits - 1)
    if not scale > 0 or not math.isfinite(scale):
        raise InputError(f"{shown(path)}: white level {white} cannot be used; give a number above 0")
    # float32 division is exact enough here: 24 bits of mantissa against at most 16 bits of picture
    rgb = np.empty((*values.shape[:2], 3), dtype=np.float32)
    np.divide(values, np.float32(scale), out=rgb, casting="unsafe")
    return np.clip(rgb, 0.0, 1.0, out=rgb)


def white_level(
    paths: Sequence[Path], sample: int = 64, seed: int = 0, *, infos: Sequence[ImageInfo | None] | None = None
) -> float | None:
    """Stored value that is to count as white in a whole set, so that all its images share one scale.

    See :func:`common_white` for deep integers. Floating point up to 1.1 needs none; above that the list starts at 255, of
    which at least a quarter must be reached, and the maximum itself counts where no level fits.

    Args:
        paths: the set; files that cannot be read are passed over.
        sample: how many of the deep images are decoded, at most.
        seed: which ones.
        infos: headers if the caller has them already (None for unreadable files); probed otherwise.

    Returns:
        The level for ``decode(..., white=)``, or None where nothing needs one: sets of 8 bits, floating point within
        [0, 1] but for a little overshoot.

    Raises:
        InputError: deep integers and floating point within [0, 1] in one set have no common scale.

    Cost: one header per file and at most ``sample`` decodings.
    """
    known = list(infos) if infos is not None else [_probe_or_none(p) for p in paths]
    deep = [p for p, info in zip(paths, known, strict=True) if info is not None and (info.bits > 8 or info.floating)]
    if len(deep) > sample:
        chosen = np.random.default_rng(seed).choice(len(deep), size=sample, replace=False)
        deep = [deep[i] for i in sorted(chosen)]
    top = {True: -math.inf, False: -math.inf}
    for path in deep:
        try:
            raw = read_raw(Path(path))
        except InputError:
            continue
        if raw.deep and raw.values.size and np.isfinite(peak := float(raw.values.max())):
            top[raw.floating] = max(top[raw.floating], peak)
    unit = top[True] <= _UNIT_OVERSHOOT
    if top[False] == -math.inf and unit:
        return None
    if top[False] > -math.inf and -math.inf < top[True] and unit:
        raise InputError(
            "the set mixes 16-bit and floating-point images, which share no scale; convert them to one kind"
        )
    peak = max(top.values())
    if top[True] > -math.inf and peak <= 255:
        return 255.0 if peak > 255 / 4 else peak
    return common_white(peak)


def common_white(peak: float) -> float:
    """The smallest of 1023, 4095, 16383, 65535 and 2^32 - 1 that holds the largest value of a set; above them that itself.

    >>> common_white(3907.0)
    4095.0
    """
    return float(next((level for level in _WHITE_LEVELS if level >= peak), peak))


def resize(image: FloatArray, height: int, width: int) -> FloatArray:
    """Image at another size: bilinear, with the triangle widened where it shrinks (antialiased).

    Args:
        image: float32 H x W x C.
        height: rows wanted, at least 1.
        width: columns wanted, at least 1.

    Returns:
        float32 height x width x C within the range of the input; the input itself where the size is right already. A
        constant image stays constant.

    Deviation from the paper: it shrinks by plain bilinear sampling, which skips pixels (thin scratches vanish) from
    2:1 on.
    """
    if image.shape[:2] == (height, width):
        return image
    import torch
    from torch.nn.functional import interpolate

    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]  # 1 x C x H x W
    out = interpolate(planes, size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0]
    values: FloatArray = np.ascontiguousarray(out.permute(1, 2, 0).numpy())
    return np.clip(values, image.min(), image.max(), out=values)  # weights add up to 1 but for rounding


def target_size(height: int, width: int, scale: float, multiple: int = 16, max_side: int = 2048) -> tuple[int, int]:
    """Size of one image after scaling: aspect kept, sides rounded to a multiple.

    The long side stays within ``max_side`` (the image is scaled down further if need be), and no side falls below 32
    pixels or one multiple; that last rule is the only one that changes the aspect by more than the rounding.

    >>> target_size(300, 200, scale=1.0)
    (304, 208)
    >>> target_size(4000, 100, scale=1.0, max_side=1024)
    (1024, 32)
    """
    scale = min(scale, max_side / max(height, width))
    lowest = multiple * math.ceil(MIN_SIDE / multiple)
    highest = max(lowest, multiple * (max_side // multiple))

    def rounded(side: int) -> int:
        return min(highest, max(lowest, multiple * int(side * scale / multiple + 0.5)))

    return rounded(height), rounded(width)


def common_scale(infos: Sequence[ImageInfo], size: int) -> float:
    """The one factor that brings the median of sqrt(height * width) over a set to ``size``.

    Images of mixed size mostly are crops by one camera at one distance. One factor keeps the grain of the texture and
    the sizes of the defects comparable; a factor per image would turn the crop's size into a difference of texture.

    >>> common_scale([ImageInfo(100, 100, 8, 1), ImageInfo(200, 800, 8, 1), ImageInfo(100, 400, 8, 1)], 400)
    2.0
    """
    if not infos:
        raise InputError("no image to plan a size for; give at least one")
    return size / float(np.median([math.sqrt(info.height * info.width) for info in infos]))


def plan_sizes(
    infos: Sequence[ImageInfo],
    size: int,
    mode: SizeMode = "dataset",
    multiple: int = 16,
    max_side: int = 2048,
    enlarge: bool = True,
) -> list[tuple[int, int]]:
    """Height and width that every image of a set is resized to.

    Args:
        infos: headers of the set.
        size: side of the square with the area that is aimed at.
        mode: ``common``: one factor for the set (:func:`common_scale`); ``each``: every image to the area ``size **
            2``, aspect kept; ``squash``: ``size`` x ``size``, aspect lost (the paper).
        multiple: every side becomes a multiple of it.
        max_side: longest side, in ``common`` and ``each``; an image that would exceed it is scaled down further.
        enlarge: whether ``common`` and ``each`` may scale up. Pixels that were never taken add nothing but blur.

    Returns:
        One (height, width) per image; see :func:`target_size` for the rounding.

    Raises:
        InputError: unknown mode, or a number below 1.
    """
    if mode not in ("dataset", "image", "stretch"):
        raise InputError(f"resize mode {mode!r} is not known; choose common, each or squash")
    if min(size, multiple, max_side) < 1:
        raise InputError(f"size {size}, multiple {multiple} and longest side {max_side} must be at least 1")
    if not infos:
        return []
    if mode == "stretch":
        return [target_size(size, size, 1.0, multiple, max_side=max(size, MIN_SIDE) + multiple)] * len(infos)
    shared = common_scale(infos, size)
    scales = [shared if mode == "dataset" else size / math.sqrt(info.height * info.width) for info in infos]
    return [
        target_size(info.height, info.width, scale if enlarge else min(scale, 1.0), multiple, max_side)
        for info, scale in zip(infos, scales, strict=True)
    ]


def load(path: Path, height: int, width: int, white: float | None = None) -> FloatArray:
    """Decode and resize in one step, channels first: float32 3 x height x width in [0, 1], contiguous."""
    return np.ascontiguousarray(resize(decode(path, white=white), height, width).transpose(2, 0, 1))


def _float_scale(path: Path, values: npt.NDArray[Any], white: float | None) -> float:
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{shown(path)}: holds NaN or infinite values; replace them")
    # resampling may ring a little below zero; more than that is another kind of data
    if low < -0.01 * max(abs(high), 1e-30):
        raise InputError(f"{shown(path)}: holds negative values (down to {low:g}); shift them to start at 0")
    if white is None and high > _UNIT_OVERSHOOT:
        raise InputError(
            f"{shown(path)}: floating-point values up to {high:g}; scale them to [0, 1] or give the white level"
        )
    return 1.0 if white is None else float(white)


def _probe_or_none(path: Path) -> ImageInfo | None:
    try:
        return probe(path)
    except InputError:
        return None
