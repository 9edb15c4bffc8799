"""The optimizer Muon in the precision that this machine multiplies in; torch's own knows bfloat16 only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.device import multiplies_halves

COEFFICIENTS = (3.4445, -4.775, 2.0315)
ITERATIONS = 5
FAR_WIDER = 3
"""From there on `by_gram` is the faster one, at nine times as wide as high twice as fast."""


def orthogonalized(matrix: Tensor) -> Tensor:
    """A matrix with its singular values all near 1, by a quintic Newton-Schulz iteration (Jordan et al., 2024)."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    found = wide.to(torch.bfloat16 if multiplies_halves() else torch.float32)
    found = found / found.norm().clamp(min=1e-7)
    # Only in float32 do the products of the other way keep apart what is small.
    sparing = found.dtype == torch.float32 and wide.shape[1] >= FAR_WIDER * wide.shape[0]
    found = by_gram(found) if sparing else iterated(found)
    return (found if wide is matrix else found.T).to(matrix.dtype)


def iterated(found: Tensor) -> Tensor:
    """The iteration as it is written down."""
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = found @ found.T
        found = torch.addmm(found, torch.addmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found


def by_gram(found: Tensor) -> Tensor:
    """The same for a matrix far wider than high: its small Gram matrix tells all steps, to be taken at once."""
    a, b, c = COEFFICIENTS
    gram, steps = found @ found.T, torch.eye(len(found), device=found.device)
    for _ in range(ITERATIONS):
        step = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        step.diagonal().add_(a)
        steps, gram = step @ steps, step @ gram @ step
    return steps @ found


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized: https://kellerjordan.github.io/posts/muon/.

    Steps are as large as AdamW's at the same rate (Liu et al., 2025), so one schedule suits both.
    """

    def __init__(self, parameters: list[dict[str, object]], lr: float, weight_decay: float, momentum: float = 0.95):
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    update = orthogonalized(self._moving(parameter, parameter.grad, group["momentum"]))
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(update, alpha=-group["lr"] * 0.2 * max(parameter.shape) ** 0.5)

    def _moving(self, parameter: nn.Parameter, gradient: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum, one step ahead."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        moving: Tensor = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(moving, momentum)
