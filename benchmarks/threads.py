"""How many threads a small checkpoint should compute with, on an idle machine and beside other work.

    python benchmarks/threads.py [--pictures 5] [--steps 20]

nano's pictures, each number of threads and each way of waiting for one another in a process of its own, first by
itself, then beside one busy loop a core. The first row is what a deployment gets.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from photomaker.cores import WAIT_QUIETLY, usable_cores

NANO = Path(__file__).parents[1] / "src" / "photomaker" / "nano"
PROMPT = "portrait photo of a man img"


def pictures(count: int, steps: int) -> float:
    """Seconds of a picture, the median of so many, in this process."""
    from PIL import Image

    from photomaker import PhotoMakerPipeline
    from photomaker.weights import prepared

    prepared.hush()
    pipe = PhotoMakerPipeline.from_pretrained(NANO / "base", NANO / "photomaker-v1.safetensors", device="cpu")
    photos = [Image.open(path).convert("RGB") for path in sorted((NANO / "examples" / "bea").iterdir())]
    taken = []
    for _ in range(count + 1):
        start = time.perf_counter()
        pipe(PROMPT, photos, num_inference_steps=steps)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])  # the first one warms up


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """So many processes that do nothing but keep a core."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(loops)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(pictures(arguments.pictures, arguments.steps))
        return
    cores = usable_cores()
    own = [sys.executable, __file__, "--here", f"--pictures={arguments.pictures}", f"--steps={arguments.steps}"]
    print(f"{cores} cores, {arguments.steps} steps, seconds a picture\n")
    print("| threads | wait for one another | by itself | beside a busy loop a core |\n|---|---|---|---|")
    for threads in sorted({1, cores}):
        for how, policy in (("asleep", WAIT_QUIETLY), ("spinning", {"OMP_WAIT_POLICY": "ACTIVE"})):
            environment = os.environ | policy | {"OMP_NUM_THREADS": str(threads)}
            seconds = []
            for loops in (0, cores):
                with busy(loops):
                    done = subprocess.run(own, env=environment, check=True, capture_output=True, text=True)
                seconds.append(float(done.stdout))
            print(f"| {threads} | {how} | {seconds[0]:.2f} | {seconds[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
