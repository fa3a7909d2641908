"""The embedded network: a small residual CNN with one rectified map at each of its strides.

One definition serves both uses: `training/` optimizes `Trunk(norm=True)`, and `fold` turns it into the
`Trunk(norm=False)` of plain convolutions that the package ships. All convolutions are 3 x 3 except the first (5 x 5) and
the shortcuts (1 x 1), because CPUs run plain dense kernels fastest.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

STEM = 32
"""Channels of the first convolution."""
WIDTHS = {4: 64, 8: 160, 16: 192}
"""Stride of each map -> its number of channels."""
BLOCKS = 2
"""Residual blocks per stride."""
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ConvUnit(nn.Module):
    """A convolution followed by batch norm (in training), or a convolution with a bias (folded).

    Maps have ceil(side / stride) cells.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=not norm)
        self.norm = nn.BatchNorm2d(c_out) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """B x c_in x H x W to B x c_out x ceil(H / stride) x ceil(W / stride)."""
        x = self.conv(x)
        return x if self.norm is None else cast(Tensor, self.norm(x))


class Block(nn.Module):
    """Basic residual block (He et al. 2016): two 3 x 3 convolutions and a shortcut, with a ReLU after their sum."""

    def __init__(self, c_in: int, c_out: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        self.first = ConvUnit(c_in, c_out, 3, stride, norm=norm)
        self.second = ConvUnit(c_out, c_out, 3, 1, norm=norm)
        same = stride == 1 and c_in == c_out
        self.shortcut = None if same else ConvUnit(c_in, c_out, 1, stride, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """B x c_in x H x W to B x c_out x ceil(H / stride) x ceil(W / stride), values >= 0."""
        side = x if self.shortcut is None else self.shortcut(x)
        return torch.relu_(self.second(torch.relu_(self.first(x))).add(side))


class Trunk(nn.Module):
    """The whole network, which maps rgb in [0, 1] to one non-negative map per stride of `WIDTHS`.

    Cell (i, j) of the map with stride s is centered on pixel (s i, s j) of the input, as in a ResNet. Sides that are
    not multiples of the stride are allowed: a map has ceil(side / stride) cells.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.stem = ConvUnit(3, STEM, 5, 2, norm=norm)
        c_in, stages = STEM, {}
        for stride, width in WIDTHS.items():
            blocks = [Block(c_in if b == 0 else width, width, 2 if b == 0 else 1, norm=norm) for b in range(BLOCKS)]
            stages[f"stride{stride}"] = nn.Sequential(*blocks)
            c_in = width
        self.stages = nn.ModuleDict(stages)

    def forward(self, rgb: Tensor, last: int = max(WIDTHS)) -> dict[int, Tensor]:
        """Feature maps up to a stride.

        Args:
            rgb: B x 3 x H x W, in [0, 1].
            last: stride of the last map.

        Returns:
            {stride: B x C x ceil(H / stride) x ceil(W / stride)}.
        """
        x = torch.relu_(self.stem((rgb - self.mean) / self.std))
        maps = {}
        for stride in WIDTHS:
            if stride > last:
                break
            x = maps[stride] = self.stages[f"stride{stride}"](x)
        return maps


def fold(trunk: Trunk) -> Trunk:
    """The same function without batch norms, whose running statistics and affine parts go into the convolutions.

    The result equals `trunk.eval()` up to rounding. The argument stays as it is.
    """
    folded = Trunk(norm=False)
    sources, targets = dict(trunk.named_modules()), dict(folded.named_modules())
    for name, target in targets.items():
        source = sources[name]
        if not isinstance(target, ConvUnit) or not isinstance(source, ConvUnit):
            continue
        norm = cast(nn.BatchNorm2d, source.norm)
        scale = norm.weight.double() / torch.sqrt(cast(Tensor, norm.running_var).double() + norm.eps)
        with torch.no_grad():
            target.conv.weight.copy_(source.conv.weight.double() * scale[:, None, None, None])
            cast(nn.Parameter, target.conv.bias).copy_(
                norm.bias.double() - cast(Tensor, norm.running_mean).double() * scale
            )
    return folded.eval()


def channels_last(module: nn.Module) -> nn.Module:
    """The module with its kernels laid out channels last, changed in place; CPUs convolve fastest in this layout."""
    for value in module.parameters():
        if value.ndim == 4:
            value.data = value.data.contiguous(memory_format=torch.channels_last)
    return module
