"""Compiled CPU kernels of FCA. Importing this module imports Numba: only `blemish.fca` does, on first use.

How the ranks are found without sorting a single patch: the rank of a value inside a T x T patch is the number of the
patch's values that come before it. For a pixel q, every patch that holds q looks at displacements in a
(2T-1) x (2T-1) window around q, and the comparisons "does the value at q + d come before the value at q?" are shared by
all T^2 patches: each patch's rank is the sum over a T x T box of that window of zeros and ones. Box sums come from
running sums along both axes, in bytes. So a pixel and channel cost (2T-1)^2 comparisons and about 6 T^2 byte additions
for T^2 exact ranks, all of them over long contiguous rows that the compiler turns into vector instructions.

Exactness: comparisons are made on the float32 values themselves, ties go to the earlier position in the patch
(row-major), errors are float32 differences; only the sum over channels rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

_F = TypeVar("_F", bound=Callable[..., Any])
_FloatArray = npt.NDArray[np.float32]

CHANNELS_PER_PARTIAL = 32
"""Channels that are added in one float32 partial sum, before it goes to the total: keeps the rounding near 1e-7."""


def _jit(function: _F) -> _F:
    """Compile without the GIL and keep the machine code between runs, where a writable cache folder exists."""
    try:
        compiled: _F = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # Numba found no folder that it may write its cache to
        compiled = numba.njit(nogil=True)(function)
    return compiled


@_jit
def fill_canvas(image: _FloatArray, rows: npt.NDArray[np.int64], cols: npt.NDArray[np.int64], guard: int) -> Any:
    """Copy an image (C, H, W) to padded, flattened channels (C, guard + R * S + guard); the guard cells are 0."""
    channels = image.shape[0]
    width = cols.size
    canvas = np.zeros((channels, rows.size * width + 2 * guard), np.float32)
    for c in range(channels):
        for y in range(rows.size):
            source = image[c, rows[y]]
            target = canvas[c, guard + y * width : guard + (y + 1) * width]
            for x in range(width):
                target[x] = source[cols[x]]
    return canvas


@_jit
def _compare(first: _FloatArray, second: _FloatArray, ties: bool, out: npt.NDArray[np.uint8]) -> None:
    """1 where `first` comes before `second`; equal values count only if `ties`."""
    if ties:
        for x in range(out.size):
            out[x] = first[x] <= second[x]
    else:
        for x in range(out.size):
            out[x] = first[x] < second[x]


@_jit
def _slide(out: npt.NDArray[np.uint8], old: npt.NDArray[np.uint8], enter: Any, leave: Any) -> None:
    """Next box sum from the one before: add what enters the box, subtract what leaves it."""
    for x in range(out.size):
        out[x] = old[x] + enter[x] - leave[x]


@_jit
def _row_counts(row: _FloatArray, at: int, n: int, size: int, width: int, before: Any, counts: Any) -> None:
    """Per row displacement and per place in the patch's row: how many of that row's T values come before the pixel's.

    `counts[a, j]`: displacement a - (T-1) rows, the pixel in column j of the patch. `before` is scratch.
    """
    last = size - 1
    value = row[at : at + n]
    for a in range(2 * size - 1):
        for b in range(2 * size - 1):
            start = at + (a - last) * width + (b - last)
            _compare(row[start : start + n], value, a < last or (a == last and b < last), before[b, :n])
        # The pixel in the last column: displacements -(T-1)..0. Every step to the left moves the box by one.
        counts[a, last, :n] = before[0, :n]
        for b in range(1, size):
            for x in range(n):
                counts[a, last, x] += before[b, x]
        for j in range(last - 1, -1, -1):
            _slide(counts[a, j, :n], counts[a, j + 1, :n], before[last + size - 1 - j, :n], before[last - 1 - j, :n])


@_jit
def _add_errors(total: _FloatArray, value: _FloatArray, reference: _FloatArray, rank: Any, weight: float) -> None:
    for x in range(total.size):
        total[x] += weight * abs(value[x] - reference[rank[x]])


@_jit
def accumulate_errors(
    canvas: _FloatArray,
    reference: _FloatArray,
    weights: _FloatArray,
    size: int,
    width: int,
    begin: int,
    end: int,
    out: _FloatArray,
) -> None:
    """Rank errors, summed over weighted channels, of the canvas pixels begin..end (flat, without guard).

    `out` (T^2, P) receives for every patch and every place k in it the sum over channels of weight * |value - reference
    at the value's rank|; patches are numbered by their top left canvas pixel. Pixels are independent of each other
    and channels are added in their order, so the result is the same bits however the canvas is cut into pieces.
    """
    n = end - begin
    at = (size - 1) * (width + 1) + begin
    before = np.empty((2 * size - 1, n), np.uint8)
    counts = np.empty((2 * size - 1, size, n), np.uint8)
    rank = np.empty(n, np.uint8)
    partial = np.zeros((size * size, n), np.float32)
    for c in range(canvas.shape[0]):
        if weights[c] > 0:
            row = canvas[c]
            _row_counts(row, at, n, size, width, before, counts)
            for j in range(size):
                rank[:] = counts[0, j]
                for a in range(1, size):
                    for x in range(n):
                        rank[x] += counts[a, j, x]
                for i in range(size - 1, -1, -1):
                    if i < size - 1:
                        _slide(rank, rank, counts[2 * size - 2 - i, j], counts[size - 2 - i, j])
                    _add_errors(partial[i * size + j], row[at : at + n], reference[c], rank, weights[c])
        if (c + 1) % CHANNELS_PER_PARTIAL == 0 or c + 1 == canvas.shape[0]:
            _flush(partial, out, size, width, begin)


@_jit
def _flush(partial: _FloatArray, out: _FloatArray, size: int, width: int, begin: int) -> None:
    """Add the partial sums to the patches they belong to (those that start inside the canvas), and clear them."""
    for k in range(size * size):
        shift = begin - (k // size) * width - k % size
        low = max(0, -shift)
        high = min(partial.shape[1], out.shape[1] - shift)
        for x in range(low, high):
            out[k, x + shift] += partial[k, x]
    partial[:] = 0


def cache_folder() -> str | None:
    """Where Numba keeps the machine code between runs; None if it keeps none."""
    compiled: Any = accumulate_errors
    folder: str | None = compiled.stats.cache_path
    return folder
