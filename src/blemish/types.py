"""Types that several folders share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read.

    Attributes:
        path: name of the image, as in ``Result.paths``.
        reason: one line that names the file and says what to do.
    """

    path: str
    reason: str
