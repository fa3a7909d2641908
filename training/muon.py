"""Muon (Jordan et al. 2024): momentum whose kernels, as matrices, are made nearly semi-orthogonal before they step.

A convolution's gradient has a few large directions; the step given back has all of its singular values near one, so
that rare directions are learnt as fast as common ones.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the published iteration x <- a x + b (x x') x + c (x x')^2 x: steep at zero, within .7 to 1.2 after
five steps instead of exactly one."""
MATCH = 0.2
"""Root mean square of a step at rate one: about AdamW's, so that both share one rate (Liu et al. 2025)."""


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """Bring the singular values of a matrix (R x C) near one: Newton-Schulz in bfloat16, result in the dtype given.

    The zero matrix stays zero. Cost: `steps` times three products of sides min(R, C) and max(R, C).
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
    """Nesterov momentum, orthogonalised per kernel (flattened to outputs x rest), with decoupled weight decay."""

    def __init__(self, params: Iterable[nn.Parameter], lr: float, weight_decay: float, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Step every parameter that has a gradient; `closure` is not supported."""
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
