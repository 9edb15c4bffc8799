"""Stage `samples`: a sheet of pictures from the networks as they stand, to look at while they train."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image

from photomaker import PhotoMakerPipeline
from photomaker.method.styles import STYLES
from training.avatar import IMAGE_SIZE, render
from training.identity import HELD_OUT, draw_identity, draw_photo
from training.models import BASE_DIR, BASE_ID_FILE, Base, new_id_encoder
from training.pictures import WORK

TEXTS = (
    "photo of a man with pale skin, short red hair, a beard wearing a blue hoodie, smiling, on a beach",
    "photo of a woman with dark skin, curly black hair, round glasses wearing a yellow shirt, laughing, in a forest",
    "portrait of a man with bald head, brown skin, a moustache wearing a green suit, serious, purple background",
    "photo of a woman with pale skin, long blonde hair wearing a black suit, smiling, in a city at night",
    "photo of a woman with tan skin, bob pink hair, square glasses wearing a white shirt, surprised, in the snow",
    "photo of a man wearing a green hoodie",
)
PROMPTS = (
    "photo of a {} img wearing a blue hoodie, smiling, on a beach",
    "photo of a {} img wearing a red suit, serious, in a city at night",
    "portrait photo of a {} img, surprised, yellow background",
    "instagram photo, portrait photo of a {} img, colorful, perfect face, natural skin, hard shadows, film grain",
)


def working_pipeline() -> PhotoMakerPipeline:
    """The base in training as a pipeline, without a LoRA."""
    base, encoder = Base.load(BASE_DIR), new_id_encoder()
    encoder.load_state_dict(torch.load(BASE_ID_FILE, weights_only=True))
    return PhotoMakerPipeline(base.pipeline(), encoder.eval())


def sheet(rows: Sequence[Sequence[Image.Image]], file: Path) -> None:
    """Pictures side by side."""
    canvas = Image.new("RGB", (max(map(len, rows)) * IMAGE_SIZE, len(rows) * IMAGE_SIZE), "white")
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            canvas.paste(picture.resize((IMAGE_SIZE, IMAGE_SIZE)), (column * IMAGE_SIZE, row * IMAGE_SIZE))
    canvas.save(file)


def draw_samples(steps: int = 20) -> None:
    """Text-only pictures, pictures of held-out people, and the named styles."""
    pipe = working_pipeline()
    rows = []
    for guidance in (1.0, 5.0):
        row = pipe.text2img(
            list(TEXTS),
            num_inference_steps=steps,
            guidance_scale=guidance,
            negative_prompt=[""] * len(TEXTS),
            generator=torch.Generator().manual_seed(0),
        ).images
        rows.append(row)
    for person in range(4):
        identity = draw_identity(HELD_OUT + person)
        photos = [render(identity, draw_photo(HELD_OUT + person, photo)) for photo in range(4)]
        row = photos[:2]
        for prompt in PROMPTS:
            made = pipe(
                prompt.format(identity.gender),
                photos,
                num_inference_steps=steps,
                num_images=1,
                generator=torch.Generator().manual_seed(person),
            )
            row = [*row, *made]
        rows.append(row)
    identity = draw_identity(HELD_OUT + 5)
    photos = [render(identity, draw_photo(HELD_OUT + 5, photo)) for photo in range(4)]
    row = []
    for style in STYLES.values():
        prompt = style.template.format(prompt=f"photo of a {identity.gender} img wearing a blue hoodie, smiling")
        row += pipe(
            prompt,
            photos,
            negative_prompt=style.negative,
            num_inference_steps=steps,
            generator=torch.Generator().manual_seed(3),
        )
    rows += [row[:6], row[6:]]
    sheet(rows, WORK / "samples.png")
