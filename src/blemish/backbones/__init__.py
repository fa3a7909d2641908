"""Networks that turn images into feature maps: the embedded network, the same with random weights, and models of timm.

`load_backbone` knows these names:

embedded             the network in this package, which needs no download
random:SEED          the same network with seeded random weights: the baseline that any training has to beat
timm:MODEL           a model of timm (`pip install blemish[timm]`); its weights come from timm's cache or are downloaded
timm:MODEL@4-8-16    the same model, limited to the maps of these strides
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from blemish.errors import ConfigError

__all__ = ["Backbone", "load_backbone"]


@runtime_checkable
class Backbone(Protocol):
    """A network that maps images to one feature map per stride.

    Three optional attributes are used if a network has them: `margin`, the number of pixels by which it mirrors the image
    outwards itself, `reach`, the number of pixels by which a cell of each stride sees beyond its center, and
    `limited_to(strides)`, which returns the same network without the parts that only other strides need.
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
        """SHA-256 of the weights in hexadecimal, part of every cache key."""

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        """Feature maps of images.

        Args:
            rgb: B x 3 x H x W, in [0, 1].

        Returns:
            {stride: B x C x ceil(H / stride) x ceil(W / stride)}, float32, without gradients. Cell (i, j) of the map of
            stride s is centered on pixel (s i, s j). The maps of each image depend on that image alone.
        """


def load_backbone(name: str = "embedded", device: str = "cpu") -> Backbone:
    """The backbone called `name` on a torch device, ready to be called. PyTorch's global generator stays as it is.

    Raises:
        ConfigError: the name fits none of the forms above.
        WeightsError: weights are missing, truncated or altered.
        MissingDependencyError: a model of timm is asked for and timm is not installed.

    >>> import torch
    >>> backbone = load_backbone("random:0")
    >>> {stride: tuple(maps.shape) for stride, maps in backbone(torch.zeros(1, 3, 40, 64)).items()}
    {4: (1, 64, 10, 16), 8: (1, 160, 5, 8), 16: (1, 192, 3, 4)}
    """
    from torch.random import fork_rng

    with fork_rng(devices=[]):  # new layers draw from the global generator before their weights are loaded
        return _load(name, device)


def _load(name: str, device: str) -> Backbone:
    kind, _, rest = name.partition(":")
    if name == "embedded":
        from blemish.backbones.embedded import load_embedded

        return load_embedded(device)
    if kind == "random" and rest.isdecimal() and rest.isascii() and len(rest) <= 18:  # the seed has 64 bits
        from blemish.backbones.embedded import load_random

        return load_random(int(rest), device)
    if kind == "timm" and rest:
        from blemish.backbones.timm_backend import load_timm

        return load_timm(name, device)
    raise ConfigError(f"unknown backbone {name!r}: use embedded, random:SEED, timm:MODEL or timm:MODEL@4-8")
