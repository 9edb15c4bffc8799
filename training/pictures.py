"""The training set: every identity's photos, drawn once into one file."""

from __future__ import annotations

import multiprocessing
import random
from dataclasses import replace
from pathlib import Path

import numpy as np

from training.avatar import IMAGE_SIZE
from training.identity import Identity, Photo, draw_identity, draw_photo
from training.looks import LORA_STYLE, STYLES, render_in_style

WORK = Path(__file__).parent / "work"
IDENTITIES = 6000
PLAIN_PHOTOS = 5
PICTURES_EACH = 8
TOTAL = IDENTITIES * PICTURES_EACH
PICTURES_FILE = WORK / "pictures.npy"
POSED = 0.2
"""How far figures are from the middle, crooked, larger or smaller, as a share of that in people's photos. What is
nearly in its place is drawn sharply: the networks needn't decide first where it is."""


def describe(index: int) -> tuple[Identity, Photo, str]:
    """Who and what picture `index` of the training set shows, and in which style."""
    identity_number, photo_number = divmod(index, PICTURES_EACH)
    identity, photo = draw_identity(identity_number), _held_still(draw_photo(identity_number, photo_number))
    if photo_number < PLAIN_PHOTOS:
        return identity, photo, "photo"
    if photo_number == PICTURES_EACH - 1:
        return identity, photo, LORA_STYLE if identity_number % 2 else "photo"
    style = random.Random(f"style {index}").choices((*STYLES, "blurry"), [1.0] * len(STYLES) + [0.8])[0]
    return identity, photo, style


def _held_still(photo: Photo) -> Photo:
    return replace(
        photo,
        shift_x=POSED * photo.shift_x,
        shift_y=POSED * photo.shift_y,
        scale=1 + POSED * (photo.scale - 1),
        tilt=POSED * photo.tilt,
    )


def _draw(index: int) -> np.ndarray:
    return np.asarray(render_in_style(*describe(index)))


def render_pictures() -> None:
    """Stage `render`: draw the training set with every core."""
    WORK.mkdir(exist_ok=True)
    shape = (TOTAL, IMAGE_SIZE, IMAGE_SIZE, 3)
    pictures = np.lib.format.open_memmap(WORK / "pictures.part.npy", mode="w+", dtype=np.uint8, shape=shape)
    with multiprocessing.Pool() as pool:
        for index, picture in enumerate(pool.imap(_draw, range(TOTAL), chunksize=64)):
            pictures[index] = picture
            if index % 2000 == 0:
                print(f"render {index}/{TOTAL}", flush=True)
    pictures.flush()
    (WORK / "pictures.part.npy").rename(PICTURES_FILE)


def load_pictures() -> np.ndarray:
    """The training set, [TOTAL, IMAGE_SIZE, IMAGE_SIZE, 3] bytes, mapped from its file."""
    return np.load(PICTURES_FILE, mmap_mode="r")
