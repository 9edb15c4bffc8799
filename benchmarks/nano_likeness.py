"""Likeness of the nano checkpoint, end to end: `python -m benchmarks.nano_likeness` in the repository's root.

Photos of people never trained on go through PhotoMakerPipeline with its default settings; an attribute network
that was trained on renders alone reads the pictures. Printed beside: what the text alone gives with the same
seeds (chance), what renders give after a pass through the autoencoder (ceiling), and the pictures of one
person measured against another (wrong identity). Then what was aimed at, reached or not, and the speed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from photomaker import PhotoMakerPipeline
from photomaker.deployment import Deployment, on_disk
from training.attributes import ALL_CLASSES, UNSEEN, labels, predictions
from training.avatar import render
from training.conditions import photo_pixels
from training.export import NANO
from training.identity import HELD_OUT, Identity, Photo, draw_identity, draw_photo
from training.judge import Judge, load_judge

FIRST_PERSON = HELD_OUT + 1000
PHOTOS = 4
TO_REACH = {
    **dict.fromkeys(("hair_colour", "skin", "gender", "glasses", "beard", "hair_style"), 0.85),
    **dict.fromkeys(("background", "clothes", "clothes_colour"), 0.95),
}
"""The share of the ceiling that each attribute is to reach."""
FROM_PHOTOS = ("hair_colour", "skin", "glasses", "beard", "hair_style")
"""What only the photos tell; the prompts name the gender."""
NEAR = 0.1
"""As far above chance as another person's pictures may be: twice the standard error of the difference."""
SPEED = {"a picture at 50 steps": 2.0, "a picture at 20 steps": 1.0, "loading": 1.5}
"""Seconds on two cores."""


@dataclass(frozen=True)
class Scene:
    """A prompt, and the photo it describes."""

    prompt: str
    photo: Photo


SCENES = (
    Scene("photo of a {} img wearing a blue hoodie, smiling, on a beach", Photo("beach", "smiling", "hoodie", "blue")),
    Scene(
        "photo of a {} img wearing a black suit, serious, in a city at night",
        Photo("city", "serious", "suit", "black"),
    ),
    Scene(
        "photo of a {} img wearing a yellow shirt, laughing, in a forest",
        Photo("forest", "laughing", "shirt", "yellow"),
    ),
    Scene(
        "portrait of a {} img wearing a red hoodie, surprised, purple background",
        Photo("purple", "surprised", "hoodie", "red"),
    ),
)


@dataclass(frozen=True)
class Case:
    """One person in one scene, with a seed of its own."""

    number: int
    identity: Identity
    scene: Scene
    seed: int


def cases(people: int) -> Iterator[Case]:
    for person in range(people):
        for place, scene in enumerate(SCENES):
            number = FIRST_PERSON + person
            yield Case(number, draw_identity(number), scene, seed=100 * person + place)


def photos_of(case: Case, count: int) -> list[Image.Image]:
    return [render(case.identity, draw_photo(case.number, photo)) for photo in range(count)]


Right = dict[str, torch.Tensor]
"""Of each attribute, which pictures show it: booleans [pictures in which it can be seen]."""


class Scale:
    """Reads pictures and says which of them show their case's attributes."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @torch.no_grad()
    def right(self, pictures: Sequence[Image.Image], people: Sequence[Case]) -> Right:
        scores = self.judge(photo_pixels(np.stack([np.asarray(picture) for picture in pictures])))
        wanted = torch.tensor([labels(case.identity, case.scene.photo, ALL_CLASSES) for case in people])
        found = {}
        for column, (name, guess) in enumerate(predictions(scores, ALL_CLASSES).items()):
            seen = wanted[:, column] != UNSEEN
            found[name] = (guess == wanted[:, column])[seen]
        return found

    def accuracy(self, pictures: Sequence[Image.Image], people: Sequence[Case]) -> dict[str, float]:
        """The share of pictures that show each attribute; what cannot be seen does not count."""
        return shares(self.right(pictures, people))


def shares(right: Right) -> dict[str, float]:
    return {name: found.float().mean().item() for name, found in right.items()}


def load_nano() -> PhotoMakerPipeline:
    settings = Deployment.read(NANO / "fal.toml").pipelines["photomaker"]
    return PhotoMakerPipeline.from_pretrained(
        on_disk(settings.base), on_disk(settings.adapter), scheduler=settings.scheduler
    )


def generate(
    pipe: PhotoMakerPipeline, chosen: Sequence[Case], steps: int, *, photos: int = PHOTOS, text_only: bool = False
) -> list[Image.Image]:
    """One picture a case; `text_only` never merges the person in."""
    pictures: list[Image.Image] = []
    for case in chosen:
        pictures += pipe(
            case.scene.prompt.format(case.identity.gender),
            photos_of(case, photos),
            num_inference_steps=steps,
            start_merge_step=steps if text_only else None,
            generator=torch.Generator().manual_seed(case.seed),
        )
    return pictures


@torch.no_grad()
def through_autoencoder(pipe: PhotoMakerPipeline, chosen: Sequence[Case]) -> list[Image.Image]:
    """Renders of the cases, encoded and decoded: the best the UNet could do."""
    processor, vae = pipe.text2img.image_processor, pipe.text2img.vae
    pixels = processor.preprocess([render(case.identity, case.scene.photo) for case in chosen])
    decoded = [vae.decode(vae.encode(part).latent_dist.mean).sample for part in pixels.split(16)]
    pictures: list[Image.Image] = processor.postprocess(torch.cat(decoded))
    return pictures


def composition(pipe: PhotoMakerPipeline, chosen: Sequence[Case], steps: int) -> tuple[float, float]:
    """How alike initial picture and result are, as the correlation of their coarse layouts: img2img, text-to-image.

    The initial picture shows somebody else in another place; the prompt names neither place nor clothes.
    """
    kept: list[float] = []
    unrelated: list[float] = []
    for case in chosen:
        initial = render(draw_identity(case.number + 500), draw_photo(case.number + 500, case.seed % 4))
        for start, found in ((initial, kept), (None, unrelated)):
            (picture,) = pipe(
                f"photo of a {case.identity.gender} img",
                photos_of(case, PHOTOS),
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


def print_speed(pipe: PhotoMakerPipeline, case: Case) -> None:
    """Medians of five."""

    def picture(steps: int) -> Callable[[], object]:
        return lambda: generate(pipe, [case], steps)

    works = (picture(50), picture(20), load_nano)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--steps", type=int, default=50)
    arguments = parser.parse_args()
    pipe, scale = load_nano(), Scale(load_judge())
    everyone = list(cases(arguments.people))
    others = [replace(case, identity=draw_identity(case.number + 200)) for case in everyone]

    def made(label: str, **options: Any) -> list[Image.Image]:
        return timed(label, lambda: generate(pipe, everyone, arguments.steps, **options))

    four = made("4 photos")
    rows = {
        "text only (chance)": scale.right(made("text only", text_only=True), everyone),
        "wrong identity": scale.right(four, others),
        "1 photo": scale.right(made("1 photo", photos=1), everyone),
        "2 photos": scale.right(made("2 photos", photos=2), everyone),
        "4 photos": scale.right(four, everyone),
        "ceiling": scale.right(through_autoencoder(pipe, everyone), everyone),
    }
    print_table(rows)
    print_verdicts(rows)
    kept, unrelated = composition(pipe, everyone[:: len(SCENES)], arguments.steps)
    print(f"img2img at strength 0.5: correlation with the initial picture {kept:.2f}, text-to-image {unrelated:.2f}")
    print_speed(pipe, everyone[0])


if __name__ == "__main__":
    main()
