"""Write a checkpoint's averaged trunk into the package: `python -m training.export CHECKPOINT`.

The heads are dropped, the batch norms are folded, and each map is scaled to a mean square of one over held-out crops (a
positive factor commutes with the rectifiers, so that only the scale changes). The weights are stored as float16, together
with their SHA-256.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save
from torch import Tensor, nn

from blemish.backbones.network import WIDTHS, Block, Trunk, fold

PACKAGE = Path(__file__).resolve().parents[1] / "src/blemish/backbones"


def trunk_of(checkpoint: Path) -> Trunk:
    """The averaged trunk of a checkpoint, with folded norms."""
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
    trunk = Trunk(norm=True)
    trunk.load_state_dict({k.removeprefix("trunk."): v for k, v in state["average"].items() if k.startswith("trunk.")})
    return fold(trunk.eval())


@torch.no_grad()
def level(trunk: Trunk, crops: Tensor) -> None:
    """Scale each stage in place so that its map has a mean square of 1 over `crops` (B x 3 x H x W in [0, 1])."""
    previous = 1.0
    power = {stride: float(maps.pow(2).mean()) for stride, maps in trunk(crops).items()}
    for stride in WIDTHS:
        factor = power[stride] ** -0.5
        for index, block in enumerate(cast("list[Block]", list(cast(nn.Sequential, trunk.stages[f"stride{stride}"])))):
            # The input of a block is scaled by `before`; its output has to be scaled by `factor`.
            before = previous if index == 0 else factor
            block.first.conv.weight.div_(before)
            if block.shortcut is not None:
                block.shortcut.conv.weight.mul_(factor / before)
                cast(Tensor, block.shortcut.conv.bias).mul_(factor)
            block.second.conv.weight.mul_(factor)
            cast(Tensor, block.second.conv.bias).mul_(factor)
        previous = factor


def write(trunk: Trunk, folder: Path) -> str:
    """Store the trunk as float16 together with its SHA-256, which is returned."""
    content = save({key: value.half().contiguous() for key, value in trunk.state_dict().items()})
    digest = hashlib.sha256(content).hexdigest()
    for name, data in (
        ("embedded.safetensors", content),
        (
            "weights_digest.py",
            f'"""SHA-256 of the embedded weights; written by training/export.py."""\n\nSHA256 = "{digest}"\n'.encode(),
        ),
    ):
        partial = folder / f"{name}.partial"
        partial.write_bytes(data)
        partial.rename(folder / name)
    return digest


def main(argv: list[str] | None = None) -> None:
    from training import augment
    from training.procedural import bank

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, default=PACKAGE)
    args = parser.parse_args(argv)
    drawn = list(bank(48, 224, 99))
    crops = torch.cat([augment.Crops(drawn, drawn, 99).batch(k, 32) for k in range(2)]).float() / 255
    trunk = trunk_of(args.checkpoint)
    level(trunk, crops)
    print(write(trunk, args.out))


if __name__ == "__main__":
    main()
