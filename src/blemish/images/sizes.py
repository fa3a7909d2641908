"""The size that each image of a set is brought to, and resizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from blemish.errors import InputError
from blemish.images.raw import ImageInfo
from blemish.types import FloatArray

ResizeMode = Literal["dataset", "image", "stretch"]

MIN_SIDE = 32
"""Shortest side, in pixels, of any target size."""

_LARGE_BYTES = 2**29


def resize(image: FloatArray, height: int, width: int) -> FloatArray:
    """Image at another size: bilinear, with a wider triangle filter where it shrinks (antialiased).

    Args:
        image: float32 H x W x C.
        height: rows wanted, at least 1.
        width: columns wanted, at least 1.

    Returns:
        float32 height x width x C within the range of the input; the input itself if it has that size already. A
        constant image stays constant.

    Deviation from the paper: the paper shrinks by plain bilinear sampling, which skips pixels from 2:1 on, so that thin
    scratches vanish.
    """
    if image.shape[:2] == (height, width):
        return image
    import torch
    from torch.nn.functional import interpolate

    if image.nbytes > _LARGE_BYTES and image.shape[2] > 1:  # channel by channel, which takes a third of the memory
        return np.concatenate([resize(image[..., c : c + 1], height, width) for c in range(image.shape[2])], axis=2)
    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None]  # 1 x C x H x W
    out = interpolate(planes, size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0]
    values: FloatArray = np.ascontiguousarray(out.permute(1, 2, 0).numpy())  # height x width x C
    return np.clip(values, image.min(), image.max(), out=values)  # weights add up to 1 but for rounding


def target_size(height: int, width: int, scale: float, multiple: int = 16, max_side: int = 2048) -> tuple[int, int]:
    """Size of one image after scaling, with its aspect kept and both sides rounded to a multiple.

    The long side stays within ``max_side``; the image is scaled down further if need be. No side falls below 32 pixels
    or one multiple. That last rule is the only one that changes the aspect by more than the rounding.

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
    the sizes of the defects comparable. A factor per image would turn the crop's size into a difference of texture.

    >>> common_scale([ImageInfo(100, 100, 8, 1), ImageInfo(200, 800, 8, 1), ImageInfo(100, 400, 8, 1)], 400)
    2.0
    """
    if not infos:
        raise InputError("no image to plan a size for; give at least one")
    return size / float(np.median([math.sqrt(info.height * info.width) for info in infos]))


def plan_sizes(
    infos: Sequence[ImageInfo],
    size: int,
    resize: ResizeMode = "dataset",
    multiple: int = 16,
    max_side: int = 2048,
    upscale: bool = True,
    scale: float | None = None,
) -> list[tuple[int, int]]:
    """Target height and width of every image of a set.

    Args:
        infos: headers of the set.
        size: side, in pixels, of the square whose area images are scaled to; larger values keep smaller defects and
            cost time in proportion to the area.
        resize: ``dataset``: one factor for the set (:func:`common_scale`); ``image``: every image to the area
            ``size ** 2``, aspect kept; ``stretch``: ``size`` x ``size``, aspect lost (the paper).
        multiple: every side becomes a multiple of it.
        max_side: longest side, with ``dataset`` and ``image``; a longer image is scaled down further.
        upscale: whether ``dataset`` and ``image`` may enlarge. Enlarging adds blur and no information.
        scale: the factor of ``dataset``, if another set has decided it; None: :func:`common_scale` of this set.

    Returns:
        One (height, width) per image; see :func:`target_size` for the rounding.

    Raises:
        InputError: the mode is unknown, or a number is below 1.
    """
    if resize not in ("dataset", "image", "stretch"):
        raise InputError(f"resize mode {resize!r} is not known; choose dataset, image or stretch")
    if min(size, multiple, max_side) < 1:
        raise InputError(f"size {size}, multiple {multiple} and longest side {max_side} must be at least 1")
    if not infos:
        return []
    if resize == "stretch":
        return [target_size(size, size, 1.0, multiple, max_side=max(size, MIN_SIDE) + multiple)] * len(infos)
    shared = common_scale(infos, size) if scale is None else scale
    scales = [shared if resize == "dataset" else size / math.sqrt(info.height * info.width) for info in infos]
    return [
        target_size(info.height, info.width, scale if upscale else min(scale, 1.0), multiple, max_side)
        for info, scale in zip(infos, scales, strict=True)
    ]
