"""One training loop for every stage: seeded by step, averaged weights, resumable after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from training.device import DEVICE
from training.muon import Muon
from training.pictures import WORK
from training.team import TEAM


@dataclass
class Schedule:
    """How long and how fast a stage trains: the rate warms up, stays, and falls along a cosine from `flat` on.

    `rate` is AdamW's; `matrix_rate` is Muon's, for the groups that are `matrices`.
    """

    steps: int
    rate: float
    matrix_rate: float = 0.0
    flat: float = 0.5
    warmup: int = 100
    save_every: int = 200
    average_over: int = 500
    seed: int = 0

    def share_at(self, step: int) -> float:
        """The share of the full rate at a step."""
        done = step / self.steps
        if done < self.flat:
            falling = 1.0
        else:
            falling = max(0.02, 0.5 + 0.5 * math.cos(math.pi * (done - self.flat) / (1 - self.flat)))
        return min(1.0, (step + 1) / self.warmup) * falling


@dataclass
class Group:
    """Parameters that share a multiple of the stage's learning rate; `matrices` are trained by Muon."""

    parameters: Sequence[nn.Parameter]
    factor: float = 1.0
    matrices: bool = False


ENDS = ("conv_in", "conv_out", "quant_conv", "embed", "position", "projection")
"""Layers between a network and the world outside, whose weights AdamW suits better than Muon."""


def groups_of(module: nn.Module, factor: float = 1.0) -> list[Group]:
    """A module's parameters: what turns features into features is for Muon, the rest for AdamW."""
    inner: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        matrix = parameter.ndim > 1 and not any(end in name for end in ENDS)
        (inner if matrix else others).append(parameter)
    return [Group(inner, factor, matrices=True), Group(others, factor)]


class Optimizer:
    """Muon for matrices and AdamW for the rest, as one.

    A convolution is a matrix of one row an output channel. The processes of a team share the matrices, whose steps
    are costly: each does its part and gets the others'.
    """

    def __init__(self, groups: Sequence[Group], schedule: Schedule) -> None:
        self.schedule = schedule
        self.matrices: list[nn.Parameter] = [p for group in groups if group.matrices for p in group.parameters]
        self.views = {number: nn.Parameter(self.matrices[number].data.flatten(1)) for number in self._own()}
        others = [{"params": list(group.parameters), "factor": group.factor} for group in groups if not group.matrices]
        self.adam = torch.optim.AdamW(others, lr=schedule.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        factors = [group.factor for group in groups if group.matrices for _ in group.parameters]
        ours = [{"params": [view], "factor": factors[number]} for number, view in self.views.items()]
        self.muon = Muon(ours, lr=schedule.matrix_rate, weight_decay=0.01) if ours else None

    def _own(self) -> Sequence[int]:
        return TEAM.part_of(range(len(self.matrices)))

    def step(self, step: int) -> None:
        for number, view in self.views.items():
            gradient = self.matrices[number].grad
            view.grad = None if gradient is None else gradient.flatten(1)
        for part, rate in ((self.adam, self.schedule.rate), (self.muon, self.schedule.matrix_rate)):
            if part is not None:
                for group in part.param_groups:
                    group["lr"] = rate * self.schedule.share_at(step) * group["factor"]
                part.step()
        TEAM.exchange(self.matrices)

    def state_dict(self) -> dict[str, Any]:
        """The state of both; every process of the team has to ask for it."""
        momenta = [torch.zeros_like(matrix.data.flatten(1)) for matrix in self.matrices]
        for number, view in self.views.items():
            if self.muon is not None and view in self.muon.state:
                momenta[number] = self.muon.state[view]["momentum_buffer"].clone()
        TEAM.exchange(momenta)
        return {"adam": self.adam.state_dict(), "momenta": momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.adam.load_state_dict(state["adam"])
        for number, view in self.views.items():
            if self.muon is not None:
                self.muon.state[view]["momentum_buffer"] = state["momenta"][number]


@dataclass
class Averaged:
    """An exponential moving average of parameters, which is what a stage hands on."""

    parameters: Sequence[nn.Parameter]
    values: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        self.values = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int, average_over: int) -> None:
        weight = 1 - min(1 - 1 / average_over, (step + 1) / (step + 31))
        torch._foreach_lerp_(self.values, [parameter.detach() for parameter in self.parameters], weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the averages and the live weights."""
        for value, parameter in zip(self.values, self.parameters, strict=True):
            live = parameter.detach().clone()
            parameter.copy_(value)
            value.copy_(live)


def train(
    stage: str,
    groups: Sequence[Group],
    schedule: Schedule,
    loss_at: Callable[[int], Tensor],
    save: Callable[[], None],
    buffers: Sequence[Tensor] = (),
) -> None:
    """Minimise `loss_at(step)`; call `save` with the averaged weights in place, now and then and at the end,
    where they stay.

    The state is kept in training/work/{stage}.state.pt; a run that finds one goes on from there. `buffers`: what
    networks remember beside their parameters, such as a batch normalisation's means.
    """
    parameters = [parameter for group in groups for parameter in group.parameters]
    optimizer = Optimizer(groups, schedule)
    average = Averaged(parameters)
    state_file = WORK / f"{stage}.state.pt"
    first = 0
    if state_file.exists():
        state = torch.load(state_file, map_location=DEVICE, weights_only=True)
        first = state["step"]
        optimizer.load_state_dict(state["optimizer"])
        average.values = state["average"]
        with torch.no_grad():
            for parameter, value in zip(parameters, state["parameters"], strict=True):
                parameter.copy_(value)
            for buffer, value in zip(buffers, state.get("buffers", ()), strict=True):
                buffer.copy_(value)
        print(f"{stage}: resumed at step {first}", flush=True)

    def keep(step: int) -> None:
        optimizer_state = optimizer.state_dict()
        if TEAM.rank > 0:
            return
        average.swap()
        save()
        average.swap()
        state = {
            "step": step,
            "optimizer": optimizer_state,
            "average": average.values,
            "parameters": [parameter.detach() for parameter in parameters],
            "buffers": list(buffers),
        }
        part = state_file.with_suffix(".part")
        torch.save(state, part)
        part.rename(state_file)

    started, losses = time.perf_counter(), []
    for step in range(first, schedule.steps):
        torch.manual_seed((schedule.seed * 1_000_003 + step) * 16 + TEAM.rank)
        loss = loss_at(step)
        for parameter in parameters:
            parameter.grad = None
        loss.backward()
        TEAM.average_gradients(parameters)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step(step)
        average.update(step, schedule.average_over)
        losses.append(loss.item())
        if (step + 1) % 50 == 0 and TEAM.rank == 0:
            seconds = time.perf_counter() - started
            pace = (step + 1 - first) / seconds
            recent = sum(losses[-50:]) / len(losses[-50:])
            progress = f"{stage} {step + 1}/{schedule.steps}"
            print(f"{progress} loss {recent:.4f} {pace:.2f} steps/s {seconds:.0f} s", flush=True)
        if (step + 1) % schedule.save_every == 0:
            keep(step + 1)
    keep(schedule.steps)
    average.swap()
