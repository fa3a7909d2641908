"""The size that each image of a set is brought to, and resizing."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Literal

import numpy as np

from blemish.errors import InputError
from blemish.images.decoding.raw import ImageInfo
from blemish.images.decoding.stored import Photo, StoredImage
from blemish.types import FloatArray

ResizeMode = Literal["dataset", "image", "stretch"]

Size = int | Literal["native"]
"""Side of the square whose area images are scaled to, or ``native``: the stored size."""

MIN_SIDE = 32
"""Shortest side, in pixels, of any target size."""

_LARGE_BYTES = 2**29


def resize(image: Photo, height: int, width: int) -> FloatArray:
    """Image at another size: bilinear, with a wider triangle filter where it shrinks (antialiased).

    Args:
        image: float32 H x W x C, or an image by its stored values.
        height: rows wanted, at least 1.
        width: columns wanted, at least 1.

    Returns:
        float32 height x width x C within the range of the input; the input itself if it has that size already. A
        constant image stays constant.

    Deviation from the paper: the paper shrinks by plain bilinear sampling, which skips pixels from 2:1 on, so that thin
    scratches vanish.
    """
    if isinstance(image, StoredImage):
        return image.resized(height, width)
    if image.shape[:2] == (height, width):
        return image
    if image.shape[1] == width == 1:  # PyTorch 2.13 repeats the first pixel of a column of one pixel
        return resize(image.transpose(1, 0, 2), 1, height).transpose(1, 0, 2)
    import torch
    from torch.nn.functional import interpolate

    if image.nbytes > _LARGE_BYTES and image.shape[2] > 1:  # channel by channel, which takes a third of the memory
        return np.concatenate([resize(image[..., c : c + 1], height, width) for c in range(image.shape[2])], axis=2)
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]  # 1 x C x H x W
    out = interpolate(planes, size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0]
    values: FloatArray = np.ascontiguousarray(out.permute(1, 2, 0).numpy())  # height x width x C
    return np.clip(values, image.min(), image.max(), out=values)  # weights add up to 1 but for rounding


def target_size(
    height: int, width: int, scale: float, multiple: int = 16, max_side: int | None = 2048
) -> tuple[int, int]:
    """Size of one image after scaling, with its aspect kept and both sides rounded to a multiple.

    The long side stays within ``max_side``, if that is given; the image is scaled down further if need be. No side falls
    below 32 pixels or one multiple. That last rule is the only one that changes the aspect by more than the rounding.

    >>> target_size(300, 200, scale=1.0)
    (304, 208)
    >>> target_size(4000, 100, scale=1.0, max_side=1024)
    (1024, 32)
    """
    lowest = multiple * math.ceil(MIN_SIDE / multiple)
    highest = sys.maxsize
    if max_side is not None:
        scale = min(scale, max_side / max(height, width))
        highest = max(lowest, multiple * (max_side // multiple))

    def rounded(side: int) -> int:
        return min(highest, max(lowest, multiple * int(side * scale / multiple + 0.5)))

    return rounded(height), rounded(width)


def common_scale(infos: Sequence[ImageInfo], size: Size) -> float:
    """The one factor that brings the median of sqrt(height * width) over a set to ``size``; 1 for ``native``.

    Images of mixed size mostly are crops by one camera at one distance. One factor keeps the grain of the texture and
    the sizes of the defects comparable. A factor per image would turn the crop's size into a difference of texture.

    >>> common_scale([ImageInfo(100, 100, 8, 1), ImageInfo(200, 800, 8, 1), ImageInfo(100, 400, 8, 1)], 400)
    2.0
    """
    if not infos:
        raise InputError("no image to plan a size for; give at least one")
    if size == "native":
        return 1.0
    return size / float(np.median([math.sqrt(info.height * info.width) for info in infos]))


def plan_sizes(
    infos: Sequence[ImageInfo],
    size: Size,
    resize: ResizeMode = "dataset",
    multiple: int = 16,
    max_side: int | None = 2048,
    upscale: bool = True,
    scale: float | None = None,
    max_pixels: float = math.inf,
) -> list[tuple[int, int]]:
    """Target height and width of every image of a set.

    Args:
        infos: headers of the set.
        size: side, in pixels, of the square whose area images are scaled to; larger values keep smaller defects and
            cost time in proportion to the area. ``native``: images keep their size, to the pixel.
        resize: ``dataset``: one factor for the set (:func:`common_scale`); ``image``: every image to the area
            ``size ** 2``, aspect kept; ``stretch``: ``size`` x ``size``, aspect lost (the paper).
        multiple: every side becomes a multiple of it, unless an image keeps its size.
        max_side: longest side, with ``dataset`` and ``image``; a longer image is scaled down further. None: no limit.
        upscale: whether ``dataset`` and ``image`` may enlarge. Enlarging adds blur and no information.
        scale: the factor of ``dataset``, if another set has decided it; None: :func:`common_scale` of this set.
        max_pixels: an image of more pixels is scaled down further.

    Returns:
        One (height, width) per image; see :func:`target_size` for the rounding.

    Raises:
        InputError: the mode is unknown, or a number is below 1.
    """
    if resize not in ("dataset", "image", "stretch"):
        raise InputError(f"resize mode {resize!r} is not known; choose dataset, image or stretch")
    if min(multiple, 1 if size == "native" else size, 1 if max_side is None else max_side) < 1:
        raise InputError(f"size {size}, multiple {multiple} and longest side {max_side} must be at least 1")
    if not infos:
        return []
    if resize == "stretch":
        if size == "native":
            raise InputError("resize mode stretch needs a size in pixels, not native")
        return [target_size(size, size, 1.0, multiple, max_side=max(size, MIN_SIDE) + multiple)] * len(infos)
    shared = common_scale(infos, size) if scale is None else scale
    found = []
    for info in infos:
        own = shared if resize == "dataset" or size == "native" else size / math.sqrt(info.height * info.width)
        limit = math.sqrt(max_pixels / (info.height * info.width))
        wanted = min(own if upscale else min(own, 1.0), limit)
        kept = size == "native" and wanted == 1 and max(info.height, info.width) <= (max_side or sys.maxsize)
        # resampling by a fraction of a percent would blur some stripes of the texture and not others
        found.append(target_size(info.height, info.width, wanted, 1 if kept else multiple, max_side))
    return found
