"""PhotoMakerPipeline as its callers use it, on the tiny golden checkpoint."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from photomaker import PhotoMakerPipeline
from photomaker.errors import Cancelled, PromptError
from photomaker.method.conditioning import Conditioning
from photomaker.weights.checkpoints import CheckpointError

GOLDEN = Path(__file__).parents[1] / "golden"
PROMPT = "portrait photo of a man img, film grain"


@pytest.fixture(scope="module")
def pipe() -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin")


@pytest.fixture(scope="module")
def photos() -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted((GOLDEN / "photos").iterdir())]


def seeds(*values: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(value) for value in values]


def latents(pipe: PhotoMakerPipeline, photos: list[Image.Image], **options: Any) -> torch.Tensor:
    options = {"num_inference_steps": 20, "height": 64, "width": 64, "generator": seeds(1)} | options
    result = pipe(options.pop("prompt", PROMPT), photos, output_type="latent", **options)
    assert isinstance(result, torch.Tensor)
    return result


def test_pictures_have_the_size_asked_for(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    pictures = pipe(PROMPT, photos, num_inference_steps=3, height=64, width=96, num_images=2)
    assert [(picture.size, picture.mode) for picture in pictures] == [((96, 64), "RGB")] * 2


def test_an_image_depends_on_its_own_seed_alone(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    four = latents(pipe, photos, num_images=4, generator=seeds(7, 8, 9, 10), num_inference_steps=6)
    for index in range(4):
        alone = latents(pipe, photos, generator=seeds(7 + index), num_inference_steps=6)
        torch.testing.assert_close(four[index], alone[0], atol=1e-4, rtol=0)


def test_the_same_request_makes_the_same_bytes(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    first, second = (
        pipe(PROMPT, photos, num_inference_steps=8, height=64, width=64, generator=seeds(5))[0] for _ in range(2)
    )
    assert first.tobytes() == second.tobytes()


def test_the_person_changes_the_picture(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    assert not torch.allclose(latents(pipe, photos[:1]), latents(pipe, photos[1:2]), atol=1e-2)


def test_the_prompt_alone_rules_until_the_merge_step(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    never = [latents(pipe, photos[i : i + 1], start_merge_step=20) for i in (0, 1)]
    torch.testing.assert_close(never[0], never[1], atol=0, rtol=0)


def test_style_strength_is_percent_of_the_steps(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    strength = latents(pipe, photos, style_strength=30)
    torch.testing.assert_close(strength, latents(pipe, photos, start_merge_step=6), atol=0, rtol=0)


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.0])
def test_guidance_at_most_one_is_none(scale: float, pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    options: dict[str, Any] = {"num_inference_steps": 6}
    without = latents(pipe, photos, guidance_scale=scale, negative_prompt="ignored", **options)
    torch.testing.assert_close(without, latents(pipe, photos, guidance_scale=1.0, **options), atol=0, rtol=0)


def test_the_trigger_in_the_negative_prompt_is_an_ordinary_word(
    pipe: PhotoMakerPipeline, photos: list[Image.Image]
) -> None:
    assert latents(pipe, photos, negative_prompt="img, a man img", num_inference_steps=3).isfinite().all()


@pytest.mark.parametrize("strength", [0.0, 0.01, 0.049])
def test_a_strength_that_adds_no_noise_keeps_the_initial_image(
    strength: float, pipe: PhotoMakerPipeline, photos: list[Image.Image]
) -> None:
    initial = Image.open(GOLDEN / "initial.png").convert("RGB")
    untouched = pipe.scaled(pipe.encode(initial).mode()).expand(2, -1, -1, -1)
    result = latents(
        pipe, photos, initial_image=initial, initial_image_strength=strength, num_images=2, height=None, width=None
    )
    torch.testing.assert_close(result, untouched, atol=0, rtol=0)


@pytest.mark.parametrize("strength", [0.05, 0.1, 0.5, 0.95, 1.0])
def test_image_to_image_runs_the_last_part_of_the_schedule(
    strength: float, pipe: PhotoMakerPipeline, photos: list[Image.Image]
) -> None:
    told: list[tuple[int, int]] = []
    pipe(
        PROMPT,
        photos,
        num_inference_steps=20,
        initial_image=Image.new("RGB", (200, 100), "teal"),
        initial_image_strength=strength,
        height=64,
        width=64,
        on_step=lambda done, steps: told.append((done, steps)),
    )
    steps = int(20 * strength)
    assert told == [(step + 1, steps) for step in range(steps)]


def test_cancelling_between_steps(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    told: list[int] = []

    def on_step(done: int, steps: int) -> None:
        told.append(done)
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        pipe(PROMPT, photos, num_inference_steps=20, height=64, width=64, on_step=on_step)
    assert told == [1, 2, 3]
    assert latents(pipe, photos, num_inference_steps=3).isfinite().all()


def test_a_prompt_without_the_trigger_word(pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
    with pytest.raises(PromptError, match="trigger word"):
        pipe("a photo of a man", photos)


def test_words_that_find_no_room_are_named_in_the_log(
    pipe: PhotoMakerPipeline, photos: list[Image.Image], caplog: pytest.LogCaptureFixture
) -> None:
    latents(pipe, photos, prompt="a man img, " + "red " * 70 + "hat and an hourglass", num_inference_steps=1)
    (record,) = caplog.records
    assert record.name.startswith("photomaker")
    assert "dropped" in record.message
    assert record.message.endswith("hourglass")


def test_no_photos(pipe: PhotoMakerPipeline) -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        pipe(PROMPT, [])


def test_version_2_wants_a_face_with_each_photo(photos: list[Image.Image]) -> None:
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v2.bin")
    with pytest.raises(ValueError, match="face embedding"):
        pipe(PROMPT, photos)


def published(version: str) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(GOLDEN / f"photomaker-{version}.bin", weights_only=True)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_the_safetensors_form_and_the_newer_lora_keys(version: str, tmp_path: Path, photos: list[Image.Image]) -> None:
    halves = published(version)
    tensors = {f"id_encoder.{key}": value.contiguous() for key, value in halves["id_encoder"].items()}
    for key, value in halves["lora_weights"].items():
        newer = key.replace(".processor.", ".").replace("_lora.", ".lora.").replace("to_out.lora", "to_out.0.lora")
        tensors[f"lora_weights.{newer}"] = value.contiguous()
    save_file(tensors, tmp_path / "adapter.safetensors")
    faces = load_file(GOLDEN / "expected.safetensors")["face_embeddings"][:2] if version == "v2" else None
    old, new = (
        latents(
            PhotoMakerPipeline.from_pretrained(GOLDEN / "base", path),
            photos[:2],
            face_embeddings=faces,
            num_inference_steps=6,
        )
        for path in (GOLDEN / f"photomaker-{version}.bin", tmp_path / "adapter.safetensors")
    )
    torch.testing.assert_close(old, new, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_further_lora_counts_by_its_weight(tmp_path: Path, photos: list[Image.Image]) -> None:
    lora = {key: value.contiguous() * 0.1 for key, value in published("v2")["lora_weights"].items()}
    save_file(lora, tmp_path / "lora.safetensors")
    adapter = GOLDEN / "photomaker-v1.bin"
    made = {
        weight: latents(
            PhotoMakerPipeline.from_pretrained(
                GOLDEN / "base", adapter, loras=[(tmp_path / "lora.safetensors", weight)]
            ),
            photos,
        )
        for weight in (0.0, 0.5, 1.0)
    }
    plain = latents(PhotoMakerPipeline.from_pretrained(GOLDEN / "base", adapter), photos)
    torch.testing.assert_close(made[0.0], plain, atol=1e-4, rtol=0)
    distance = [(made[weight] - plain).abs().mean().item() for weight in (0.5, 1.0)]
    assert 1e-3 < distance[0] < distance[1]


@pytest.mark.parametrize(
    ("base", "adapter", "scheduler", "hint"),
    [
        ("missing", "photomaker-v1.bin", None, "missing"),
        ("photos", "photomaker-v1.bin", None, "photos"),
        ("base", "missing.bin", None, "missing.bin"),
        ("base", "initial.png", None, "not a PhotoMaker adapter"),
        ("base", "cases.json", None, "not a PhotoMaker adapter"),
        ("base", "expected.safetensors", None, "not a PhotoMaker adapter"),
        ("base", "photomaker-v1.bin", "euler-ish", "unknown scheduler"),
    ],
)
def test_what_is_no_checkpoint(base: str, adapter: str, scheduler: str | None, hint: str) -> None:
    with pytest.raises(CheckpointError, match=hint):
        PhotoMakerPipeline.from_pretrained(GOLDEN / base, GOLDEN / adapter, scheduler=scheduler)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_initial_image_is_encoded_once_in_the_weights_dtype(
    dtype: torch.dtype, pipe: PhotoMakerPipeline, photos: list[Image.Image]
) -> None:
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", dtype=dtype)
    pipe.text2img.vae.register_to_config(force_upcast=True)  # as SDXL's own is configured
    seen: list[tuple[int, torch.dtype]] = []
    pipe.text2img.vae.encoder.register_forward_pre_hook(lambda _, args: seen.append((len(args[0]), args[0].dtype)))
    latents(pipe, photos, num_images=3, generator=seeds(1, 2, 3), initial_image=photos[0], num_inference_steps=4)
    assert seen == [(1, dtype)]


def test_pixels_are_scaled_in_float32(photos: list[Image.Image]) -> None:
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v1.bin", dtype=torch.bfloat16)
    made: list[torch.Tensor] = []
    pipe.text2img.vae.decoder.register_forward_hook(lambda _, __, pixels: made.append(pixels))
    (picture,) = pipe(PROMPT, photos, num_inference_steps=2, height=64, width=64)
    assert isinstance(picture, Image.Image)
    exact = (made[0][0].double() * 0.5 + 0.5).clamp(0, 1).permute(1, 2, 0) * 255
    assert (torch.from_numpy(np.array(picture)) - exact).abs().max() <= 0.5 + 1e-3


class TestALateIDPrompt:
    """The text-only steps begin before the photos are known."""

    def run(
        self, pipe: PhotoMakerPipeline, photos: list[Image.Image], merge_step: int, late: bool, **options: Any
    ) -> Any:
        prompts = pipe.read(PROMPT)
        told: list[str] = []

        def identity() -> Any:
            told.append("asked")
            return pipe.condition_on_identity(prompts, pipe.identify(photos))

        text_only, negative = pipe.condition_on_text(prompts, "")
        latents = pipe.denoise(
            Conditioning(text_only, negative, identity if late else identity()),
            num_inference_steps=5,
            merge_step=merge_step,
            guidance_scale=5.0,
            num_images=2,
            generator=seeds(1, 2),
            height=64,
            width=64,
            on_step=lambda done, steps: told.append(f"{done}"),
            **options,
        )
        return latents, told

    def test_is_asked_once_after_the_last_step_that_needs_no_photo(
        self, pipe: PhotoMakerPipeline, photos: list[Image.Image]
    ) -> None:
        known, _ = self.run(pipe, photos, 2, late=False)
        latents, told = self.run(pipe, photos, 2, late=True)
        assert told == ["1", "2", "asked", "3", "4", "5"]
        assert torch.equal(latents, known)

    def test_is_asked_at_once_where_every_step_needs_it(
        self, pipe: PhotoMakerPipeline, photos: list[Image.Image]
    ) -> None:
        options = {"initial_image": photos[0], "initial_image_strength": 0.5}
        known, _ = self.run(pipe, photos, 1, late=False, **options)
        latents, told = self.run(pipe, photos, 1, late=True, **options)
        assert told == ["asked", "1", "2"]
        assert torch.equal(latents, known)

    def test_ends_the_run_where_it_fails(self, pipe: PhotoMakerPipeline, photos: list[Image.Image]) -> None:
        def bad() -> Any:
            raise Cancelled

        text_only, negative = pipe.condition_on_text(pipe.read(PROMPT), "")
        with pytest.raises(Cancelled):
            pipe.denoise(
                Conditioning(text_only, negative, bad),
                num_inference_steps=4,
                merge_step=1,
                guidance_scale=5.0,
                num_images=1,
                generator=seeds(1),
                height=64,
                width=64,
            )
