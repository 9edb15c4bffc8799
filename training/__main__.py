"""One command a stage: `python -m training STAGE`; `python -m training all` makes the checkpoint.

`all` goes on where it was killed: it skips the stages that are done, and a stage resumes where it last saved.
"""

from __future__ import annotations

import argparse
import importlib
import time

import torch

from training import team
from training.device import DEVICE
from training.pictures import WORK

STAGES = {
    "tokenizer": ("training.tokenizer", "make_tokenizers"),
    "render": ("training.pictures", "render_pictures"),
    "vae": ("training.autoencoder", "train_autoencoder"),
    "latents": ("training.autoencoder", "encode_pictures"),
    "vision": ("training.vision", "train_vision"),
    "reader": ("training.reading", "train_reader"),
    "base": ("training.diffusion", "train_base"),
    "adapter": ("training.diffusion", "train_adapter"),
    "detector": ("training.detector", "train_detector"),
    "recogniser": ("training.recogniser", "train_recogniser"),
    "adapter-v2": ("training.diffusion", "train_adapter_v2"),
    "style": ("training.diffusion", "train_style"),
    "judge": ("training.judge", "train_judge"),
    "smears": ("training.smears", "train_smears"),
    "drawn": ("training.drawn", "draw"),
    "decoder": ("training.decoder", "refine_decoder"),
    "warm": ("training.warm", "start_from_shipped"),
    "wider": ("training.wider", "widen"),
    "polish": ("training.polish", "polish"),
    "sharper": ("training.sharper", "sharpen"),
    "enlarge": ("training.enlarge", "enlarge"),
    "samples": ("training.samples", "draw_samples"),
    "export": ("training.export", "export"),
}

ON_REQUEST = ("warm", "wider", "polish", "sharper", "enlarge", "samples")
IN_PARALLEL = ("vae", "base", "adapter", "adapter-v2", "style", "drawn", "decoder", "polish", "sharper")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stage", nargs="?", default="all", choices=[*STAGES, "all"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2, help="that share a batch, on a CPU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    processes = 1 if DEVICE.type == "cuda" else arguments.processes
    every = [stage for stage in STAGES if stage not in ON_REQUEST]
    for stage in every if arguments.stage == "all" else [arguments.stage]:
        done = WORK / f"{stage}.done"
        if arguments.stage == "all" and done.exists():
            print(f"{stage}: done before, in {done.read_text()}", flush=True)
            continue
        module, function = STAGES[stage]
        work, started = getattr(importlib.import_module(module), function), time.perf_counter()
        team.run(work, processes if stage in IN_PARALLEL else 1)
        done.write_text(f"{(time.perf_counter() - started) / 60:.1f} minutes")
        print(f"{stage}: {done.read_text()}", flush=True)


if __name__ == "__main__":
    main()
