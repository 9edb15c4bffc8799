"""Who is in a picture (identity) and what the picture shows (photo): the attributes the renderer draws."""

from __future__ import annotations

import random
from dataclasses import dataclass

SKINS = ("pale", "tan", "brown", "dark")
HAIR_COLOURS = ("black", "brown", "blonde", "red", "grey", "white", "blue", "pink")
HAIR_STYLES = {
    "man": ("bald", "short", "spiky", "curly", "long"),
    "woman": ("short", "long", "bob", "bun", "curly"),
}
ALL_HAIR_STYLES = ("bald", "short", "spiky", "curly", "long", "bob", "bun")
GENDERS = ("man", "woman")
BEARDS = ("none", "moustache", "beard")
GLASSES = ("none", "round", "square")
EYE_COLOURS = ("brown", "blue", "green")

SCENES = ("beach", "snow", "city", "forest")
BACKDROPS = ("red", "blue", "green", "yellow", "purple", "grey")
BACKGROUNDS = SCENES + BACKDROPS
EXPRESSIONS = ("smiling", "laughing", "serious", "surprised")
CLOTHES = ("shirt", "suit", "hoodie")
CLOTHES_COLOURS = ("red", "blue", "green", "yellow", "purple", "black", "white")

HELD_OUT = 1_000_000
"""Identities from this number on are never trained on."""


@dataclass(frozen=True)
class Identity:
    """What stays the same in every photo of one person."""

    gender: str
    skin: str
    hair_style: str
    hair_colour: str
    beard: str
    glasses: str
    eyes: str
    face_width: float
    face_height: float
    brow: float
    nose: float


@dataclass(frozen=True)
class Photo:
    """What changes from photo to photo. Shifts are in units of 1/128 of the picture, the tilt in degrees."""

    background: str
    expression: str
    clothes: str
    clothes_colour: str
    shift_x: float = 0.0
    shift_y: float = 0.0
    scale: float = 1.0
    tilt: float = 0.0
    scenery: float = 0.5
    gaze: float = 0.0

    @property
    def pose(self) -> tuple[float, float, float, float]:
        """Where the figure is, as `training.pen` takes it: shifts, scale and tilt."""
        return self.shift_x, self.shift_y, self.scale, self.tilt


def draw_identity(number: int) -> Identity:
    """Identity `number`: always the same one."""
    rng = random.Random(f"identity {number}")
    gender = rng.choice(GENDERS)
    return Identity(
        gender=gender,
        skin=rng.choice(SKINS),
        hair_style=rng.choice(HAIR_STYLES[gender]),
        hair_colour=rng.choice(HAIR_COLOURS),
        beard=rng.choices(BEARDS, (2, 1, 1.4))[0] if gender == "man" else "none",
        glasses=rng.choices(GLASSES, (4, 3, 3))[0],
        eyes=rng.choice(EYE_COLOURS),
        face_width=rng.uniform(29, 32.5),
        face_height=rng.uniform(34.5, 37.5),
        brow=rng.uniform(0.8, 1.2),
        nose=rng.uniform(0.8, 1.25),
    )


def draw_photo(identity_number: int, photo_number: int) -> Photo:
    """Photo `photo_number` of an identity: always the same one."""
    rng = random.Random(f"photo {identity_number} {photo_number}")
    return Photo(
        background=rng.choice(SCENES if rng.random() < 0.45 else BACKDROPS),
        expression=rng.choice(EXPRESSIONS),
        clothes=rng.choice(CLOTHES),
        clothes_colour=rng.choice(CLOTHES_COLOURS),
        shift_x=rng.uniform(-2.5, 2.5),
        shift_y=rng.uniform(-1.5, 1.5),
        scale=rng.uniform(0.97, 1.03),
        tilt=rng.uniform(-3, 3),
        scenery=rng.random(),
        gaze=rng.choice((-1.2, 0.0, 0.0, 1.2)),
    )
