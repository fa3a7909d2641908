"""What is fitted to the features of a sample of images: their normalization, and their covariance within images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from blemish.features.bands import Features, cell_count, mean_cell, parts
from blemish.features.normalization import FeatureNormalizer, Method


def fit_normalizer(sample: Sequence[Features], channels: Sequence[int], method: Method) -> FeatureNormalizer:
    """Fit the normalization to a sample of feature maps.

    Args:
        sample: feature maps, C x h x w each; sizes may differ.
        channels: number of channels of each block, which sum to C. Every block has the same weight in distances,
            whatever its number of channels.
        method: see :class:`FeatureNormalizer`.

    Returns:
        The normalizer. A channel that does not vary gets the scale 0.
    """
    total = sum(channels)
    if method != "dataset":
        return FeatureNormalizer(method, torch.zeros(total), torch.ones(total))
    # one map at a time and in two passes: a float64 copy of the whole sample would dominate a run's memory
    zeros, cells = torch.zeros(total, dtype=torch.float64), sum(cell_count(one) for one in sample)
    mean = sum((part.flatten(1).double().sum(1) for one in sample for part in parts(one)), zeros) / cells
    squares = sum(
        ((part.flatten(1).double() - mean[:, None]).square().sum(1) for one in sample for part in parts(one)), zeros
    )
    deviation = (squares / cells).sqrt()
    share = torch.cat([torch.full((count,), float(count)) for count in channels]).double().rsqrt()
    # relative floor: the rounding noise of a constant channel must not be scaled up to unit variance
    alive = deviation > 1e-5 * (1 + mean.abs())
    scale = torch.where(alive, share / deviation.clamp_min(1e-12), 0.0).float()
    return FeatureNormalizer(method, mean.float(), scale)


def within_image_covariance(features: Sequence[Features]) -> Tensor:
    """The covariance of feature vectors within an image, averaged over images.

    Args:
        features: feature maps of at least one image, C x h x w each; sizes may differ.

    Returns:
        C x C float64. Constant images give zeros. Differences between images do not enter.
    """
    total: Tensor | None = None
    for one in features:
        mean, count = mean_cell(one)[:, None], cell_count(one)
        for part in parts(one):
            cells = part.flatten(1) - mean
            product = (cells @ cells.T).double() / count
            total = product if total is None else total + product
    assert total is not None
    return total / len(features)
