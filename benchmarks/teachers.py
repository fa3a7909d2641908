"""The development networks (ResNet-50, ResNet-18, SqueezeNet) behind the Backbone protocol: reference points, never
part of the package.

They lie in the folder `shared` beside the repository; the environment variable BLEMISH_SHARED names another place.
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

STAGES = {
    "resnet50": {4: "layer1", 8: "layer2", 16: "layer3"},
    "resnet18": {4: "layer1", 8: "layer2", 16: "layer3"},
    "squeezenet": {4: "fire4", 8: "fire5"},
}


def shared() -> Path:
    """The folder of development data and weights."""
    default = Path(__file__).resolve().parents[1].parent / "shared"
    return Path(os.environ.get("BLEMISH_SHARED", default))


class Teacher:
    """One of STAGES as a Backbone. `strides` chooses maps; `stages` overrides which stage stands for a stride."""

    def __init__(
        self,
        name: str,
        strides: tuple[int, ...] | None = None,
        stages: dict[int, str] | None = None,
        device: str = "cpu",
    ) -> None:
        folder = shared() / "weights"
        spec = importlib.util.spec_from_file_location("blemish_teachers", folder / "teachers.py")
        if spec is None or spec.loader is None or not (folder / "teachers.py").is_file():
            raise FileNotFoundError(f"no teachers.py in {folder}: set BLEMISH_SHARED")
        module: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        chosen = {**STAGES[name], **(stages or {})}
        self.strides = tuple(sorted(chosen)) if strides is None else tuple(sorted(strides))
        self.stages = {stride: chosen[stride] for stride in self.strides}
        self.name = f"{name}@{'-'.join(map(str, self.strides))}"
        self.device = torch.device(device)
        self.net = module.load(name).requires_grad_(False).to(self.device).to(memory_format=torch.channels_last)
        if name == "resnet50":
            self.net.stages = max(int(stage[-1]) for stage in self.stages.values())
        self.digest = hashlib.sha256((folder / f"{module.NETS[name][1]}.safetensors").read_bytes()).hexdigest()
        self.channels = {stride: maps.shape[1] for stride, maps in self(torch.zeros(1, 3, 64, 64)).items()}

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        """{stride: B x C x ceil(H / stride) x ceil(W / stride)}; the last cell is repeated where a stage is short of
        it.
        """
        height, width = rgb.shape[2:]
        rgb = rgb.to(self.device, torch.float32).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            found = self.net(rgb)
            return {s: fitted(found[stage], -(-height // s), -(-width // s)) for s, stage in self.stages.items()}


def fitted(maps: Tensor, rows: int, columns: int) -> Tensor:
    """Crop or repeat the last row and column to rows x columns (SqueezeNet's unpadded stem loses up to a cell)."""
    short = (0, max(0, columns - maps.shape[3]), 0, max(0, rows - maps.shape[2]))
    return F.pad(maps, short, mode="replicate")[:, :, :rows, :columns].contiguous()


def load(name: str, device: str = "cpu") -> Any:
    """Any backbone by name: those of the package, or teacher:resnet50, teacher:resnet50@8, teacher:squeezenet@4-8."""
    from blemish.backbones import load_backbone

    if not name.startswith("teacher:"):
        return load_backbone(name, device)
    model, at, strides = name.removeprefix("teacher:").partition("@")
    return Teacher(model, tuple(int(s) for s in strides.split("-")) if at else None, device=device)
