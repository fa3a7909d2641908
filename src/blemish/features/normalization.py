"""Normalization of feature channels, pooling of feature cells, and their covariance within images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from blemish.features.filters import unit_range

Method = Literal["dataset", "image", "none"]


@dataclass(frozen=True)
class FeatureNormalizer:
    """The fitted normalization of feature channels; it holds no image.

    Attributes:
        method: ``dataset``: subtract ``mean`` and multiply by ``scale``. ``image``: scale each channel of each image to
            [0, 1]. ``none``: leave the values as they are.
        mean: C float32, mean of each channel over the dataset; zeros unless the method is ``dataset``.
        scale: C float32, 1 / (standard deviation sqrt(channels of its block)); ones unless the method is ``dataset``.
    """

    method: Method
    mean: Tensor
    scale: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """Normalized features, C x h x w -> C x h x w.

        With ``dataset``, the mean squared length of each block's vectors over the dataset is 1.
        """
        if self.method == "image":
            return unit_range(features[None])[0]
        return (features - self.mean[:, None, None]) * self.scale[:, None, None]


def fit_normalizer(sample: Sequence[Tensor], channels: Sequence[int], method: Method) -> FeatureNormalizer:
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
    cells = sum(one[0].numel() for one in sample)
    mean = sum((one.flatten(1).double().sum(1) for one in sample), torch.zeros(total, dtype=torch.float64)) / cells
    squares = sum(
        ((one.flatten(1).double() - mean[:, None]).square().sum(1) for one in sample),
        torch.zeros(total, dtype=torch.float64),
    )
    deviation = (squares / cells).sqrt()
    share = torch.cat([torch.full((count,), float(count)) for count in channels]).double().rsqrt()
    # relative floor: the rounding noise of a constant channel must not be scaled up to unit variance
    alive = deviation > 1e-5 * (1 + mean.abs())
    scale = torch.where(alive, share / deviation.clamp_min(1e-12), 0.0).float()
    return FeatureNormalizer(method, mean.float(), scale)


def pooled(features: Tensor, size: int) -> Tensor:
    """Average each cell with its neighbors in a size x size window; at the edge, over the cells that exist.

    Args:
        features: C x h x w.
        size: odd; 1 returns the features as they are.
    """
    if size == 1:
        return features
    return F.avg_pool2d(features[None], size, 1, size // 2, count_include_pad=False)[0]


def within_image_covariance(features: Sequence[Tensor]) -> Tensor:
    """The covariance of feature vectors within an image, averaged over images.

    Args:
        features: maps, C x h x w each, of at least one image; sizes may differ.

    Returns:
        C x C float64. Constant images give zeros. Differences between images do not enter.
    """
    channels = features[0].shape[0]
    total = torch.zeros(channels, channels, dtype=torch.float64)
    for one in features:
        cells = one.flatten(1)
        cells = cells - cells.mean(1, keepdim=True)
        total += (cells @ cells.T).double() / cells.shape[1]
    return total / len(features)
