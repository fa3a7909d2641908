"""Compiled CPU kernels of FCA, which `blemish.localization.fca` imports (and thereby Numba) on first use.

The ranks are found without sorting a single patch. The rank of a value inside a T x T patch is the number of the patch's
values that come before it. For a pixel q, every patch that holds q covers displacements in a (2T-1) x (2T-1) window around
q, and all T^2 patches share the comparisons "does the value at q + d come before the value at q?": the rank in each patch
is the sum over a T x T box of that window of zeros and ones. Box sums come from running sums along both axes, in bytes. A
pixel and channel thus cost (2T-1)^2 comparisons and about 6 T^2 byte additions for T^2 exact ranks, all of them over long
contiguous rows that the compiler turns into vector instructions.

Exactness: comparisons are made on the float32 values themselves, ties go to the earlier position in the patch
(row-major), errors are float32 differences; only the sum over channels rounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from blemish.runtime.jit import jit as _jit

_FloatArray = npt.NDArray[np.float32]
_ByteArray = npt.NDArray[np.uint8]

CHANNELS_PER_PARTIAL = 32
"""Channels that are added in one float32 partial sum before it goes to the total; this keeps the rounding near 1e-7."""


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
def _compare(row: _FloatArray, first: int, second: int, ties: bool, out: _ByteArray, b: int, n: int) -> None:
    """out[b, x] = 1 where row[first + x] comes before row[second + x]; equal values count only if `ties`."""
    # Offsets are unsigned: with signed ones Numba must expect negative indices, which rules out vector instructions.
    start, other, count = np.uint64(first), np.uint64(second), np.uint64(n)
    if ties:
        for x in range(count):
            out[b, x] = row[start + x] <= row[other + x]
    else:
        for x in range(count):
            out[b, x] = row[start + x] < row[other + x]


@_jit
def _count_first(counts: Any, a: int, j: int, before: _ByteArray, size: int, n: int) -> None:
    """The first box sum: the first `size` displacements."""
    for x in range(n):
        counts[a, j, x] = before[0, x]
    for b in range(1, size):
        for x in range(n):
            counts[a, j, x] += before[b, x]


@_jit
def _count_next(counts: Any, a: int, j: int, before: _ByteArray, enters: int, leaves: int, n: int) -> None:
    """The next box sum from the one before it: add what enters the box, subtract what leaves it."""
    for x in range(n):
        counts[a, j, x] = counts[a, j + 1, x] + before[enters, x] - before[leaves, x]


@_jit
def _row_counts(row: _FloatArray, at: int, n: int, size: int, width: int, before: _ByteArray, counts: Any) -> None:
    """Number of values in one row of the patch that come before the pixel's value, for each row and place of the pixel.

    `counts[a, j]` is for the row displaced by a - (T-1) rows and the pixel in column j of the patch. `before` is scratch.
    """
    last = size - 1
    for a in range(2 * size - 1):
        for b in range(2 * size - 1):
            start = at + (a - last) * width + (b - last)
            _compare(row, start, at, a < last or (a == last and b < last), before, b, n)
        # A pixel in the last column sees displacements -(T-1) to 0; every step to the left moves the box by one.
        _count_first(counts, a, last, before, size, n)
        for j in range(last - 1, -1, -1):
            _count_next(counts, a, j, before, last + size - 1 - j, last - 1 - j, n)


@_jit
def _first_rank(rank: _ByteArray, counts: Any, j: int, size: int) -> None:
    """Ranks of pixels in column j of the patch's last row."""
    for x in range(rank.size):
        rank[x] = counts[0, j, x]
    for a in range(1, size):
        for x in range(rank.size):
            rank[x] += counts[a, j, x]


@_jit
def _next_rank(rank: _ByteArray, counts: Any, j: int, enters: int, leaves: int) -> None:
    """Ranks one row further up in the patch."""
    for x in range(rank.size):
        rank[x] += counts[enters, j, x] - counts[leaves, j, x]


@_jit
def _add_errors(
    partial: _FloatArray,
    k: int,
    row: _FloatArray,
    at: int,
    reference: _FloatArray,
    c: int,
    rank: _ByteArray,
    weight: float,
    expected: _FloatArray,
) -> None:
    """partial[k] += weight * |value - reference at the value's rank|, in two loops, so that the second one vectorizes."""
    for x in range(rank.size):
        expected[x] = reference[c, rank[x]]
    start = np.uint64(at)
    for x in range(np.uint64(rank.size)):
        partial[k, x] += weight * abs(row[start + x] - expected[x])


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
    """Rank errors of the canvas pixels begin to end (flat, without guard), summed over weighted channels.

    `out` (T^2, P) receives, for every patch and every place k in it, the sum over channels of weight * |value - reference
    at the value's rank|; patches are numbered by their top left canvas pixel. Pixels are independent of each other
    and channels are added in their order, so that the bits do not depend on how the canvas is cut into pieces.
    """
    n = end - begin
    at = (size - 1) * (width + 1) + begin
    before = np.empty((2 * size - 1, n), np.uint8)
    counts = np.empty((2 * size - 1, size, n), np.uint8)
    rank = np.empty(n, np.uint8)
    expected = np.empty(n, np.float32)
    partial = np.zeros((size * size, n), np.float32)
    for c in range(canvas.shape[0]):
        if weights[c] > 0:
            row = canvas[c]
            _row_counts(row, at, n, size, width, before, counts)
            for j in range(size):
                _first_rank(rank, counts, j, size)
                for i in range(size - 1, -1, -1):
                    if i < size - 1:
                        _next_rank(rank, counts, j, 2 * size - 2 - i, size - 2 - i)
                    _add_errors(partial, i * size + j, row, at, reference, c, rank, weights[c], expected)
        if (c + 1) % CHANNELS_PER_PARTIAL == 0 or c + 1 == canvas.shape[0]:
            _flush(partial, out, size, width, begin)


@_jit
def _flush(partial: _FloatArray, out: _FloatArray, size: int, width: int, begin: int) -> None:
    """Add the partial sums to their patches, as far as these start inside the canvas, and clear the sums."""
    for k in range(size * size):
        shift = begin - (k // size) * width - k % size
        for x in range(max(0, -shift), min(partial.shape[1], out.shape[1] - shift)):
            out[k, x + shift] += partial[k, x]
    partial[:] = 0


@_jit
def overlap_add(volume: _FloatArray, blur: _FloatArray, width: int, valid: int, canvas: _FloatArray) -> None:
    """Blur and weigh inside each patch (`blur`, T x T, along both axes), then add the patches to the canvas.

    `volume` (T^2, P) comes from `accumulate_errors`; `canvas` is flat and has P + (T-1) (width + 1) cells. Patches in the
    columns from `valid` on do not exist and are skipped.
    """
    size = blur.shape[0]
    piece = width * max(1, 512 // width)
    half = np.empty((size, piece), np.float32)
    line = np.empty(piece, np.float32)
    for begin in range(0, volume.shape[1], piece):
        n = min(piece, volume.shape[1] - begin)
        for i in range(size):
            half[:] = 0
            for s in range(size):
                if blur[i, s] != 0:
                    for j in range(size):
                        for x in range(n):
                            half[j, x] += blur[i, s] * volume[s * size + j, begin + x]
            for y in range(0, n, width):
                half[:, y + valid : y + width] = 0
            for j in range(size):
                line[:] = 0
                for s in range(size):
                    if blur[j, s] != 0:
                        for x in range(n):
                            line[x] += blur[j, s] * half[s, x]
                for x in range(n):
                    canvas[begin + i * width + j + x] += line[x]


@_jit
def _exchange(rows: _FloatArray, i: int, k: int, n: int) -> None:
    """Move the smaller values to row i and the larger ones to row k."""
    for x in range(n):
        low, high = rows[i, x], rows[k, x]
        rows[i, x] = low if low <= high else high
        rows[k, x] = high if low <= high else low


@_jit
def _sort_columns(rows: _FloatArray) -> None:
    """Sort every column by Batcher's merge exchange for any number of rows (Knuth, volume 3, algorithm 5.2.2 M)."""
    count, n = rows.shape
    top = 1
    while 2 * top < count:
        top *= 2
    p = top
    while p > 0 and count > 1:
        q, r, d = top, 0, p
        while True:
            for i in range(count - d):
                if i & p == r:
                    _exchange(rows, i, i + d, n)
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2


@_jit
def _gather_patches(image: _FloatArray, size: int, begin: int, end: int, count: int) -> Any:
    """Non-overlapping patches of channels begin to end: one row per place in the patch, one column per channel and patch."""
    down, across = image.shape[1] // size, image.shape[2] // size
    patches = np.empty((size * size, (end - begin) * count), np.float32)
    for c in range(begin, end):
        for y in range(down):
            at = (c - begin) * count + y * across
            for a in range(size):
                for b in range(size):
                    for x in range(across):
                        patches[a * size + b, at + x] = image[c, y * size + a, x * size + b]
    return patches


@_jit
def lower_medians(image: _FloatArray, size: int, begin: int, end: int, out: _FloatArray) -> None:
    """Write the lower median at each rank of the sorted non-overlapping patches, channels begin to end, to out (C, T^2)."""
    count = (image.shape[1] // size) * (image.shape[2] // size)
    area, channels = size * size, end - begin
    patches = _gather_patches(image, size, begin, end, count)
    _sort_columns(patches)
    ranks = np.empty((count, channels * area), np.float32)
    for k in range(area):
        for c in range(channels):
            for p in range(count):
                ranks[p, c * area + k] = patches[k, c * count + p]
    _sort_columns(ranks)
    for c in range(channels):
        out[begin + c] = ranks[(count - 1) // 2, c * area : (c + 1) * area]


def cache_folder() -> str | None:
    """The folder where Numba keeps the machine code between runs; None if it keeps none."""
    compiled: Any = accumulate_errors
    folder: str | None = compiled.stats.cache_path
    return folder
