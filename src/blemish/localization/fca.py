"""Feature correspondence analysis (FCA): how far the values around each pixel lie from the image's typical patch.

FCA needs no training and works on one image at a time. Source: Ardelean & Weyrich, "High-fidelity zero-shot texture
anomaly localization using feature correspondence analysis" (WACV 2024, arXiv 2304.06433); used on residuals in "Blind
localization and clustering of anomalies in textures" (CVPR 2024 workshops, arXiv 2404.12246).

The papers leave some points open, which are decided as follows:

* equal values in a patch are always ranked by their place in it (row by row);
* the median over an even number of patches is the lower of the two middle values;
* rows and columns left over after cutting the map into whole patches do not enter the reference; a map smaller than a
  patch is extended to the size of a patch by reflection;
* every pixel of the map has a patch around it; beyond the border a patch sees reflected cells, and the errors that
  belong to these cells are dropped after the overlap-add. Cells near the border thus belong to fewer patches
  and get less than their share (a corner about a third); `normalize_edges` divides by that share.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from blemish.errors import InputError
from blemish.features.filters import correlate_axis, gaussian_blur, gaussian_kernel, pad_reflect, reflect_indices

Method = Literal["auto", "kernel", "torch"]

MAX_PATCH_SIZE = 15
"""Largest side of a patch: its ranks (0 to 224) fit the bytes of the kernel."""

_BAND_FLOATS = 1 << 24
"""Numbers in memory at a time per image (64 MB); larger maps are processed in bands of rows."""

_BLOCK_FLOATS = 1 << 22
"""Patch values sorted at a time by the torch method on a CPU; other devices sort eight times as many."""

_PIECE = 512
"""Most canvas pixels per call of the kernel; their counts and sums fit the cache of a core."""

_log = logging.getLogger(__name__)


@torch.no_grad()
def reference_statistics(features: Tensor, patch_size: int = 7) -> Tensor:
    """The typical patch of each image: per channel and rank, the median over its non-overlapping patches.

    Args:
        features: shape (B, C, H, W), floating point, finite; B may be 0. They are converted to float32.
        patch_size: T, odd, 1 to 15. Rows and columns beyond the last whole patch are left out; an axis shorter than T
            is extended to T by reflection.

    Returns:
        Tensor (B, C, T^2), float32, on the device of `features`, ascending along the last axis. For an even number of
        patches it is the lower median (`torch.median`).

    Raises:
        InputError: the shape or the patch size is not as above, or a value is NaN or infinite.

    >>> reference_statistics(torch.arange(9.0).reshape(1, 1, 3, 3), patch_size=3)
    tensor([[[0., 1., 2., 3., 4., 5., 6., 7., 8.]]])
    """
    _check_patch_size(patch_size)
    x = _as_batch(features, dims=(4,))
    return _reference(x, patch_size, x.device.type == "cpu", torch.get_num_threads())


@torch.no_grad()
def fca_map(
    features: Tensor,
    *,
    patch_size: int = 7,
    sigma_s: float = 1.0,
    sigma_p: float = 3.0,
    blur_size: int = 5,
    sigma_post: float = 1.0,
    border: int = 0,
    reference: Tensor | None = None,
    channel_weights: Tensor | None = None,
    normalize_edges: bool = False,
    method: Method = "auto",
    threads: int | None = None,
) -> Tensor:
    """Anomaly map: how much the sorted values of the patches over a pixel differ from the reference at their ranks.

    In every patch (one around each pixel) and channel the T^2 values are sorted; the value at rank r has the error
    |value - reference_r|, the cost of the one-dimensional optimal transport between the patch and the reference. Errors
    go back to the pixels that the values came from and are averaged over channels; inside each patch they are blurred
    and weighted by a Gaussian, then added up over patches, and the sum is blurred once more.

    Args:
        features: shape (B, C, H, W) or (C, H, W), floating point, finite; B may be 0. Any memory layout is accepted;
            float16, bfloat16 and float64 are converted to float32.
        patch_size: T, odd, 1 to 15. Larger patches compare a larger neighborhood.
        sigma_s: standard deviation of the blur inside the patch, in cells, >= 0; 0 means no blur.
        sigma_p: standard deviation of the weights of the places in a patch, in cells, >= 0; the weights sum to 1. With 0
            only the center of the patch counts.
        blur_size: taps per axis of both blurs, odd.
        sigma_post: standard deviation of the blur of the map, in cells, >= 0; 0 means no blur.
        border: number of cells along each edge that are set to 0; at least the middle of the map always remains.
        reference: (C, T^2) for all images or (B, C, T^2), ascending; None: the `reference_statistics` of each image.
        channel_weights: (C,), >= 0, not all 0: weights of the average over channels; None: equal weights.
        normalize_edges: whether to divide by the share of patch weights that a pixel gets, so that edges weigh as much
            as the interior.
        method: "kernel" (compiled, CPU), "torch" (any device, sorts in bounded blocks) or "auto", which takes the kernel
            if the features are on the CPU. Both give the same map up to float32 rounding.
        threads: number of threads of the kernel; None: `torch.get_num_threads()`. Any number gives the same bits.

    Returns:
        Tensor (B, H, W), float32, >= 0, on the device of `features`, without gradient; B is 1 for 3-D input. Scaling
        the features scales the map, adding a constant to a channel changes nothing but rounding, and features that
        are constant in each channel give exactly 0.

    Raises:
        InputError: a shape or value is not as above.

    Cost per image: the kernel makes (2T-1)^2 comparisons per pixel and channel; memory is about 4 (C + 2 T^2) H W bytes,
    and at most some 200 MB beyond the input for large maps. The first call ever compiles for some seconds.

    Source: arXiv 2304.06433; arXiv 2404.12246 (with `border=5`).

    >>> x = torch.zeros(1, 2, 16, 16)
    >>> x[:, :, 10, 5] = 1.0
    >>> divmod(int(fca_map(x).argmax()), 16)
    (10, 5)
    """
    _check_patch_size(patch_size)
    x = _as_batch(features, dims=(3, 4))
    images, _, height, width = x.shape
    if border < 0:
        raise InputError(f"border must be >= 0, got {border}.")
    if method not in ("auto", "kernel", "torch"):
        raise InputError(f"method must be auto, kernel or torch, got {method!r}.")
    if method == "kernel" and x.device.type != "cpu":
        raise InputError(f"The FCA kernel runs on the CPU, the features are on {x.device}; use method auto or torch.")
    if threads is not None and threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}.")
    place = gaussian_kernel(patch_size, sigma_p)
    blur = _patch_blur(gaussian_kernel(blur_size, sigma_s), place).to(x.device)
    weights = _checked_weights(channel_weights, x)
    compiled = method == "kernel" or (method == "auto" and x.device.type == "cpu")
    workers = torch.get_num_threads() if threads is None else threads
    if reference is None:
        typical = _reference(x, patch_size, compiled, workers)
    else:
        typical = _checked_reference(reference, x, patch_size)
    share = _cover(height, width, place, x.device) if normalize_edges else None
    maps = torch.empty((images, height, width), device=x.device)
    # Threads take whole images if there are enough of them, and otherwise pieces of one image after the other.
    across = compiled and images >= 2 * workers

    @torch.no_grad()  # this setting is per thread
    def work(index: int) -> None:
        errors = _overlap_add(x[index], typical[index], weights, blur, compiled, 1 if across else workers)
        maps[index] = errors if share is None else errors / share

    _run(work, range(images), workers if across else 1)
    maps = gaussian_blur(maps, blur_size, sigma_post) if images else maps
    return _clear_border(maps, border)


def _overlap_add(image: Tensor, typical: Tensor, weights: Tensor, blur: Tensor, compiled: bool, workers: int) -> Tensor:
    """Errors of all patches, blurred and weighted inside the patch, added up over patches: (H, W)."""
    size = blur.shape[0]
    channels, height, width = image.shape
    half = size // 2
    canvas = torch.zeros((height + 2 * half, width + 2 * half), device=image.device)
    per_row = (2 * size * size + channels) * (width + 2 * half)
    rows = max(size, _BAND_FLOATS // per_row)
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        target = canvas[part.start : part.stop + 2 * half]
        if compiled:
            _add_compiled(image, typical, weights, blur, part, workers, target)
        else:
            _add_torch(image, typical, weights, blur, part, target)
    return canvas[half : half + height, half : half + width]


def _add_compiled(
    image: Tensor, typical: Tensor, weights: Tensor, blur: Tensor, part: slice, workers: int, target: Tensor
) -> None:
    """Add the patches around the rows `part` to their canvas rows, by the compiled kernel."""
    kernel = _kernel()
    _, height, width = image.shape
    size = blur.shape[0]
    half = size // 2
    stride = width + 2 * half
    rows = reflect_indices(height, half, half)[part.start : part.stop + 2 * half].numpy()
    cols = reflect_indices(width, half, half).numpy()
    canvas = kernel.fill_canvas(image.numpy(), rows, cols, (size - 1) * (stride + 1))
    volume = np.zeros((size * size, (part.stop - part.start) * stride), np.float32)
    values, scale = typical.numpy(), weights.numpy()
    cells = rows.size * stride
    # Long pieces amortize the start of the loops, and equal pieces share the work evenly; the bits do not depend on them.
    rounds = -(-cells // (workers * _PIECE))
    piece = -(-cells // (workers * rounds * 64)) * 64

    def work(begin: int) -> None:
        end = min(begin + piece, cells)
        kernel.accumulate_errors(canvas, values, scale, size, stride, begin, end, volume)

    _run(work, range(0, cells, piece), workers)
    # The last patch may stick out of the flat canvas by the columns that hold no patch; one more row takes them.
    flat = np.zeros((rows.size + 1) * stride, np.float32)
    kernel.overlap_add(volume, blur.numpy(), stride, width, flat)
    target += torch.from_numpy(flat[:cells].reshape(rows.size, stride))


def _run(work: Callable[[int], None], starts: range, workers: int) -> None:
    """Call work(start) for every start, on `workers` threads (the compiled code releases the interpreter lock)."""
    if workers == 1 or len(starts) == 1:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(max_workers=min(workers, len(starts)), thread_name_prefix="fca") as pool:
        list(pool.map(work, starts))


def _add_torch(image: Tensor, typical: Tensor, weights: Tensor, blur: Tensor, part: slice, target: Tensor) -> None:
    """Add the same patches as `_add_compiled` on any device: sort blocks of unfolded patches, scatter the errors back."""
    channels, _, width = image.shape
    size = blur.shape[0]
    half = size // 2
    count = part.stop - part.start
    padded = pad_reflect(image, top=half, bottom=half, left=half, right=half)[:, part.start : part.stop + 2 * half]
    total = torch.zeros((count * width, size * size), device=image.device)
    budget = _BLOCK_FLOATS if image.device.type == "cpu" else 8 * _BLOCK_FLOATS
    block = max(1, budget // (size * size * count * width))
    for first in range(0, channels, block):
        values = padded[first : first + block]
        patches = values.unfold(1, size, 1).unfold(2, size, 1).reshape(-1, count * width, size * size)
        ordered, places = patches.sort(dim=-1, stable=True)
        errors = (ordered - typical[first : first + block, None, :]).abs_()
        errors *= weights[first : first + block, None, None]
        total += torch.empty_like(errors).scatter_(-1, places, errors).sum(0)
    volume = blur @ total.reshape(-1, size, size) @ blur.T  # patches x T x T
    volume = volume.permute(1, 2, 0).reshape(size, size, count, width)
    for i in range(size):
        for j in range(size):
            target[i : i + count, j : j + width] += volume[i, j]


def _reference(x: Tensor, size: int, compiled: bool, workers: int) -> Tensor:
    """`reference_statistics` of checked input."""
    images, channels, height, width = x.shape
    if not images:
        return x.new_zeros((0, channels, size * size))
    x = pad_reflect(x, bottom=max(0, size - height), right=max(0, size - width))
    if compiled:
        return _reference_compiled(x, size, workers)
    down, across = x.shape[2] // size, x.shape[3] // size
    x = x[:, :, : down * size, : across * size].reshape(images, channels, down, size, across, size)
    patches = x.permute(0, 1, 2, 4, 3, 5).reshape(images, channels, down * across, size * size)
    return patches.sort(dim=-1).values.median(dim=2).values


def _reference_compiled(x: Tensor, size: int, workers: int) -> Tensor:
    """The same numbers from the compiled kernel, eight channels at a time."""
    kernel = _kernel()
    out = torch.empty((*x.shape[:2], size * size))
    for image, typical in zip(x.numpy(), out.numpy(), strict=True):

        def work(begin: int, image: Any = image, typical: Any = typical) -> None:
            kernel.lower_medians(image, size, begin, min(begin + 8, len(image)), typical)

        _run(work, range(0, x.shape[1], 8), workers)
    return out


def _patch_blur(kernel: Tensor, place: Tensor) -> Tensor:
    """Matrix (T, T) that blurs one axis of a patch with reflection and then weighs its places."""
    size = place.numel()
    return (correlate_axis(torch.eye(size), kernel, 0) * place[:, None]).contiguous()


def _cover(height: int, width: int, place: Tensor, device: torch.device) -> Tensor:
    """Share of the patch weights that each pixel gets, (H, W) in (0, 1]; it is 1 where all T^2 patches exist."""
    sides = []
    half = place.numel() // 2
    for length in (height, width):
        ones = torch.ones(1, 1, length)
        sides.append(torch.nn.functional.conv1d(ones, place.flip(0).reshape(1, 1, -1), padding=half)[0, 0])
    return (sides[0][:, None] * sides[1][None, :]).to(device)


def _clear_border(maps: Tensor, border: int) -> Tensor:
    """Set the cells along the edges to 0, but keep at least the middle cell or two of each axis."""
    height, width = maps.shape[1:]
    down, across = min(border, (height - 1) // 2), min(border, (width - 1) // 2)
    cleared = torch.zeros_like(maps)
    inner = (slice(None), slice(down, height - down), slice(across, width - across))
    cleared[inner] = maps[inner]
    return cleared


def _check_patch_size(size: int) -> None:
    if not 1 <= size <= MAX_PATCH_SIZE or size % 2 == 0:
        raise InputError(f"patch_size must be odd and from 1 to {MAX_PATCH_SIZE}, got {size}.")


def _as_batch(features: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Checked, contiguous float32 features (B, C, H, W)."""
    if features.ndim not in dims or 0 in features.shape[-3:]:
        expected = " or ".join("(B, C, H, W)" if n == 4 else "(C, H, W)" for n in dims)
        raise InputError(f"FCA needs features of shape {expected}, none of C, H, W 0; got {tuple(features.shape)}.")
    if not features.is_floating_point():
        raise InputError(f"FCA needs floating point features, got {features.dtype}; convert them first.")
    x = features.detach().to(torch.float32).contiguous()
    if not _all_finite(x):
        raise InputError("The features hold NaN, infinite or too large values; check the images and the weights.")
    return x if x.ndim == 4 else x[None]


def _all_finite(x: Tensor) -> bool:
    """Whether no value is NaN or infinite. Both show in the extremes, which take a fraction of the time of a full test."""
    if not x.numel():
        return True
    if x.device.type == "cpu":
        values = x.numpy()  # NumPy's extremes need no thread pool to wake up
        return bool(np.isfinite(values.min()) and np.isfinite(values.max()))
    return bool(torch.isfinite(torch.stack(x.aminmax())).all())


def _checked_weights(weights: Tensor | None, x: Tensor) -> Tensor:
    """Channel weights (C,) that sum to 1."""
    channels = x.shape[1]
    if weights is None:
        return torch.full((channels,), 1.0 / channels, device=x.device)
    given = weights.detach().to(x.device, torch.float32)
    if given.shape != (channels,):
        raise InputError(f"channel_weights must have shape ({channels},), one per channel; got {tuple(given.shape)}.")
    total = given.sum()
    if not bool(torch.isfinite(total)) or bool((given < 0).any()) or not bool(total > 0):
        raise InputError("channel_weights must be finite, not negative, and not all 0.")
    return (given / total).contiguous()


def _checked_reference(reference: Tensor, x: Tensor, size: int) -> Tensor:
    """The given reference as (B, C, T^2)."""
    wanted = (x.shape[0], x.shape[1], size * size)
    given = reference.detach().to(x.device, torch.float32)
    given = given.expand(wanted) if given.shape == wanted[1:] else given
    if given.shape != wanted:
        raise InputError(f"reference must have shape {wanted[1:]} or {wanted}, got {tuple(reference.shape)}.")
    if not bool(torch.isfinite(given).all()):
        raise InputError("The reference holds NaN or infinite values.")
    return given.contiguous()


@lru_cache(maxsize=1)
def _kernel() -> ModuleType:
    """The compiled kernels. If they have to be compiled first, the log says so."""
    from blemish.localization import _fca_kernel

    folder = Path(_fca_kernel.cache_folder() or os.devnull)
    if list(folder.glob("_fca_kernel.*.nbc")):  # a list, so that no directory iterator stays open
        return _fca_kernel
    _log.info("Compiling the FCA kernel; this takes some seconds and happens once.")
    start = time.perf_counter()
    probe, index, one = np.zeros((1, 1, 1), np.float32), np.zeros(1, np.int64), np.ones((1, 1), np.float32)
    canvas = _fca_kernel.fill_canvas(probe, index, index, 0)
    _fca_kernel.lower_medians(probe, 1, 0, 1, np.empty((1, 1), np.float32))
    _fca_kernel.accumulate_errors(canvas, one, one[0], 1, 1, 0, 1, one.copy())
    _fca_kernel.overlap_add(one, one, 1, 1, np.zeros(1, np.float32))
    _log.info("Compiled the FCA kernel in %.1f s.", time.perf_counter() - start)
    return _fca_kernel
