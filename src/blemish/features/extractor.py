"""Feature maps of images: the backbone's maps of the strides in use, stacked on one grid."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from blemish.backbones import Backbone
from blemish.config.sections import Backbone as BackboneSettings
from blemish.errors import ConfigError
from blemish.features.filters import pad_reflect
from blemish.images.scaling.tiling import Tile, TilePixels, plan_tiles

MIRRORINGS: tuple[tuple[int, ...], ...] = ((3,), (2,), (2, 3))
"""Axes of B x C x H x W along which an image is mirrored: left to right, top to bottom, both."""

DEFAULT_STRIDES = (8,)
"""Strides used where the settings name none. Coarser maps blur small defects; finer maps add noise."""


class Extractor:
    """Computes C x h x w feature maps of images; they are returned in the memory of the CPU.

    Args:
        backbone: the network.
        settings: strides, padding and test-time augmentation.

    Attributes:
        strides: the strides in use, ascending.
        grid: the stride of the grid that all maps are brought to.
        device: where the network computes.

    Raises:
        ConfigError: the network has no map of a wanted stride.
    """

    def __init__(self, backbone: Backbone, settings: BackboneSettings) -> None:
        chosen = settings.strides or tuple(s for s in DEFAULT_STRIDES if s in backbone.strides)
        chosen = chosen or backbone.strides[:1]
        missing = [stride for stride in chosen if stride not in backbone.strides]
        if missing:
            raise ConfigError(
                f"backbone {backbone.name} has no map of stride {missing[0]}: choose from {backbone.strides}"
            )
        limit = getattr(backbone, "limited_to", None)  # some networks can skip stages that are not in use
        self.backbone: Backbone = limit(chosen) if limit else backbone
        self.settings, self.strides = settings, chosen
        self.device: torch.device = getattr(backbone, "device", torch.device("cpu"))
        self.grid = 8 if 8 in chosen else chosen[0]

    @property
    def overlap(self) -> int:
        """Pixels that a tile of an image must show around its core, so that its cells are those of the whole image.

        A network that does not say how far it sees is taken to see 16 cells far. Where it sees further, as with
        attention or global pooling, tiles differ slightly from the whole image.
        """
        coarsest = max(self.strides)
        reach = getattr(self.backbone, "reach", {}).get(coarsest, 16 * coarsest) + coarsest
        return -(-reach // self.step) * self.step

    @property
    def step(self) -> int:
        """Tiles begin at multiples of this many pixels, so that their cells are cells of the whole image."""
        return max(16, *self.strides)

    def map_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the map of an image, from its height and width."""
        return -(-size[0] // self.grid), -(-size[1] // self.grid)

    def bands(self, image: TilePixels, side: int) -> Iterator[Tensor]:
        """The features of an image in tiles, as bands C x rows x w from the top; see :meth:`raw`.

        Args:
            image: the pixels.
            side: longest side of a tile.
        """
        for row in plan_tiles(*image.size, side, self.overlap, self.step):
            yield torch.cat([self._core(image, tile) for tile in row], dim=2)

    def _core(self, image: TilePixels, tile: Tile) -> Tensor:
        """The features of the core of a tile."""
        cells = self.raw(torch.from_numpy(image.read(tile.read))[None])[0]
        rows, columns = (
            slice((core.start - read.start) // self.grid, -(-(core.stop - read.start) // self.grid))
            for core, read in zip(tile.core, tile.read, strict=True)
        )
        return cells[:, rows, columns]

    def raw(self, batch: Tensor) -> Tensor:
        """B x 3 x H x W -> B x C x h x w, the chosen strides stacked on the grid of ``self.grid``; see :meth:`blocks`."""
        rows, columns = self.map_size((batch.shape[-2], batch.shape[-1]))
        # with whole cells of every stride, the cells of all strides lie over each other everywhere
        batch = pad_reflect(batch, bottom=-batch.shape[-2] % 16, right=-batch.shape[-1] % 16)
        height, width = self.map_size((batch.shape[-2], batch.shape[-1]))
        parts = []
        for stride, part in self._maps(batch):
            if stride < self.grid:
                part = F.adaptive_avg_pool2d(part, (height, width))
            elif stride > self.grid:
                part = F.interpolate(part, (height, width), mode="bilinear", align_corners=False)
            parts.append(part)
        return torch.cat(parts, 1)[:, :, :rows, :columns].contiguous()

    def _maps(self, batch: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yield each stride with its map and, with test-time augmentation, once more with the mean over mirror images.

        The mean is over the map of the image and the maps of its `MIRRORINGS`, which are mirrored back. Sides are first
        extended to whole cells by reflection, so that the cells of an image and of its mirror images coincide.
        """
        flips, coarsest = self.settings.tta_flips, max(self.strides)
        # the network adds a mirrored margin itself: padding small images by 48 px, not 32, is a fifth more work
        wanted = max(0, self.settings.border_padding - getattr(self.backbone, "margin", 0))
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
        """(stride, is the mean over mirror images, channels) of each block of the stacked features, in order."""
        kinds = (False, True) if self.settings.tta_flips else (False,)
        return [(stride, mean, self.backbone.channels[stride]) for stride in self.strides for mean in kinds]

    def channels(self) -> list[int]:
        """Channels of each of :meth:`blocks`."""
        return [count for _, _, count in self.blocks()]

    def map_channels(self, strides: tuple[int, ...] | None) -> tuple[int, ...]:
        """The channels that anomaly maps are computed from, ascending.

        Args:
            strides: ``localization.strides``; None: 8 if it is in use, else all strides in use.

        Returns:
            Indices into the stacked features: the blocks of these strides. With test-time augmentation, only the means
            over mirror images.

        Raises:
            ConfigError: a stride is not in use.
        """
        missing = [stride for stride in strides or () if stride not in self.strides]
        if missing:
            raise ConfigError(
                f"localization.strides names {missing[0]}, which is not among the strides in use, {self.strides}: "
                "add it to backbone.strides"
            )
        wanted = strides or tuple(s for s in DEFAULT_STRIDES if s in self.strides) or self.strides
        blocks = [(stride, mean) for stride, mean, count in self.blocks() for _ in range(count)]
        flips = self.settings.tta_flips
        return tuple(at for at, (stride, mean) in enumerate(blocks) if stride in wanted and mean == flips)
