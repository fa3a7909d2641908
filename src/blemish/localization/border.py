"""Correction for map values that are higher near the border in all images of the set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.types import BoolArray, FloatArray

BORDER_DEPTH = 4
"""Number of rings of cells along the edge whose typical values are compared with those of the interior."""


def edge_distance(height: int, width: int, depth: int = BORDER_DEPTH) -> npt.NDArray[np.int64]:
    """Number of cells between each cell and the nearest edge, at most ``depth``; height x width.

    >>> edge_distance(3, 3, depth=4).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    rows = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
    columns = np.minimum(np.arange(width), np.arange(width)[::-1])[None]
    return np.minimum(np.minimum(rows, columns), depth)


@dataclass(frozen=True)
class BorderCorrection:
    """Typical map values at each distance from the edge, see :func:`fit_border_correction`.

    Attributes:
        median: `BORDER_DEPTH` + 1 medians, from the outermost ring to the interior.
        upper_spread: 90th percentile minus median, for the same rings.
    """

    median: tuple[float, ...]
    upper_spread: tuple[float, ...]

    def apply(self, values: FloatArray) -> FloatArray:
        """The map with its border brought down to the level of the interior; h x w float32, >= 0.

        A ring whose values are not higher than the interior's stays as it is.
        """
        distance, out = edge_distance(*values.shape), values.copy()
        inner_median, inner_spread = self.median[-1], self.upper_spread[-1]
        inner_upper = inner_median + inner_spread
        for ring in range(BORDER_DEPTH):
            here, median, spread = distance == ring, self.median[ring], self.upper_spread[ring]
            if median > inner_median:
                gain = min(1.0, inner_spread / spread) if spread > 0 else 1.0
                out[here] = inner_median + (values[here] - median) * gain
            elif median + spread > inner_upper > 0:
                out[here] = values[here] * (inner_upper / (median + spread))
        return np.maximum(out, 0.0).astype(np.float32)


def fit_border_correction(maps: Sequence[FloatArray], inside: Sequence[BoolArray] | None = None) -> BorderCorrection:
    """Median and upper spread of the map values at each distance from the edge, over a sample of maps.

    Args:
        maps: at least one map, h x w each, finite; sizes may differ.
        inside: the cells that count, h x w each; None = all.

    Padding, vignetting and cut edges make the border of every image look unusual. The paper sets five cells along the
    border to zero and so loses the defects there. Here the border is compared with the border of the other images instead
    (a deviation).
    """
    values = np.concatenate([one.ravel() for one in maps])
    rings = np.concatenate([edge_distance(*one.shape).ravel() for one in maps])
    if inside is not None:
        counted = np.concatenate([one.ravel() for one in inside])
        values, rings = values[counted], rings[counted]
    inner = values[rings == BORDER_DEPTH]
    groups = [values[rings == ring] for ring in range(BORDER_DEPTH)] + [inner if inner.size else values]
    groups = [group if group.size else groups[-1] for group in groups]
    medians = tuple(float(np.median(group)) for group in groups)
    spreads = tuple(float(np.quantile(group, 0.9)) - median for group, median in zip(groups, medians, strict=True))
    return BorderCorrection(medians, spreads)
