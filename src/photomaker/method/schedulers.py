"""Schedulers that never make the CPU wait for the device inside the loop."""

from typing import Any, cast

import torch
from diffusers import DDIMScheduler
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput
from torch import Tensor


class HostTimesteps(DDIMScheduler):
    """DDIM, to the bit, with its timesteps known on the host as well.

    Stock DDIM looks its tables up by the timestep that the pipeline hands it. On a GPU that timestep is the device's,
    so every look-up waits until all that was launched is done: six times a step. Here the same number comes from the
    host. Pipelines tell where they begin (image-to-image: not at the first step), as they tell Euler.
    """

    def set_begin_index(self, begin_index: int = 0) -> None:
        self.next_step = begin_index

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        super().set_timesteps(num_inference_steps)  # made on the host in any case
        made: Tensor = vars(self)["timesteps"]
        self.host_timesteps: list[int] = made.tolist()
        self.timesteps = made.to(device)
        self.next_step = 0

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **options: Any) -> Any:
        number = self.host_timesteps[self.next_step]
        self.next_step += 1
        return cast(
            DDIMSchedulerOutput | tuple[Tensor, ...], super().step(model_output, number, sample, *args, **options)
        )


def without_waits(scheduler: Any) -> Any:
    """The scheduler, or its equal that does not wait for the device."""
    return HostTimesteps.from_config(scheduler.config) if type(scheduler) is DDIMScheduler else scheduler
