"""The stored value that counts as white in a set, so that all its images share one brightness scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from blemish.errors import InputError
from blemish.images.decoders import probe, read_raw
from blemish.images.loading import UNIT_OVERSHOOT
from blemish.images.raw import ImageInfo

_WHITE_LEVELS = (1023, 4095, 16383, 65535, 2**32 - 1)


def estimate_white_level(
    paths: Sequence[Path], sample: int = 64, seed: int = 0, *, infos: Sequence[ImageInfo | None] | None = None
) -> float | None:
    """Stored value that counts as white in a whole set.

    Integers: see :func:`snap_to_bit_depth`. Floating point up to 1.1 needs no level. Above that 255 is the lowest level
    if the set reaches a quarter of it; otherwise the maximum itself is the level.

    Args:
        paths: the set; files that cannot be read are passed over.
        sample: number of deep images that are decoded, at most.
        seed: decides which images these are.
        infos: headers if the caller has them already (None for unreadable files); read from the files otherwise.

    Returns:
        The level for ``decode(..., white=)``. None if no image needs one: sets of 8 bits, and floating point within
        [0, 1] but for a little overshoot.

    Raises:
        InputError: the set mixes deep integers and floating point within [0, 1], which have no common scale.

    Cost: one header per file and at most ``sample`` decodings.
    """
    known = list(infos) if infos is not None else [_probe_or_none(p) for p in paths]
    deep = [p for p, info in zip(paths, known, strict=True) if info is not None and info.deep]
    if len(deep) > sample:
        chosen = np.random.default_rng(seed).choice(len(deep), size=sample, replace=False)
        deep = [deep[i] for i in sorted(chosen)]
    top = {True: -math.inf, False: -math.inf}  # floating point -> highest value
    for path in deep:
        try:
            raw = read_raw(path)
        except InputError:
            continue
        if raw.deep and raw.values.size and np.isfinite(peak := float(raw.values.max())):
            top[raw.floating] = max(top[raw.floating], peak)
    unit = top[True] <= UNIT_OVERSHOOT
    if top[False] == -math.inf and unit:
        return None
    if top[False] > -math.inf and -math.inf < top[True] and unit:
        raise InputError(
            "the set mixes 16-bit and floating-point images, which share no scale; convert them to one kind"
        )
    peak = max(top.values())
    if top[True] > -math.inf and peak <= 255:
        return 255.0 if peak > 255 / 4 else peak
    return snap_to_bit_depth(peak)


def snap_to_bit_depth(peak: float) -> float:
    """The smallest of 1023, 4095, 16383, 65535 and 2^32 - 1 that is at least ``peak``, or ``peak`` if none is.

    >>> snap_to_bit_depth(3907.0)
    4095.0
    """
    return float(next((level for level in _WHITE_LEVELS if level >= peak), peak))


def _probe_or_none(path: Path) -> ImageInfo | None:
    try:
        return probe(path)
    except InputError:
        return None
