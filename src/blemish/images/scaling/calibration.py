"""What a set of images has decided about how its images are read."""

from __future__ import annotations

from dataclasses import dataclass

from blemish.images.decoding.white_level import WhiteLevel


@dataclass(frozen=True)
class Calibration:
    """What a set of images decided about how its images are read; later images of the same camera are read alike.

    Attributes:
        scale: factor from stored to target sizes with ``image.resize`` = ``dataset``.
        white_level: stored values that count as white.
    """

    scale: float
    white_level: WhiteLevel
