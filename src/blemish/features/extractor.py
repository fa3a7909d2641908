"""Feature maps of a set: one map per image on one grid, scaled per channel over the set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from blemish.backbones import Backbone
from blemish.config.schema import Config
from blemish.errors import ConfigError
from blemish.features.filters import pad_reflect, unit_range

MIRRORINGS: tuple[tuple[int, ...], ...] = ((3,), (2,), (2, 3))
"""Axes of B x C x H x W along which a picture is mirrored: left to right, upside down, both."""

DEFAULT_STRIDES = (8,)
"""Used where the settings name none, of what there is: coarser maps smear small defects, finer ones add noise."""


class Extractor:
    """Images in, C x h x w feature maps out, on the CPU."""

    def __init__(self, backbone: Backbone, config: Config) -> None:
        chosen = config.backbone.strides or tuple(s for s in DEFAULT_STRIDES if s in backbone.strides)
        chosen = chosen or backbone.strides[:1]
        missing = [stride for stride in chosen if stride not in backbone.strides]
        if missing:
            raise ConfigError(
                f"backbone {backbone.name} has no map of stride {missing[0]}: choose from {backbone.strides}"
            )
        limit = getattr(backbone, "limited_to", None)  # a network may skip the stages that nobody asks for
        self.backbone: Backbone = limit(chosen) if limit else backbone
        self.config, self.strides = config, chosen
        self.grid = 8 if 8 in chosen else chosen[0]

    def raw(self, batch: Tensor) -> Tensor:
        """B x 3 x H x W -> B x C x h x w, the chosen strides stacked on the grid of ``self.grid``; see :meth:`blocks`."""
        height, width = (-(-side // self.grid) for side in batch.shape[-2:])
        parts = []
        for stride, part in self._maps(batch):
            if stride < self.grid:
                part = F.adaptive_avg_pool2d(part, (height, width))
            elif stride > self.grid:
                part = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)
            parts.append(part)
        return torch.cat(parts, 1).contiguous()

    def _maps(self, batch: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The network's maps under their strides, each, with ``backbone.flips``, followed by the mean over mirror images.

        That is the mean of the map and of those of `MIRRORINGS`, mirrored back; sides are filled up to whole cells with
        mirrored picture first, so that the picture's cells and those of its mirror image are the same.
        """
        flips, coarsest = self.config.backbone.flips, max(self.strides)
        # what the network mirrors itself counts: 48 px instead of 32 round small images is a fifth more work
        wanted = max(0, self.config.backbone.border_padding - getattr(self.backbone, "margin", 0))
        pad = -(-wanted // coarsest) * coarsest
        down, right = (-side % coarsest if flips else 0 for side in batch.shape[-2:])
        padded = pad_reflect(batch, top=pad, bottom=pad + down, left=pad, right=pad + right)
        plain = self.backbone(padded)
        total = {stride: plain[stride].float().cpu().clone() for stride in self.strides if flips}
        for axes in MIRRORINGS if flips else ():
            mirrored = self.backbone(padded.flip(axes))
            for stride, part in total.items():
                part += mirrored[stride].float().cpu().flip(axes)
        for stride in self.strides:
            rows, columns = (slice(pad // stride, pad // stride + -(-side // stride)) for side in batch.shape[-2:])
            yield stride, plain[stride].float().cpu()[:, :, rows, columns]
            if flips:
                yield stride, total[stride][:, :, rows, columns] / (1 + len(MIRRORINGS))

    def blocks(self) -> list[tuple[int, bool, int]]:
        """Stride, whether it is the mean over mirror images, and channels of each part of the stacked features, in order."""
        kinds = (False, True) if self.config.backbone.flips else (False,)
        return [(stride, mean, self.backbone.channels[stride]) for stride in self.strides for mean in kinds]

    def channels(self) -> list[int]:
        """Channels of each of :meth:`blocks`."""
        return [count for _, _, count in self.blocks()]

    def map_channels(self) -> tuple[int, ...]:
        """Channels of the stacked features that anomaly maps are made of, ascending: the means over mirror images, where
        there are any, of the strides in question.
        """
        wanted = self.config.localize.strides
        missing = [stride for stride in wanted or () if stride not in self.strides]
        if missing:
            raise ConfigError(
                f"localize.strides names {missing[0]}, which is not among the strides in use, {self.strides}: "
                "add it to backbone.strides"
            )
        wanted = wanted or tuple(s for s in DEFAULT_STRIDES if s in self.strides) or self.strides
        owners = [(stride, mean) for stride, mean, count in self.blocks() for _ in range(count)]
        flips = self.config.backbone.flips
        return tuple(at for at, (stride, mean) in enumerate(owners) if stride in wanted and mean == flips)
