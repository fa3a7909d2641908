"""Types that the signatures of all folders share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
"""Array of 32-bit floats: images, features, maps, scores, descriptors."""

IntArray = npt.NDArray[np.int64]
"""Array of 64-bit integers: labels, sizes, indices."""

BoolArray = npt.NDArray[np.bool_]
"""Array of truth values, one per image or pixel."""


@dataclass(frozen=True)
class Skipped:
    """A file that looked like an image and could not be read: its path and the reason."""

    path: str
    reason: str
