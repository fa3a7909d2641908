"""The descriptor model: from an image's features and its anomaly map to one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from blemish.config.sections import Descriptor
from blemish.descriptors.pooling import (
    average_weights,
    blur_weights,
    max_weights,
    relative_tau,
    softmax_weights,
    thresholded_weights,
    weighted_sum,
)
from blemish.errors import InputError
from blemish.features.bands import Features, parts
from blemish.localization.scores import expected_normal_score
from blemish.types import BoolArray, FloatArray

NORMAL_QUANTILE = 0.99
"""Share of the cells of normal texture that lie below the level of a descriptor."""


@dataclass(frozen=True)
class DescriptorModel:
    """Everything fitted that a descriptor depends on, besides the features and the map of its image. It holds no image.

    Attributes:
        settings: the descriptor section of the settings.
        tau: temperature of the softmax weighting, in units of the maps.
        level: map value that normal texture hardly exceeds. Cells above it count in the thresholded weighting and are the
            region whose shape joins the descriptor.
        whitening: C x C float32, see :func:`whitening_matrix`; None = off.
    """

    settings: Descriptor
    tau: float = 1.0
    level: float = 0.0
    whitening: Tensor | None = None

    def pixel_weights(self, values: FloatArray, inside: BoolArray | None = None) -> Tensor:
        """The weight of each cell's features in the descriptor, h x w float64, from an anomaly map h x w.

        The weights include the blur of the features. Their sum is 0, because the mean feature is subtracted, except for
        plain averages, whose sum is 1. Outside the region of interest, ``inside``, they are 0.
        """
        s, center = self.settings, self.settings.weighting != "average"
        if inside is None:
            return blur_weights(self._weights(torch.from_numpy(values)), s.blur_size, s.blur_sigma, center=center)[0]
        mask, weights = torch.from_numpy(inside), torch.zeros(inside.shape, dtype=torch.float64)
        weights[mask] = self._weights(torch.from_numpy(values[inside])).flatten()
        weights = blur_weights(weights[None], s.blur_size, s.blur_sigma, center=False)[0] * mask
        weights = weights / weights.sum()  # the blur moves some weight outside
        return weights - mask / mask.sum(dtype=torch.float64) if center else weights

    def _weights(self, values: Tensor) -> Tensor:
        """The weights of the cells of one map before blur and centering, with a dimension in front."""
        s, maps = self.settings, values[None]
        if s.weighting == "thresholded":
            return thresholded_weights(maps, self.level)
        if s.weighting == "softmax":
            return softmax_weights(maps, self.tau)
        return max_weights(maps) if s.weighting == "max" else average_weights(maps)

    def descriptor(self, features: Features, weights: Tensor) -> FloatArray:
        """The descriptor of one image, C float32: the weighted sum of its features, whitened.

        Args:
            features: C x h x w, normalized.
            weights: h x w, see :meth:`pixel_weights`.

        Raises:
            InputError: the features contain NaN or infinite values.
        """
        vector, top = torch.zeros(()), 0
        for part in parts(features):
            rows = part.shape[1]
            found = weighted_sum(part[None], weights[None, top : top + rows])[0]
            vector, top = found if top == 0 else vector + found, top + rows
        if not bool(torch.isfinite(vector).all()):
            raise InputError("The features contain NaN or infinite values.")
        return (vector if self.whitening is None else self.whitening @ vector).numpy()


def fit_descriptor_model(maps: Sequence[FloatArray], covariance: Tensor, settings: Descriptor) -> DescriptorModel:
    """Estimate temperature, level and whitening from sample maps.

    The level is the map value below which `NORMAL_QUANTILE` of the cells of normal texture lie. It does not depend on the
    threshold, so that a wrong threshold does not change how defects are described, and trying others needs no pass of the
    network.

    Args:
        maps: the sample's anomaly maps, at least one.
        covariance: C x C, see :func:`blemish.features.statistics.within_image_covariance`.
        settings: the descriptor section of the settings.
    """
    shrinkage = settings.whitening_shrinkage
    return DescriptorModel(
        settings,
        tau=settings.tau or relative_tau(maps, settings.relative_tau),
        level=expected_normal_score(maps, np.full(len(maps), NORMAL_QUANTILE)),
        whitening=None if shrinkage is None else whitening_matrix(covariance, shrinkage),
    )


def whitening_matrix(covariance: Tensor, shrinkage: float) -> Tensor:
    """The whitening matrix (S / m + shrinkage I)^(-1/2) of a covariance S with mean variance m.

    What differs from place to place on normal texture (streaks, grain, light) says little about the type of a defect.
    After whitening it has no more weight than anything else. Defects cover too few cells to affect S much.

    Args:
        covariance: C x C, see :func:`blemish.features.statistics.within_image_covariance`.
        shrinkage: > 0; larger values whiten less.

    Returns:
        C x C, symmetric, float32, scaled to a mean eigenvalue of one; the identity if nothing varies.

    Source: within-class covariance normalization (Hatch et al. 2006) with each image as a class; not in Ardelean & Weyrich.

    >>> whitening_matrix(torch.diag(torch.tensor([4.0, 4.0, 0.0])), 0.01).diagonal().argmax().item()
    2
    """
    mean = float(covariance.diagonal().mean())
    if not mean > 0:
        return torch.eye(len(covariance))
    values, vectors = torch.linalg.eigh(covariance.double() / mean)
    root = (values.clamp_min(0) + shrinkage).rsqrt()
    return ((vectors * (root / root.mean())) @ vectors.T).float()
