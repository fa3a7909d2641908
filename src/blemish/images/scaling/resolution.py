"""The size that each image of a set is worked on, and what that hides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from blemish.config.sections import Image as ImageConfig
from blemish.images.decoding.raw import ImageInfo
from blemish.images.scaling.calibration import Calibration
from blemish.images.scaling.sizes import plan_sizes

CELL = 8
"""Pixels of the scaled image per cell of the map, with the default strides."""


class Resolution:
    """Planned sizes of a set of images.

    Args:
        infos: header of each image.
        config: the section ``image`` of the settings.
        calibration: the factor of the set.

    Attributes:
        sizes: height and width that each image is brought to.
        tile_side: side of a tile, in pixels of the scaled image; None if no image is worked on in tiles.
    """

    def __init__(self, infos: Sequence[ImageInfo], config: ImageConfig, calibration: Calibration) -> None:
        self._config = config
        self.tile_side = config.max_side if config.tiling == "auto" and config.resize != "stretch" else None
        self.sizes = plan_sizes(
            infos,
            config.size,
            config.resize,
            16,
            config.max_side if self.tile_side is None else None,
            config.upscale,
            calibration.scale,
            1e6 * config.max_megapixels,
        )
        self._reduction = [
            math.sqrt(info.height * info.width / (height * width))
            for info, (height, width) in zip(infos, self.sizes, strict=True)
        ]

    def cell_sides(self, indices: Sequence[int], grid: int) -> list[float]:
        """Side of a cell of the map of each of these images, in pixels as stored.

        Args:
            indices: of the images.
            grid: the same in pixels of the scaled image.
        """
        return [grid * self._reduction[index] for index in indices]

    def tiled(self, index: int) -> bool:
        """Whether image ``index`` is worked on in tiles."""
        return self.tile_side is not None and max(self.sizes[index]) > self.tile_side

    def keep(self, indices: Sequence[int]) -> None:
        """Drop every other image, see :meth:`blemish.images.ImageSource.keep`."""
        self.sizes = [self.sizes[index] for index in indices]
        self._reduction = [self._reduction[index] for index in indices]

    def report(self) -> dict[str, Any]:
        """What ``run.json`` says: by what factor images were reduced, and how many were worked on in tiles.

        ``hidden_pixels`` is the side of a cell of the map of the most reduced image, in pixels of the image as stored:
        defects smaller than that can be missed. ``cells`` is the median number of cells of a map.
        """
        cells = np.median([height * width for height, width in self.sizes]) / CELL**2
        least, middle, most = (float(one) for one in np.quantile(self._reduction, [0, 0.5, 1]))
        return {
            "reduction": {"least": round(least, 3), "median": round(middle, 3), "most": round(most, 3)},
            "hidden_pixels": round(CELL * most),
            "cells": round(float(cells)),
            "tiled": sum(map(self.tiled, range(len(self.sizes)))),
            "note": reduction_note(middle, most, native=self._config.size == "native"),
        }


def reduction_note(middle: float, most: float, *, native: bool) -> str | None:
    """One sentence for the summary; None if no image is reduced by more than a tenth.

    >>> print(reduction_note(2.667, 2.667, native=False))
    images were reduced 2.7 times, so defects below about 21 pixels can be missed; --size native keeps the stored resolution
    """
    if most < 1.1:
        return None
    factor = f"{middle:.1f}" if most < 1.05 * middle else f"{middle:.1f} (at most {most:.1f})"
    remedy = "image.max_megapixels limits them" if native else "--size native keeps the stored resolution"
    return (
        f"images were reduced {factor} times, so defects below about {CELL * most:.0f} pixels can be missed; {remedy}"
    )
