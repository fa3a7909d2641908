"""The stored value that counts as white in a set, so that all its images share one brightness scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blemish.errors import InputError
from blemish.images.decoding.decoders import probe, read_raw
from blemish.images.decoding.hot_pixels import robust_peak
from blemish.images.decoding.loading import UNIT_OVERSHOOT
from blemish.images.decoding.raw import MAX_MEGABYTES, ImageInfo
from blemish.images.finding.places import Place

_WHITE_LEVELS = (1023, 4095, 16383, 65535, 2**20 - 1, 2**24 - 1, 2**32 - 1)

Page = tuple[Place, int]
"""A file, or another place, and the page in it."""


@dataclass(frozen=True)
class WhiteLevel:
    """Stored values that count as white in a set.

    Attributes:
        level: for integers deeper than 8 bits and floating point; None if no image needs a level.
        wide: for integers of more than 16 bits whose values exceed 65535 beside images that hold 16 bits or fewer; None
            if ``level`` counts for them too.
    """

    level: float | None = None
    wide: float | None = None

    def of(self, info: ImageInfo) -> float | None:
        """The level for one image."""
        return self.wide if self.wide is not None and info.bits > 16 and not info.floating else self.level


def estimate_white_level(
    paths: Sequence[Place | Page],
    sample: int = 64,
    seed: int = 0,
    *,
    infos: Sequence[ImageInfo | None] | None = None,
    max_megabytes: float = MAX_MEGABYTES,
) -> WhiteLevel:
    """Stored value that counts as white in a whole set.

    Integers: the smallest common bit depth that holds the set (:func:`snap_to_bit_depth`), or the level that the format
    states, if that is higher and holds the image. Floating point up to 1.1 needs no level. Above that 255 is the lowest
    level if the set reaches a quarter of it; otherwise the maximum itself is the level.

    A single defective pixel does not count (:func:`blemish.images.decoding.hot_pixels.robust_peak`). Files of 32-bit integers with
    values above 65535 get a level of their own beside files of 9 to 16 bits, which would be black otherwise.

    Args:
        paths: the set, files or (file, page); files that cannot be read are passed over.
        sample: number of deep images that are decoded, at most.
        seed: decides which images these are.
        infos: headers if the caller has them already (None for unreadable files); read from the files otherwise.

        max_megabytes: images that take more memory once decoded are passed over.

    Returns:
        Levels for ``decode(..., white=)``; no level if no image needs one: sets of 8 bits, and floating point within
        [0, 1] but for a little overshoot.

    Raises:
        InputError: the set mixes deep integers and floating point within [0, 1], which have no common scale.

    Cost: one header per file and at most ``sample`` decodings.
    """
    places = [one if isinstance(one, tuple) else (one, 0) for one in paths]
    known = list(infos) if infos is not None else [_probe_or_none(*place) for place in places]
    deep = [(place, info) for place, info in zip(places, known, strict=True) if info is not None and info.deep]
    if len(deep) > sample:
        chosen = np.random.default_rng(seed).choice(len(deep), size=sample, replace=False)
        deep = [deep[i] for i in sorted(chosen)]
    narrow, wide, floats, stated = list[float](), list[float](), list[float](), list[float]()
    for (path, page), info in deep:
        try:
            raw = read_raw(path, page, max_megabytes=max_megabytes)
        except InputError:
            continue
        if raw.deep and raw.values.size and np.isfinite(peak := robust_peak(raw.values)):
            (floats if raw.floating else wide if info.bits > 16 else narrow).append(peak)
            if info.white is not None and peak <= info.white:
                stated.append(info.white)
    return _combined(narrow, wide, floats, stated)


def _combined(narrow: list[float], wide: list[float], floats: list[float], stated: list[float]) -> WhiteLevel:
    """Levels from the peaks of images of 9 to 16 bits, of wider integers, and of floating point."""
    unit = max(floats, default=-math.inf) <= UNIT_OVERSHOOT
    if not narrow and not wide and unit:
        return WhiteLevel()
    if (narrow or wide) and floats and unit:
        raise InputError(
            "the set mixes 16-bit and floating-point images, which share no scale; convert them to one kind"
        )
    alone = bool(narrow) and max(wide, default=0) > 65535
    peak = max(narrow + floats + ([] if alone else wide))
    if floats and peak <= 255:
        return WhiteLevel(255.0 if peak > 255 / 4 else peak)
    if not floats and not narrow and peak <= 255:
        return WhiteLevel(255.0)  # 8-bit values in 32-bit integers
    return WhiteLevel(max([snap_to_bit_depth(peak), *stated]), snap_to_bit_depth(max(wide)) if alone else None)


def snap_to_bit_depth(peak: float) -> float:
    """The smallest of 2^n - 1 for n = 10, 12, 14, 16, 20, 24 and 32 that is at least ``peak``, or ``peak`` if none is.

    >>> snap_to_bit_depth(3907.0)
    4095.0
    """
    return float(next((level for level in _WHITE_LEVELS if level >= peak), peak))


def _probe_or_none(path: Place, page: int) -> ImageInfo | None:
    try:
        return probe(path, page)
    except InputError:
        return None
