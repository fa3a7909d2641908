"""ResNet-50, ResNet-18 and SqueezeNet behind the Backbone protocol: reference points, never part of the package.

Their weights lie in ``weights`` in the folder ``shared`` beside the repository; the environment variable BLEMISH_SHARED
names another folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from blemish.backbones import load_backbone

STAGES = {
    "resnet50": {4: "layer1", 8: "layer2", 16: "layer3"},
    "resnet18": {4: "layer1", 8: "layer2", 16: "layer3"},
    "squeezenet": {4: "fire4", 8: "fire5"},
}
"""Network -> stride -> the network's name of the stage with that stride."""


def weights_folder() -> Path:
    """The folder with the weights and with ``teachers.py``, which builds the networks."""
    default = Path(__file__).resolve().parents[1].parent / "shared"
    return Path(os.environ.get("BLEMISH_SHARED", default)) / "weights"


class Teacher:
    """One network of STAGES as a Backbone.

    Args:
        name: key of STAGES.
        strides: strides of the maps; None: all that STAGES has.
        device: torch device.

    Raises:
        FileNotFoundError: the weights are not there.
    """

    def __init__(self, name: str, strides: tuple[int, ...] | None = None, device: str = "cpu") -> None:
        module = _networks()
        self.strides = tuple(sorted(STAGES[name] if strides is None else strides))
        self.stages = {stride: STAGES[name][stride] for stride in self.strides}
        self.name = f"{name}@{'-'.join(map(str, self.strides))}"
        self.device = torch.device(device)
        self.net = module.load(name).requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)
        if name == "resnet50":
            self.net.stages = max(int(stage[-1]) for stage in self.stages.values())
        weights = weights_folder() / f"{module.NETS[name][1]}.safetensors"
        self.digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        self.channels = {stride: maps.shape[1] for stride, maps in self(torch.zeros(1, 3, 64, 64)).items()}

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        """B x 3 x H x W in [0, 1] to {stride: B x C x ceil(H / stride) x ceil(W / stride)}."""
        height, width = rgb.shape[2:]
        rgb = rgb.to(self.device, torch.float32).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = self.net(rgb)
            return {s: _fitted(found[stage], -(-height // s), -(-width // s)) for s, stage in self.stages.items()}


def _networks() -> Any:
    """The module that builds the networks."""
    file = weights_folder() / "teachers.py"
    spec = importlib.util.spec_from_file_location("blemish_teachers", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise FileNotFoundError(f"no teachers.py in {file.parent}: set BLEMISH_SHARED")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _fitted(maps: Tensor, rows: int, columns: int) -> Tensor:
    """Maps cropped to rows x columns, the last row and column repeated where they are smaller.

    SqueezeNet pads nothing in its first layer, so that its maps are up to a cell smaller.
    """
    short = (0, max(0, columns - maps.shape[3]), 0, max(0, rows - maps.shape[2]))
    return F.pad(maps, short, mode="replicate")[:, :, :rows, :columns].contiguous()


def load(name: str, device: str = "cpu") -> Any:
    """A backbone by name: those of the package, or ``teacher:NETWORK`` or ``teacher:NETWORK@STRIDES``.

    Examples: ``embedded``, ``teacher:resnet50``, ``teacher:resnet50@8``, ``teacher:squeezenet@4-8``.
    """
    if not name.startswith("teacher:"):
        return load_backbone(name, device)
    network, _, strides = name.removeprefix("teacher:").partition("@")
    return Teacher(network, tuple(int(one) for one in strides.split("-")) if strides else None, device)
