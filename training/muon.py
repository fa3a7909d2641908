"""Muon (Jordan et al. 2024): momentum that is made nearly semi-orthogonal, as a matrix, before each step.

The gradient of a convolution has a few large directions. The step has all of its singular values near one, so that rare
directions are learned as fast as common ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the published iteration x <- a x + b (x x') x + c (x x')^2 x. It is steep at zero; after five steps the
singular values are from 0.7 to 1.2 instead of exactly one."""
MATCH = 0.2
"""Root mean square of a step at rate one, about that of AdamW, so that both can share one rate (Liu et al. 2025)."""


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """The matrix (R x C) with singular values near one, by Newton-Schulz iteration in bfloat16; the dtype is kept.

    The zero matrix stays zero. Cost: `steps` times three products with sides min(R, C) and max(R, C).
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix).bfloat16()
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized per kernel (flattened to outputs x rest), with decoupled weight decay."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every parameter that has a gradient; `closure` is not supported."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                matrix = p.grad.lerp(momentum, group["momentum"]).flatten(1)
                update = orthogonal(matrix).view_as(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * MATCH * max(matrix.shape) ** 0.5)
