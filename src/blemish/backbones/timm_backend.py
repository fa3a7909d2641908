"""Models of timm as backbones, for comparison and for users who have a stronger model at hand."""

from __future__ import annotations

import importlib
import os
from typing import Any

import torch
from torch import Tensor, nn

from blemish.backbones.embedded import check_input, digest_of
from blemish.backbones.network import channels_last
from blemish.errors import ConfigError, MissingDependencyError, WeightsError

STRIDES = (4, 8, 16)
"""Strides that are used if the name gives none."""


class TimmBackbone:
    """A `Backbone` made of a model that timm built with `features_only`.

    The image is padded at the right and below with its last pixel up to a multiple of the largest stride, so
    that a map has ceil(side / stride) cells. The model's own mean and deviation are applied here.
    """

    def __init__(self, name: str, model: nn.Module, strides: tuple[int, ...] | None, device: str) -> None:
        # timm builds these objects at run time, without types.
        info: Any = model.feature_info
        have = dict(zip(info.reduction(), info.channels(), strict=True))
        self.strides = tuple(s for s in STRIDES if s in have) if strides is None else strides
        if not self.strides or not set(self.strides) <= set(have):
            raise ConfigError(
                f"{name}: this model has maps of strides {sorted(have)}, asked for {list(strides or STRIDES)}"
            )
        self.name, self.device = name, torch.device(device)
        self.channels = {stride: int(have[stride]) for stride in self.strides}
        self.digest = digest_of(model.state_dict())
        self._order = list(info.reduction())
        config: dict[str, Any] = getattr(model, "pretrained_cfg", None) or {}
        mean, std = config.get("mean", (0.485, 0.456, 0.406)), config.get("std", (0.229, 0.224, 0.225))
        self._mean = torch.tensor(mean, device=self.device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=self.device).view(1, 3, 1, 1)
        self.model = channels_last(model.eval().requires_grad_(False).to(self.device))

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        """Feature maps of images.

        Args:
            rgb: B x 3 x H x W, or B x 1 x H x W for gray, in [0, 1].

        Returns:
            {stride: B x C x ceil(H / stride) x ceil(W / stride)}, float32.

        Raises:
            InputError: the images are not as above.
        """
        check_input(rgb)
        height, width = rgb.shape[2:]
        coarse = max(self._order)
        rgb = (rgb.to(self.device, torch.float32).expand(-1, 3, -1, -1) - self._mean) / self._std
        padded = nn.functional.pad(rgb, (0, -width % coarse, 0, -height % coarse), mode="replicate")
        with torch.inference_mode():
            found = dict(
                zip(self._order, self.model(padded.contiguous(memory_format=torch.channels_last)), strict=True)
            )
            return {s: found[s][:, :, : -(-height // s), : -(-width // s)].float().contiguous() for s in self.strides}


def parse_name(name: str) -> tuple[str, tuple[int, ...] | None]:
    """The model and the ascending strides in timm:MODEL@4-8.

    Raises:
        ConfigError: the strides are not numbers.

    >>> parse_name("timm:wide_resnet50_2.tv_in1k@8-4")
    ('wide_resnet50_2.tv_in1k', (4, 8))
    >>> parse_name("timm:resnet18")
    ('resnet18', None)
    """
    model, at, text = name.removeprefix("timm:").partition("@")
    if not at:
        return model, None
    parts = text.split("-")
    if not model or not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise ConfigError(f"cannot read {name!r}: the strides follow @ and are joined by -, as in timm:resnet18@4-8")
    return model, tuple(sorted({int(part) for part in parts}))


def load_timm(name: str, device: str = "cpu") -> TimmBackbone:
    """The model timm:MODEL[@strides] with its pretrained weights.

    With HF_HUB_OFFLINE=1 only weights that are already in the cache are used.

    Raises:
        MissingDependencyError: timm is not installed.
        ConfigError: timm has no such model, or the model has no such stride.
        WeightsError: the weights are neither in the cache nor can they be downloaded.
    """
    model_name, strides = parse_name(name)
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError:
        raise MissingDependencyError(
            f"{name} needs the package timm: pip install blemish[timm], or use the embedded backbone"
        ) from None
    if not timm.is_model(model_name):
        raise ConfigError(f"timm has no model {model_name!r}: see timm.list_models(pretrained=True)")
    try:
        model: nn.Module = timm.create_model(model_name, pretrained=True, features_only=True)
    except Exception as error:  # the hub raises errors of several packages that are no dependencies of ours
        offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
        why = (
            "they are not in the cache and HF_HUB_OFFLINE forbids a download"
            if offline
            else " ".join(str(error).split())[:200]
        )
        raise WeightsError(
            f"no weights for {name} ({why}): download them once while online, or use the embedded backbone"
        ) from error
    return TimmBackbone(name, model, strides, device)
