"""Size and shape of the anomalous part of a map, and how they join a descriptor of its appearance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.types import FloatArray

LEVELS = 0.8, 1.0, 1.25
"""Levels that the shape of a region is averaged over, relative to the given one. At a single level, parts of a faint defect
fall apart or join by chance, and images with the same defect exchange groups."""


def region_geometry(values: FloatArray, level: float) -> tuple[float, float, float]:
    """Size, extent and elongation of the anomalous part of one map.

    The excess of the map over a level is taken as a distribution of mass. Where the map's own 98th percentile is lower
    than the level, it takes the level's place: every image has a part that stands out most.

    Args:
        values: h x w anomaly map, finite.
        level: map value above which a cell belongs to that part.

    Returns:
        Three numbers: the log of 1 + the effective number of cells; the log of the standard deviation along the longer
        axis, in cells; the log of the ratio of the longer axis to the shorter. The axes are the square roots of the
        eigenvalues of the mass's second moments. 0.3 cells squared are added to both eigenvalues, so that a single cell
        has an extent. A constant map gives 0 for size and elongation.

    Source: moments of regions as in image processing textbooks. Not in Ardelean & Weyrich, whose descriptors hold the
    appearance of a defect but not its shape.

    >>> [round(one, 2) for one in region_geometry(np.eye(9, dtype=np.float32), 0.5)]
    [2.3, 1.31, 1.91]
    """
    precise = values.astype(np.float64)
    mass = np.maximum(precise - min(level, float(np.quantile(precise, 0.98))), 0.0)
    total, power = mass.sum(), np.square(mass).sum()
    size, moments = 0.0, np.zeros((2, 2))
    if power > 0:
        size = float(np.log1p(total * total / power))
        places = np.stack(np.nonzero(mass)).astype(np.float64)  # 2 x cells
        weights = mass[mass > 0] / total
        centered = places - (places @ weights)[:, None]
        moments = (centered * weights) @ centered.T
    short, long = np.linalg.eigvalsh(moments) + 0.3
    return size, float(0.5 * np.log(long)), float(0.5 * np.log(long / short))


def region_shape(values: FloatArray, level: float) -> FloatArray:
    """The mean of :func:`region_geometry` over the `LEVELS` around a level, 3 float32.

    Args:
        values: h x w anomaly map, finite.
        level: map value that normal texture hardly exceeds; the pipeline passes that of the descriptor model, which does not
            move with the threshold.
    """
    return np.mean([region_geometry(values, factor * level) for factor in LEVELS], 0).astype(np.float32)


@dataclass(frozen=True)
class ShapeScaling:
    """How shapes are standardized and weighed beside descriptors.

    Attributes:
        mean: 3 float32.
        deviation: 3 float32; infinite where the shapes do not vary.
        weight: factor on the standardized shapes, >= 0.
    """

    mean: FloatArray
    deviation: FloatArray
    weight: float

    def concat(self, descriptors: FloatArray, shapes: FloatArray) -> FloatArray:
        """Descriptors N x D, followed by the standardized shapes, N x (D + 3) float32; unchanged if the weight is 0."""
        if self.weight == 0:
            return descriptors
        standard = (shapes - self.mean) / self.deviation
        return np.concatenate([descriptors, self.weight * standard], 1).astype(np.float32)


def fit_shape_scaling(
    descriptors: FloatArray, shapes: FloatArray, shape_weight: float, anomalous: npt.NDArray[np.bool_]
) -> ShapeScaling:
    """The scaling of :func:`region_shape` beside the descriptors of a set.

    The shapes are standardized over the anomalous images, or over all images if fewer than two are anomalous. If the
    anomalous images are much alike, their deviation is no measure; at least half the deviation over all images is used.

    Args:
        descriptors: N x D.
        shapes: N x 3.
        shape_weight: mean length of the anomalous images' shapes, about, as a multiple of the mean length of the
            descriptors; >= 0. A larger value separates defects more by shape; 0 leaves the shapes out.
        anomalous: N bool.
    """
    reference = shapes[anomalous] if anomalous.sum() > 1 else shapes
    deviation = np.maximum(reference.std(0), 0.5 * shapes.std(0))
    weight = shape_weight * float(np.linalg.norm(descriptors, axis=1).mean()) / math.sqrt(shapes.shape[1])
    spread = np.where(deviation > 1e-6, deviation, np.float32(np.inf))
    return ShapeScaling(reference.mean(0), spread, weight)


def region_shapes(maps: Sequence[FloatArray], level: float, weight: float) -> FloatArray:
    """:func:`region_shape` of each map, N x 3 float32; zeros, at no cost, if shapes have no weight."""
    if not weight:
        return np.zeros((len(maps), 3), np.float32)
    return np.array([region_shape(one, level) for one in maps], np.float32)
