"""The regions of anomalous images, and the parts of them that may be defects of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from blemish.config.sections import Regions
from blemish.regions import RegionShape, extract_regions, region_parts
from blemish.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class FoundRegions:
    """The regions of a set of images.

    Attributes:
        shapes: for each of N images its regions, the strongest first; none for an image that is not anomalous.
        parts: for each of these regions the parts that may be defects of their own; none where there is only one.
    """

    shapes: list[list[RegionShape]]
    parts: list[list[list[RegionShape]]]

    def pieces(self, row: int) -> list[RegionShape]:
        """All that is described of one image: its regions, then their parts."""
        return [*self.shapes[row], *chain.from_iterable(self.parts[row])]

    @property
    def images(self) -> IntArray:
        """P, row of the image of each piece, image by image."""
        return np.repeat(np.arange(len(self.shapes)), [len(self.pieces(row)) for row in range(len(self.shapes))])

    @property
    def several(self) -> list[int]:
        """Rows of the images with more than one piece."""
        return [row for row in range(len(self.shapes)) if len(self.pieces(row)) > 1]

    @property
    def whole(self) -> BoolArray:
        """P bool, whether a piece is a region, in place of a part of one."""
        flags = [
            index < len(shapes) for row, shapes in enumerate(self.shapes) for index in range(len(self.pieces(row)))
        ]
        return np.array(flags, bool)


def find_regions(
    maps: Sequence[FloatArray],
    detail: Sequence[FloatArray],
    sizes: IntArray,
    anomalous: BoolArray,
    threshold: float,
    settings: Regions,
) -> FoundRegions:
    """The regions of the anomalous images.

    Args:
        maps: N anomaly maps, after median filling.
        detail: the same before median filling.
        sizes: N x 2, height and width of each image.
        anomalous: N bool.
        threshold: map value above which a cell belongs to a region.
        settings: what is joined, what is dropped, and which parts are looked at by themselves.
    """
    found = FoundRegions([[] for _ in sizes], [[] for _ in sizes])
    for row in np.flatnonzero(anomalous):
        values, (height, width) = maps[int(row)], (int(side) for side in sizes[row])
        found.shapes[row] = extract_regions(values, threshold, height, width, settings)
        found.parts[row] = region_parts(found.shapes[row], values, detail[int(row)], threshold, height, width, settings)
    return found
