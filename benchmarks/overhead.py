"""What a request costs besides the networks: its wall time over the sum of their bare forward passes.

    python benchmarks/overhead.py [--size 192] [--steps 20] [--repeat 5]

Text-to-image on the tests' small checkpoint, at a size where a pass of the UNet takes 20 ms or more on a CPU. The
networks are timed inside the very same requests, by hooks around each, so that a busy machine slows both alike.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from photomaker import PhotoMakerPipeline
from photomaker.weights import prepared

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
PROMPT = "portrait photo of a man img, film grain"


class Stopwatch:
    """Time spent inside a network's forward passes, and their number."""

    def __init__(self, network: nn.Module) -> None:
        self.spent, self.calls, self.started = 0.0, 0, 0.0
        network.register_forward_pre_hook(self.start)
        network.register_forward_hook(self.stop)

    def start(self, *_: Any) -> None:
        self.started = now()

    def stop(self, *_: Any) -> None:
        self.spent += now() - self.started
        self.calls += 1

    def reset(self) -> None:
        self.spent, self.calls = 0.0, 0


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    prepared.hush()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", device=device)
    photos = [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]
    sdxl = pipe.text2img
    watches = {
        "UNet": Stopwatch(sdxl.unet),
        "text encoder": Stopwatch(sdxl.text_encoder),
        "text encoder 2": Stopwatch(sdxl.text_encoder_2),
        "vision": Stopwatch(pipe.id_encoder.vision_model),
        "VAE decoder": Stopwatch(sdxl.vae.decoder),
    }
    ratios = []
    for number in range(arguments.repeat + 1):
        for watch in watches.values():
            watch.reset()
        start = now()
        pipe(PROMPT, photos, num_inference_steps=arguments.steps, height=arguments.size, width=arguments.size)
        wall = now() - start
        if number:  # the first one warms up
            ratios.append(wall / sum(watch.spent for watch in watches.values()))
    print(
        f"{device}, {torch.get_num_threads()} threads, {arguments.size} x {arguments.size}, {arguments.steps} steps\n"
    )
    print("| network | passes | ms each |\n|---|---|---|")
    for name, watch in watches.items():
        print(f"| {name} | {watch.calls} | {1000 * watch.spent / watch.calls:.1f} |")
    print(f"\nwall time / networks: {statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})")


if __name__ == "__main__":
    main()
