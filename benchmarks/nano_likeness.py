"""Likeness of the nano checkpoint, end to end: `python -m benchmarks.nano_likeness` in the repository's root.

Photos of people never trained on go through PhotoMakerPipeline with its default settings; an attribute network
that was trained on renders alone reads the pictures. Printed beside: what the text alone gives with the same
seeds (chance), what renders give after a pass through the autoencoder (ceiling), and the pictures of one
person measured against another (wrong identity), and how many pictures pass for clean renders. Then what was
aimed at, reached or not, and the speed. Several checkpoints are measured one after the other, and compared; if they
draw pictures of different sizes, smears are also looked for in all at the largest one, as somebody sees them:

    python -m benchmarks.nano_likeness src/photomaker/nano ../before/src/photomaker/nano
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from photomaker import PhotoMakerPipeline
from training.attributes import ALL_CLASSES
from training.avatar import render
from training.cases import (
    PHOTOS,
    SCENES,
    Case,
    cases,
    deployment_of,
    embeddings_of,
    generate,
    load_nano,
    photos_of,
    renders,
    side_of,
    through_autoencoder,
)
from training.export import NANO
from training.identity import draw_identity, draw_photo
from training.judge import load_judge
from training.scale import Right, Scale, shares
from training.smears import SmearReader, distance, load_smear_reader, passing

TO_REACH = {
    **dict.fromkeys(("hair_colour", "skin", "gender", "glasses", "hair_style", "eyes"), 0.85),
    "expression": 0.9,
    **dict.fromkeys(("beard", "background", "clothes", "clothes_colour"), 0.95),
}
"""The share of the ceiling that each attribute is to reach."""
FROM_PHOTOS = ("hair_colour", "skin", "glasses", "beard", "hair_style")
"""What only the photos tell; the prompts name the gender."""
NEAR = 0.1
"""As far above chance as another person's pictures may be: twice the standard error of the difference."""
SPEED = {"a picture at 50 steps": 1.5, "a picture at 20 steps": 1.0, "loading": 1.5}
"""Seconds on two cores."""


def composition(pipe: PhotoMakerPipeline, chosen: Sequence[Case], steps: int) -> tuple[float, float]:
    """How alike initial picture and result are, as the correlation of their coarse layouts: img2img, text-to-image.

    The initial picture shows somebody else in another place; the prompt names neither place nor clothes.
    """
    kept: list[float] = []
    unrelated: list[float] = []
    for case in chosen:
        number = case.number + 500
        initial = render(draw_identity(number), draw_photo(number, case.seed % 4), size=side_of(pipe))
        photos = photos_of(case, PHOTOS, side_of(pipe))
        embeddings = embeddings_of(pipe, photos)
        for start, found in ((initial, kept), (None, unrelated)):
            (picture,) = pipe(
                f"photo of a {case.identity.gender} img",
                photos,
                face_embeddings=embeddings,
                num_inference_steps=steps,
                initial_image=start,
                initial_image_strength=0.5,
                generator=torch.Generator().manual_seed(case.seed),
            )
            layouts = [
                np.asarray(image.resize((12, 12), Image.Resampling.BOX), dtype=float).ravel()
                for image in (initial, picture)
            ]
            found.append(np.corrcoef(layouts)[0, 1])
    return float(np.mean(kept)), float(np.mean(unrelated))


def print_table(rows: dict[str, Right]) -> None:
    print("| | " + " | ".join(rows) + " |\n|---|" + "---|" * len(rows))
    columns = [shares(row) for row in rows.values()]
    for name in ALL_CLASSES:
        print(f"| {name.replace('_', ' ')} | " + " | ".join(f"{column[name]:.2f}" for column in columns) + " |")


def print_verdicts(rows: dict[str, Right]) -> None:
    """What was aimed at, attribute by attribute."""
    share = {label: shares(row) for label, row in rows.items()}
    for name, wanted in TO_REACH.items():
        reached = share["4 photos"][name] / share["ceiling"][name]
        verdict = "reached" if reached >= wanted else "FALLS SHORT"
        print(f"{name}: {reached:.2f} of the ceiling, {wanted} wanted: {verdict}")
    for name in FROM_PHOTOS:
        above = share["wrong identity"][name] - share["text only (chance)"][name]
        verdict = "near chance" if above <= NEAR else "ABOVE CHANCE"
        print(f"{name}: wrong identity {above:+.2f} from chance: {verdict}")
    for fewer, more in (("1 photo", "2 photos"), ("2 photos", "4 photos")):
        for name in FROM_PHOTOS:
            gained = int((rows[more][name] & ~rows[fewer][name]).sum())
            lost = int((rows[fewer][name] & ~rows[more][name]).sum())
            # A sign test on the pictures that differ, at twice the standard deviation.
            verdict = "HURTS" if lost - gained > 2 * (lost + gained) ** 0.5 else "does not hurt"
            print(f"{name}: from {fewer} to {more}, {gained} pictures gained, {lost} lost: {verdict}")


def print_smears(reader: SmearReader, side: int, chosen: Sequence[Case], made: dict[str, list[Image.Image]]) -> None:
    """How many pictures, seen at sides of so many pixels, pass for clean renders, and how far they are from renders."""
    same = renders(chosen, side)
    others = renders([replace(case, identity=draw_identity(case.number + 300)) for case in chosen], side)
    for label, pictures in {"renders": same, "renders of others": others, **made}.items():
        seen = [picture.resize((side, side), Image.Resampling.BICUBIC) for picture in pictures]
        share, apart = passing(reader, seen), distance(reader, seen, same)
        print(f"clean at {side} pixels, {label}: {share:.2f} pass, Fréchet distance {apart:.2f}", flush=True)


def print_speed(pipe: PhotoMakerPipeline, folder: Path, case: Case) -> None:
    """Medians of five."""

    def picture(steps: int) -> Callable[[], object]:
        return lambda: generate(pipe, [case], steps)

    works: tuple[Callable[[], object], ...] = (picture(50), picture(20), lambda: load_nano(folder))
    for (name, limit), work in zip(SPEED.items(), works, strict=True):
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
        median = statistics.median(seconds)
        print(f"{name}: {median:.2f} s, at most {limit} wanted: {'reached' if median <= limit else 'FALLS SHORT'}")


def timed(label: str, work: Callable[[], list[Image.Image]]) -> list[Image.Image]:
    started = time.perf_counter()
    pictures = work()
    seconds = (time.perf_counter() - started) / len(pictures)
    print(f"{label}: {len(pictures)} pictures, {seconds:.2f} s each", flush=True)
    return pictures


def measure(folder: Path, people: int, steps: int, largest: int) -> dict[str, Right]:
    """Print everything about one checkpoint, and give its table; `largest`: the side of the largest one's pictures."""
    pipe, scale = load_nano(folder), Scale(load_judge())
    everyone = list(cases(people))
    others = [replace(case, identity=draw_identity(case.number + 200)) for case in everyone]

    def made(label: str, **options: Any) -> list[Image.Image]:
        return timed(label, lambda: generate(pipe, everyone, steps, **options))

    print(f"\n{folder}: {side_of(pipe)} pixels", flush=True)
    four, ceiling = made("4 photos"), through_autoencoder(pipe, everyone)
    rows = {
        "text only (chance)": scale.right(made("text only", text_only=True), everyone),
        "wrong identity": scale.right(four, others),
        "1 photo": scale.right(made("1 photo", photos=1), everyone),
        "2 photos": scale.right(made("2 photos", photos=2), everyone),
        "4 photos": scale.right(four, everyone),
        "ceiling": scale.right(ceiling, everyone),
    }
    print_table(rows)
    print_verdicts(rows)
    for side in sorted({side_of(pipe), largest}):
        print_smears(load_smear_reader(), side, everyone, {"the autoencoder's": ceiling, "4 photos": four})
    kept, unrelated = composition(pipe, everyone[:: len(SCENES)], steps)
    print(f"img2img at strength 0.5: correlation with the initial picture {kept:.2f}, text-to-image {unrelated:.2f}")
    print_speed(pipe, folder, everyone[0])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="*", type=Path, default=[NANO], help="their folders, or deployments")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    folders: list[Path] = arguments.checkpoints
    largest = max(deployment_of(folder).height for folder in folders)
    tables = {folder: measure(folder, arguments.people, arguments.steps, largest) for folder in folders}
    if len(tables) > 1:
        print("\nBeside each other:")
        print_table(
            {f"{folder}, {row}": table[row] for row in ("4 photos", "ceiling") for folder, table in tables.items()}
        )


if __name__ == "__main__":
    main()
