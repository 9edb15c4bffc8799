"""Agreement with what the authors' own pipelines returned for the same checkpoints, photos and seeds."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from photomaker import PhotoMakerPipeline

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())
EXPECTED = load_file(GOLDEN / "expected.safetensors")
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def pipelines() -> dict[str, PhotoMakerPipeline]:
    return {
        name: PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / name)
        for name in ("photomaker-v1.bin", "photomaker-v2.bin")
    }


def photos(count: int) -> list[Image.Image]:
    return [Image.open(GOLDEN / "photos" / f"{i:02}.png").convert("RGB") for i in range(count)]


def faces(case: dict[str, Any]) -> torch.Tensor | None:
    return EXPECTED["face_embeddings"][: case["photos"]] if "v2" in case["adapter"] else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_latents(case: dict[str, Any], pipelines: dict[str, PhotoMakerPipeline]) -> None:
    options: dict[str, Any] = {
        key: case[key]
        for key in (
            "num_inference_steps",
            "start_merge_step",
            "guidance_scale",
            "num_images",
            "height",
            "width",
        )
        if key in case
    }
    if case["mode"] == "img2img":
        options["initial_image"] = Image.open(GOLDEN / case["initial_image"]).convert("RGB")
        options["initial_image_strength"] = case["initial_image_strength"]
    latents = pipelines[case["adapter"]](
        case["prompt"],
        photos(case["photos"]),
        negative_prompt=case["negative_prompt"],
        generator=torch.Generator().manual_seed(case["seed"]),
        face_embeddings=faces(case),
        output_type="latent",
        **options,
    )
    torch.testing.assert_close(latents, EXPECTED[f"{case['name']}.latents"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(
    "case", [c for c in CASES if f"{c['name']}.id_prompt_embeds" in EXPECTED], ids=lambda case: case["name"]
)
def test_id_prompt_embeds(case: dict[str, Any], pipelines: dict[str, PhotoMakerPipeline]) -> None:
    pipe = pipelines[case["adapter"]]
    identity = pipe.identify(photos(case["photos"]), faces(case))
    embeds = pipe.condition(pipe.read(case["prompt"]), case["negative_prompt"], identity).identity.sequence
    torch.testing.assert_close(embeds, EXPECTED[f"{case['name']}.id_prompt_embeds"], atol=TOLERANCE, rtol=0)
