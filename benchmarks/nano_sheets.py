"""Sheets of pictures that nobody chose: `python -m benchmarks.nano_sheets unchosen` (or `documentation`) in the root.

`unchosen`: the first 64 people of the benchmark, one picture each, the scenes in turn and the documentation's prompt
among them. `documentation`: eight of them with the documentation's prompt and its default style, four seeds a row.
Both as the endpoint draws them, and both say how many of the pictures pass for clean renders.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from photomaker import PhotoMakerPipeline
from photomaker.method.styles import DEFAULT_STYLE, styled
from training.avatar import render
from training.cases import DOCUMENTED_PROMPT, FIRST_PERSON, PHOTOS, SCENES, load_nano, side_of
from training.export import NANO
from training.identity import draw_identity, draw_photo
from training.smears import load_smear_reader, passing

COLUMNS = 8
PROMPTS = (*(scene.prompt for scene in SCENES), DOCUMENTED_PROMPT)


def picture(pipe: PhotoMakerPipeline, number: int, prompt: str, seed: int) -> Image.Image:
    """Identity `number`, from four photos, with the endpoint's defaults."""
    identity = draw_identity(number)
    words, negative = styled(DEFAULT_STYLE, prompt.format(identity.gender), "")
    photos = [render(identity, draw_photo(number, photo), size=side_of(pipe)) for photo in range(PHOTOS)]
    (made,) = pipe(words, photos, negative_prompt=negative, generator=torch.Generator().manual_seed(seed))
    return made


def unchosen(pipe: PhotoMakerPipeline) -> Iterator[Image.Image]:
    for person in range(64):
        yield picture(pipe, FIRST_PERSON + person, PROMPTS[person % len(PROMPTS)], seed=person)


def documentation(pipe: PhotoMakerPipeline) -> Iterator[Image.Image]:
    for person in range(8):
        for seed in range(4):
            yield picture(pipe, FIRST_PERSON + person, DOCUMENTED_PROMPT, seed)


SHEETS = {"unchosen": unchosen, "documentation": documentation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sheet", choices=SHEETS)
    parser.add_argument("--checkpoint", type=Path, default=NANO, help="a folder with a fal.toml")
    parser.add_argument("--file", type=Path, help="default: docs/nano_SHEET.png")
    arguments = parser.parse_args()
    file: Path = arguments.file or Path(__file__).parents[1] / "docs" / f"nano_{arguments.sheet}.png"
    pipe = load_nano(arguments.checkpoint)
    pictures, side = list(SHEETS[arguments.sheet](pipe)), side_of(pipe)
    sheet = Image.new("RGB", (COLUMNS * side, len(pictures) // COLUMNS * side))
    for place, made in enumerate(pictures):
        row, column = divmod(place, COLUMNS)
        sheet.paste(made, (column * side, row * side))
    sheet.save(file, optimize=True)
    print(f"{file}: {passing(load_smear_reader(), pictures):.2f} of {len(pictures)} pass for clean renders")


if __name__ == "__main__":
    main()
