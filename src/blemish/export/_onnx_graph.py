"""A fitted model as one graph of tensors: from a batch of images to maps, scores and descriptors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blemish.backbones.embedded import MARGIN, EmbeddedBackbone, cropped, mirrored
from blemish.descriptors import DescriptorModel
from blemish.descriptors.pooling import COUNTED_QUANTILE
from blemish.features import Extractor
from blemish.features.filters import gaussian_blur
from blemish.localization.border import BORDER_DEPTH, BorderCorrection
from blemish.localization.neighbors import MemoryBank
from blemish.model import FittedModel

BLOCK = 1024
"""Patches of the memory bank whose distances to all cells of a batch are in memory at a time."""


class InspectionGraph(nn.Module):
    """What a fitted model with ``localization.method = knn`` says about images, without a branch that depends on values.

    Args:
        model: the model.
        backbone: its network.
    """

    def __init__(self, model: FittedModel, backbone: EmbeddedBackbone) -> None:
        super().__init__()
        fitted, config = model.localization, model.config
        bank = fitted.map_model.memory_bank
        assert bank is not None
        self.extractor = Extractor(_Traceable(backbone), config.backbone)
        self.trunk = backbone.trunk  # registered here, so that its weights are part of the graph
        self.normalizer, self.localization = fitted.normalizer, config.localization
        channels = fitted.map_model.channels
        self.channels = None if channels is None else list(channels)
        self.pool_size = fitted.map_model.pool_size
        self.nearest = _NearestPatch(bank)
        self.border = None if fitted.map_model.border is None else _Border(fitted.map_model.border)
        self.descriptor = _Descriptor(model.descriptor_model)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inspect a batch.

        Args:
            image: B x 3 x H x W float32 in [0, 1], at its target size.

        Returns:
            Maps, B x h x w; scores, B; descriptors of what is anomalous in each image, B x C.
        """
        features = self.normalizer.apply(self.extractor.raw(image))
        chosen = features if self.channels is None else features[:, self.channels]
        maps = self.nearest(_pooled(chosen, self.pool_size))
        s = self.localization
        if s.smoothing_sigma:
            maps = gaussian_blur(maps, s.smoothing_size, s.smoothing_sigma)
        if self.border is not None:
            maps = self.border(maps)
        if s.zero_border:
            rings = _edge_distance(maps)
            maps = torch.where(rings >= rings.max().clamp_max(s.zero_border), maps, 0.0)
        return maps, quantile(maps.flatten(1), s.score_quantile), self.descriptor(features, maps)


class _Traceable:
    """The embedded network without checks of its input and without inference mode, which exporters do not follow."""

    margin = MARGIN

    def __init__(self, backbone: EmbeddedBackbone) -> None:
        self.name, self.digest = backbone.name, backbone.digest
        self.strides, self.channels, self._trunk = backbone.strides, backbone.channels, backbone.trunk

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        height, width = rgb.shape[2:]
        maps = self._trunk(mirrored(rgb, MARGIN))
        return {stride: cropped(maps[stride], MARGIN // stride, height, width, stride) for stride in self.strides}


class _NearestPatch(nn.Module):
    """Distance of each cell to the memory bank, as :meth:`MemoryBank.distance` computes it for an image that is new."""

    patches: Tensor
    squares: Tensor
    weights: Tensor

    def __init__(self, bank: MemoryBank) -> None:
        super().__init__()
        images, each = bank.patches.shape[:2]
        self.images_per_block = max(1, BLOCK // each)
        self.rank = int(bank.image_quantile * (images - 1))
        weights = torch.ones(images, each) if bank.density_weights is None else bank.density_weights
        self.register_buffer("patches", bank.patches)
        self.register_buffer("squares", bank.patches.square().sum(2))
        self.register_buffer("weights", weights.flatten())

    def forward(self, features: Tensor) -> Tensor:
        """B x C x h x w to B x h x w."""
        cells = features.flatten(2).transpose(1, 2)  # B x P x C
        (images, each), parts = self.patches.shape[:2], []
        for first in range(0, images, self.images_per_block):
            block = slice(first, first + self.images_per_block)
            patches = self.patches[block]
            products = self.squares[block].flatten() - 2 * cells @ patches.flatten(0, 1).T
            parts.append(products.unflatten(2, patches.shape[:2]).min(3))  # of each image its nearest patch
        values, rows = torch.cat([part[0] for part in parts], 2), torch.cat([part[1] for part in parts], 2)
        nearest, image = (one[..., -1] for one in values.topk(self.rank + 1, dim=2, largest=False))
        row = rows.gather(2, image[..., None])[..., 0]
        own = cells.square().sum(2)
        squared = nearest + own
        found = torch.where(squared > 4e-6 * own, squared.clamp_min(0).sqrt(), 0.0)
        return (found * self.weights[image * each + row]).unflatten(1, features.shape[2:])


class _Border(nn.Module):
    """:meth:`BorderCorrection.apply` as one factor and one offset per ring of cells."""

    factors: Tensor
    offsets: Tensor

    def __init__(self, border: BorderCorrection) -> None:
        super().__init__()
        lines = [_line(border, ring) for ring in range(BORDER_DEPTH)] + [(1.0, 0.0)]
        self.register_buffer("factors", torch.tensor([factor for factor, _ in lines], dtype=torch.float64).float())
        self.register_buffer("offsets", torch.tensor([offset for _, offset in lines], dtype=torch.float64).float())

    def forward(self, maps: Tensor) -> Tensor:
        """B x h x w to B x h x w."""
        rings = _edge_distance(maps).clamp_max(BORDER_DEPTH)
        return (maps * self.factors[rings] + self.offsets[rings]).clamp_min(0)


def _line(border: BorderCorrection, ring: int) -> tuple[float, float]:
    """Factor and offset of one ring."""
    median, spread = border.median[ring], border.upper_spread[ring]
    inner_median, inner_spread = border.median[-1], border.upper_spread[-1]
    inner_upper = inner_median + inner_spread
    if median > inner_median:
        gain = min(1.0, inner_spread / spread) if spread > 0 else 1.0
        return gain, inner_median - median * gain
    return (inner_upper / (median + spread), 0.0) if median + spread > inner_upper > 0 else (1.0, 0.0)


class _Descriptor(nn.Module):
    """:class:`DescriptorModel` with the blur on the features in place of the weights, which gives the same sum."""

    whitening: Tensor | None

    def __init__(self, model: DescriptorModel) -> None:
        super().__init__()
        self.settings, self.tau, self.level = model.settings, model.tau, model.level
        self.register_buffer("whitening", model.whitening)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        """B x C x h x w and B x h x w to B x C."""
        s, flat = self.settings, maps.flatten(1)
        weights = self._weights(flat)
        if s.weighting != "average":
            weights = weights - weights.mean(1, keepdim=True)
        blurred = gaussian_blur(features, s.blur_size, s.blur_sigma).flatten(2)
        vectors = (blurred @ weights[..., None])[..., 0]
        return vectors if self.whitening is None else vectors @ self.whitening.T

    def _weights(self, flat: Tensor) -> Tensor:
        """The weights of the cells, B x P; those of each image sum to 1."""
        kind = self.settings.weighting
        if kind == "softmax":
            return torch.softmax(flat / self.tau, 1)
        if kind == "thresholded":
            level = quantile(flat, COUNTED_QUANTILE).clamp_max(self.level)
            excess = (flat - level[:, None]).clamp_min(0)
        elif kind == "max":
            excess = (torch.arange(flat.shape[1]) == flat.argmax(1, keepdim=True)).float()
        else:
            excess = torch.ones_like(flat)
        total = excess.sum(1, keepdim=True)
        equal = torch.ones_like(flat) / flat.shape[1]
        return torch.where(total > 0, excess / total.clamp_min(1e-30), equal)


def quantile(values: Tensor, q: float) -> Tensor:
    """The q-quantile of each row, B x P to B, interpolated linearly: ``torch.quantile`` from operators that ONNX has."""
    ordered = values.sort(1)[0]
    place = torch.arange(values.shape[1])[-1:].double() * q
    below = place.floor()
    low, high = ordered[:, below.long()], ordered[:, place.ceil().long()]
    return (low + (high - low) * (place - below).float())[:, 0]


def _pooled(features: Tensor, size: int) -> Tensor:
    """:func:`blemish.features.normalization.pooled` of a batch."""
    return features if size == 1 else F.avg_pool2d(features, size, 1, size // 2, count_include_pad=False)


def _edge_distance(maps: Tensor) -> Tensor:
    """Number of cells between each cell and the nearest edge; B x h x w to h x w."""
    rows, columns = (torch.arange(side) for side in maps.shape[1:])
    rows, columns = (torch.minimum(one, one.flip(0)) for one in (rows, columns))
    return torch.minimum(rows[:, None], columns[None])
