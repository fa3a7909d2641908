"""The vectors that are clustered: how descriptors, shapes and scores become them, for a set and for later images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from blemish.clustering.score_weights import ScoreWeights, fit_score_weights
from blemish.config.sections import Cluster
from blemish.descriptors.geometry import ShapeScaling, fit_shape_scaling
from blemish.descriptors.vectors import unit_rows
from blemish.localization.threshold import ScoreModel
from blemish.types import FloatArray


@dataclass(frozen=True)
class DefectSpace:
    """From descriptors of local defects to the vectors that are clustered, fitted to one set.

    Attributes:
        normalize: scale descriptors to length 1, before and after the shapes join them.
        shapes: scaling of the shapes beside the descriptors.
        score_weights: weights by score; None = all descriptors count alike.
    """

    normalize: bool
    shapes: ShapeScaling
    score_weights: ScoreWeights | None

    def rows(self, descriptors: FloatArray, shapes: FloatArray, scores: FloatArray) -> FloatArray:
        """The vectors, N x E float32, of N x D descriptors, N x 3 shapes and N scores; each row depends on itself alone."""
        if self.normalize:
            rows = unit_rows(self.shapes.concat(unit_rows(descriptors), shapes))
        else:
            rows = self.shapes.concat(descriptors.astype(np.float32), shapes)
        return rows if self.score_weights is None else rows * self.score_weights.weights(scores)[:, None]


def fit_defect_space(
    descriptors: FloatArray,
    shapes: FloatArray,
    scores: FloatArray,
    score_model: ScoreModel,
    settings: Cluster,
    *,
    shape_weight: float,
    normalize: bool,
) -> DefectSpace:
    """Fit scalings and weights to a set; see :func:`blemish.clustering.group_images` for the arguments."""
    anomalous = score_model.anomalous(scores)
    scaling = fit_shape_scaling(unit_rows(descriptors) if normalize else descriptors, shapes, shape_weight, anomalous)
    weighted = settings.score_weighting == "soft" and bool(anomalous.any())
    weights = fit_score_weights(scores, score_model, settings.soft_width, settings.soft_floor) if weighted else None
    return DefectSpace(normalize, scaling, weights)


@dataclass(frozen=True)
class SurfaceSpace:
    """From mean features of whole surfaces to the vectors that are clustered, fitted to one set.

    Attributes:
        mean: C float32, of the images' mean features.
        deviation: C float32; infinite where they do not vary.
    """

    mean: FloatArray
    deviation: FloatArray

    def rows(self, surfaces: FloatArray) -> FloatArray:
        """The vectors, N x C float32: the mean features N x C, standardized, at length 1."""
        return unit_rows(((surfaces - self.mean) / self.deviation).astype(np.float32))


def fit_surface_space(surfaces: FloatArray) -> SurfaceSpace:
    """Fit the standardization to the mean features N x C of a set. A channel that does not vary gets 0."""
    deviation = surfaces.std(0)
    return SurfaceSpace(surfaces.mean(0), np.where(deviation > 1e-6, deviation, np.float32(np.inf)))
