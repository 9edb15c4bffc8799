"""Which sizes the nano checkpoint can draw beside the one that it was trained on: `python -m benchmarks.nano_sizes`.

The same people, scenes and seeds at each size, by the default settings: the share of pictures that pass for clean
renders, and the share that shows each attribute of the person, as benchmarks.nano_likeness reads it. Off the trained
size the person moves, so the attributes are read in a square of that size at the beginning, in the middle or at the end
of the picture, whichever shows most at that size; a shorter side is continued by its edge, so that faces stay as large.
What is served (src/photomaker/nano/fal.toml) is what holds up here, and to the eye: `--sheet FILE` writes a row for
each size.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from photomaker.sizes import Size
from training.cases import Case, cases, generate, load_nano, side_of
from training.judge import load_judge
from training.scale import Scale, shares
from training.smears import load_smear_reader, passing

TRIED: tuple[Size, ...] = (
    *((128, 128), (96, 128), (128, 96), (128, 160), (160, 128), (128, 176), (176, 128), (160, 160)),
    *((112, 112), (112, 144), (144, 112), (96, 96)),
)
READ = ("hair_colour", "skin", "glasses", "beard", "hair_style", "background", "clothes")
COLUMNS, GAP = 8, 4


def squares(picture: Image.Image, side: int) -> list[Image.Image]:
    """The squares at the beginning, in the middle and at the end; what is shorter is continued by its edge."""
    short, thin = max(0, side - picture.height), max(0, side - picture.width)
    missing = ((short // 2, short - short // 2), (thin // 2, thin - thin // 2), (0, 0))
    picture = Image.fromarray(np.pad(np.asarray(picture), missing, mode="edge"))
    across, down = picture.width - side, picture.height - side
    return [
        picture.crop((across * part // 2, down * part // 2, across * part // 2 + side, down * part // 2 + side))
        for part in range(3)
    ]


def shown(pictures: Sequence[Image.Image], chosen: Sequence[Case], scale: Scale, side: int) -> dict[str, float]:
    """The share of pictures that show each attribute, in the square that shows most."""
    places = zip(*(squares(picture, side) for picture in pictures), strict=True)
    return max((shares(scale.right(place, chosen)) for place in places), key=lambda read: sum(read.values()))


def sheet(rows: Sequence[Sequence[Image.Image]], file: Path) -> None:
    width = max(picture.width for row in rows for picture in row) + GAP
    canvas = Image.new("RGB", (width * max(map(len, rows)), sum(row[0].height + GAP for row in rows)), "white")
    y = 0
    for row in rows:
        for column, picture in enumerate(row):
            canvas.paste(picture, (column * width, y))
        y += row[0].height + GAP
    canvas.save(file, quality=92)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=12)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--size", action="append", type=lambda size: tuple(map(int, size.split("x"))), dest="sizes")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    pipe, scale, smears = load_nano(), Scale(load_judge()), load_smear_reader()
    chosen = list(cases(arguments.people))
    print(f"| size | clean | {' | '.join(name.replace('_', ' ') for name in READ)} |\n|---|---|{'---|' * len(READ)}")
    rows = []
    for size in arguments.sizes or TRIED:
        pictures = generate(pipe, chosen, arguments.steps, size=size)
        rows.append(pictures[:COLUMNS])
        found = shown(pictures, chosen, scale, side_of(pipe))
        columns = " | ".join(f"{share:.2f}" for share in [passing(smears, pictures), *(found[name] for name in READ)])
        print(f"| {size[0]} x {size[1]} | {columns} |", flush=True)
    if arguments.sheet:
        sheet(rows, arguments.sheet)


if __name__ == "__main__":
    main()
