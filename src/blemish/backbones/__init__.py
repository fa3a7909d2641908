"""Feature extractors behind one call: `load_backbone(name)` gives something that maps pictures to maps of features.

Names:

embedded             the network in this package; nothing to download
random:SEED          the same network with seeded random weights: the reference point that any training has to beat
timm:MODEL           a model of timm (`pip install blemish[timm]`), its weights from timm's cache or downloaded
timm:MODEL@4-8-16    the same, only the maps of these strides
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from blemish.errors import ConfigError

__all__ = ["Backbone", "load_backbone"]


@runtime_checkable
class Backbone(Protocol):
    """Maps pictures to one feature map per stride.

    `name`      what `load_backbone` was given.
    `strides`   input pixels per cell, ascending.
    `channels`  stride -> number of channels.
    `digest`    SHA-256 of the weights, in hexadecimal: part of every cache key.

    Two more are used where a network has them: `margin`, the pixels that it mirrors round a picture itself, and
    `limited_to(strides)`, the same network without what only other strides need.
    """

    @property
    def name(self) -> str:
        """The name that `load_backbone` was given."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per cell of each map, ascending."""

    @property
    def channels(self) -> dict[int, int]:
        """Stride -> number of channels."""

    @property
    def digest(self) -> str:
        """SHA-256 of the weights in hexadecimal."""

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        """Map rgb, B x 3 x H x W in [0, 1], to {stride: B x C x ceil(H / stride) x ceil(W / stride)}, float32, no
        gradients.

        Cell (i, j) of the map of stride s is centerd on pixel (s i, s j). Each picture's maps depend on that picture
        alone.
        """


def load_backbone(name: str = "embedded", device: str = "cpu") -> Backbone:
    """Build the backbone called `name` on a torch device, ready to be called.

    Raises ConfigError for a name that none of the kinds above fits, WeightsError if weights are missing, truncated
    or altered, and
    MissingDependencyError if timm is asked for and absent.

    >>> import torch
    >>> backbone = load_backbone("random:0")
    >>> {stride: tuple(maps.shape) for stride, maps in backbone(torch.zeros(1, 3, 40, 64)).items()}
    {4: (1, 64, 10, 16), 8: (1, 160, 5, 8), 16: (1, 192, 3, 4)}
    """
    kind, _, rest = name.partition(":")
    if name == "embedded":
        from blemish.backbones.embedded import load_embedded

        return load_embedded(device)
    if kind == "random" and rest.isdecimal() and rest.isascii():
        from blemish.backbones.embedded import load_random

        return load_random(int(rest), device)
    if kind == "timm" and rest:
        from blemish.backbones.timm_backend import load_timm

        return load_timm(name, device)
    raise ConfigError(f"unknown backbone {name!r}: use embedded, random:SEED, timm:MODEL or timm:MODEL@4-8")
