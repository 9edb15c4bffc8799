"""One command a stage: `python -m training STAGE`; `python -m training all` makes the checkpoint."""

from __future__ import annotations

import argparse
import importlib

import torch

from training import team

STAGES = {
    "tokenizer": ("training.tokenizer", "make_tokenizers"),
    "render": ("training.pictures", "render_pictures"),
    "vae": ("training.autoencoder", "train_autoencoder"),
    "latents": ("training.autoencoder", "encode_pictures"),
    "vision": ("training.vision", "train_vision"),
    "reader": ("training.reading", "train_reader"),
    "base": ("training.diffusion", "train_base"),
    "adapter": ("training.diffusion", "train_adapter"),
    "style": ("training.diffusion", "train_style"),
    "judge": ("training.judge", "train_judge"),
    "smears": ("training.smears", "train_smears"),
    "decoder": ("training.decoder", "refine_decoder"),
    "warm": ("training.warm", "start_from_shipped"),
    "widen": ("training.widen", "widen_shipped"),
    "samples": ("training.samples", "draw_samples"),
    "export": ("training.export", "export"),
}

ON_REQUEST = ("warm", "widen", "samples")
IN_PARALLEL = ("vae", "base", "adapter", "style", "decoder")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("stage", nargs="?", default="all", choices=[*STAGES, "all"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2, help="that share the batches of the diffusion stages")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    every = [stage for stage in STAGES if stage not in ON_REQUEST]
    for stage in every if arguments.stage == "all" else [arguments.stage]:
        module, function = STAGES[stage]
        work = getattr(importlib.import_module(module), function)
        team.run(work, arguments.processes if stage in IN_PARALLEL else 1)


if __name__ == "__main__":
    main()
