"""Whether later images look like the ones that a model was fitted to: same material, light and camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blemish.types import BoolArray, FloatArray

MARGIN = 3.0
"""Standard deviations beyond the most unusual fitted image from which an image is unfamiliar."""

MANY = 0.5
"""Share of unfamiliar images from which the set as a whole is said to be different."""


@dataclass(frozen=True)
class Familiarity:
    """How the fitted images look as a whole.

    Two numbers describe an image. Its *level* is the log of the median of its anomaly map: normal texture that the model
    has not seen is far from every patch in the memory bank, everywhere. Its *offset* is the log of the mean squared
    standardized difference between its mean features and those of the fitted images: light, color and sharpness move it.
    A defect covers too little of an image to move either far.

    Attributes:
        mean: C float32, of the images' mean features.
        deviation: C float32; infinite where they do not vary.
        limits: 2 float32, largest familiar level and offset.
    """

    mean: FloatArray
    deviation: FloatArray
    limits: FloatArray

    def unfamiliar(self, maps: Sequence[FloatArray], surfaces: FloatArray) -> BoolArray:
        """N bool: which images do not look like the fitted ones, from their maps and mean features N x C."""
        return np.asarray((_numbers(maps, surfaces, self.mean, self.deviation) > self.limits).any(1), bool)

    def warning(self, unfamiliar: BoolArray) -> str | None:
        """One sentence if many images are unfamiliar; None otherwise."""
        count = int(unfamiliar.sum())
        if not len(unfamiliar) or count <= MANY * len(unfamiliar):
            return None
        return (
            f"{count} of {len(unfamiliar)} images look unlike the images that the model was fitted to, over their whole "
            "surface: another material, light or camera. Do not trust scores and types; fit a model to such images."
        )


def fit_familiarity(maps: Sequence[FloatArray], surfaces: FloatArray) -> Familiarity:
    """What a set looks like as a whole.

    Args:
        maps: N anomaly maps, before median filling.
        surfaces: N x C, mean normalized features.

    Source: ours; not in Ardelean & Weyrich. The limits lie `MARGIN` standard deviations beyond the largest of N values.
    """
    deviation = surfaces.std(0)
    spread = np.where(deviation > 1e-6, deviation, np.float32(np.inf)).astype(np.float32)
    numbers = _numbers(maps, surfaces, surfaces.mean(0), spread)
    limits = numbers.max(0) + MARGIN * np.maximum(numbers.std(0), 0.05)
    return Familiarity(surfaces.mean(0), spread, limits.astype(np.float32))


def _numbers(maps: Sequence[FloatArray], surfaces: FloatArray, mean: FloatArray, deviation: FloatArray) -> np.ndarray:
    """Level and offset of each image, N x 2."""
    levels = np.array([float(np.median(one)) for one in maps])
    offsets = np.square((surfaces - mean) / deviation).mean(1)
    return np.log(np.maximum(np.stack([levels, offsets], 1), 1e-9))
