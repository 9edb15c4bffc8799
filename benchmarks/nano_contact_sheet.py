"""The README's contact sheet, docs/contact_sheet.png: `python -m benchmarks.nano_contact_sheet` in the root.

Each row of the upper part is a person never trained on: two of the four ID photos, then prompts and seeds.
Below: one person in every named style, and through the style LoRA of `photomaker-style`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from photomaker import PhotoMakerPipeline
from photomaker.method.styles import STYLES, styled
from training.avatar import render
from training.cases import load_nano
from training.export import EXAMPLES, PHOTOS_EACH
from training.identity import draw_identity, draw_photo

FILE = Path(__file__).parents[1] / "docs" / "contact_sheet.png"
SIDE, GAP, CAPTION = 192, 6, 26
PAPER, INK = (250, 250, 248), (60, 60, 66)
SCENES = (
    ("blue hoodie, beach", "photo of a {} img wearing a blue hoodie, smiling, on a beach"),
    ("the same, another seed", "photo of a {} img wearing a blue hoodie, smiling, on a beach"),
    ("black suit, city", "photo of a {} img wearing a black suit, serious, in a city at night"),
    ("yellow shirt, forest", "photo of a {} img wearing a yellow shirt, laughing, in a forest"),
    ("red hoodie, purple", "portrait of a {} img wearing a red hoodie, surprised, purple background"),
)


def picture(pipe: PhotoMakerPipeline, number: int, prompt: str, negative: str, seed: int) -> Image.Image:
    identity = draw_identity(number)
    photos = [render(identity, draw_photo(number, photo)) for photo in range(PHOTOS_EACH)]
    generator = torch.Generator().manual_seed(seed)
    (made,) = pipe(prompt.format(identity.gender), photos, negative_prompt=negative, generator=generator)
    return made


def rows() -> list[list[tuple[str, Image.Image]]]:
    """Captions and pictures, row by row."""
    usual, other = load_nano(), load_nano(name="photomaker-style")
    found = []
    for number in EXAMPLES.values():
        row = [("ID photo", render(draw_identity(number), draw_photo(number, photo), size=SIDE)) for photo in range(2)]
        for seed, (caption, prompt) in enumerate(SCENES):
            row.append((caption, picture(usual, number, prompt, "", seed + 1)))
        found.append(row)
    number = next(iter(EXAMPLES.values()))
    looks = []
    for name in STYLES:
        prompt, negative = styled(name, "photo of a {} img, smiling", "")
        looks.append((name, picture(usual, number, prompt, negative, seed=5)))
    for seed in (5, 6, 7):
        looks.append(("photomaker-style", picture(other, number, "photo of a {} img, smiling", "", seed)))
    columns = len(found[0])
    return found + [looks[start : start + columns] for start in range(0, len(looks), columns)]


def main() -> None:
    pictures = rows()
    width = len(pictures[0]) * (SIDE + GAP) + GAP
    sheet = Image.new("RGB", (width, len(pictures) * (SIDE + CAPTION + GAP) + GAP), PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for line, row in enumerate(pictures):
        for column, (caption, made) in enumerate(row):
            left, top = GAP + column * (SIDE + GAP), GAP + line * (SIDE + CAPTION + GAP)
            sheet.paste(made.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, top))
            draw.text((left + SIDE / 2, top + SIDE + CAPTION / 2), caption, INK, font, anchor="mm")
    FILE.parent.mkdir(exist_ok=True)
    sheet.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(FILE, optimize=True)
    print(FILE)


if __name__ == "__main__":
    main()
