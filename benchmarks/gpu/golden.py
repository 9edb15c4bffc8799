"""The authors' own latents, on this device, in float32 without TF32."""

import json
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file

from photomaker import PhotoMakerPipeline
from photomaker.weights import prepared

from .measuring import Run, device
from .subject import GOLDEN, photos

OPTIONS = ("num_inference_steps", "start_merge_step", "guidance_scale", "num_images", "height", "width")


def measure(run: Run) -> None:
    prepared.hush()
    torch.backends.cudnn.allow_tf32 = False
    expected = load_file(GOLDEN / "expected.safetensors")
    pipes: dict[str, PhotoMakerPipeline] = {}
    differences: dict[str, float] = {}
    cases = json.loads((GOLDEN / "cases.json").read_text())
    for case in cases[:2] if run.small else cases:
        with run.part(case["name"], needs=10) as worth:
            if not worth:
                break
            adapter = case["adapter"]
            if adapter not in pipes:
                pipes[adapter] = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / adapter, device=device())
            options: dict[str, Any] = {key: case[key] for key in OPTIONS if key in case}
            if case["mode"] == "img2img":
                options["initial_image"] = Image.open(GOLDEN / case["initial_image"]).convert("RGB")
                options["initial_image_strength"] = case["initial_image_strength"]
            latents: Any = pipes[adapter](
                case["prompt"],
                photos(4)[: case["photos"]],
                negative_prompt=case["negative_prompt"],
                face_embeddings=expected["face_embeddings"][: case["photos"]] if "v2" in adapter else None,
                generator=torch.Generator().manual_seed(case["seed"]),
                output_type="latent",
                **options,
            )
            difference = (latents.float().cpu() - expected[f"{case['name']}.latents"]).abs().max()
            differences[case["name"]] = float(difference)
    run.row("golden latents, 1e-3 allowed", cases=len(differences), largest_difference=max(differences.values()))
