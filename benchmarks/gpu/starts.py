"""A first start, with nothing prepared and nothing compiled."""

import time

from photomaker.weights import prepared

from .measuring import Run
from .subject import deployment, make_weights, opened, warmed


def measure(run: Run) -> None:
    start = time.perf_counter()
    make_weights(run)
    run.row("random weights made and written", seconds=time.perf_counter() - start)
    start = time.perf_counter()
    prepared.fetch(deployment(run), log=print)
    run.row("first start: LoRA fused, weights prepared", seconds=time.perf_counter() - start)
    pipe, settings = opened(run, "first")
    warmed(run, "first", pipe, settings)
