"""Normalization of feature channels, and pooling of feature cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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


def pooled(features: Tensor, size: int) -> Tensor:
    """Average each cell with its neighbors in a size x size window; at the edge, over the cells that exist.

    Args:
        features: C x h x w.
        size: odd; 1 returns the features as they are.
    """
    if size == 1:
        return features
    return F.avg_pool2d(features[None], size, 1, size // 2, count_include_pad=False)[0]
