"""Batches: captions, photos for those with a trigger word, and the latents that they describe."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from photomaker.method.prompts import TRIGGER_TOKEN
from training.avatar import IMAGE_SIZE
from training.captions import caption, negative
from training.device import DEVICE
from training.models import Base
from training.photos import photo_pixels
from training.pictures import PICTURES_EACH, PLAIN_PHOTOS, describe
from training.reading import wanted_labels

LONGEST = 77


def other_photos(index: int, count: int, rng: random.Random) -> list[int]:
    """Plain photos of the person in picture `index`, other than that picture."""
    first = index // PICTURES_EACH * PICTURES_EACH
    plain = [photo for photo in range(first, first + PLAIN_PHOTOS) if photo != index]
    return rng.sample(plain, count)


@dataclass
class Prompts:
    """Token ids of both tokenizers, [n, 77], and where ID tokens belong, [n, 77]."""

    ids: Tensor
    ids_2: Tensor
    id_positions: Tensor

    def on_device(self) -> Prompts:
        return Prompts(self.ids.to(DEVICE), self.ids_2.to(DEVICE), self.id_positions.to(DEVICE))


def tokenize(base: Base, captions: Sequence[str], repeats: Sequence[int]) -> Prompts:
    """Tokenize; the trigger word is dropped and the class word before it repeated (0 times: once, as text only)."""
    rows: list[list[int]] = []
    positions = torch.zeros(len(captions), LONGEST, dtype=torch.bool)
    trigger = base.tokenizer.convert_tokens_to_ids(TRIGGER_TOKEN)
    encoded = base.tokenizer(list(captions)).input_ids
    for row, (ids, count) in enumerate(zip(encoded, repeats, strict=True)):
        if trigger in ids:
            place = ids.index(trigger)
            ids = ids[: place - 1] + [ids[place - 1]] * max(1, count) + ids[place + 1 :]
            positions[row, place - 1 : place - 1 + count] = True
        rows.append(ids[: LONGEST - 1] + ids[-1:] if len(ids) > LONGEST else ids)
    first, second = (_padded(rows, tokenizer) for tokenizer in (base.tokenizer, base.tokenizer_2))
    return Prompts(first, second, positions)


def _padded(rows: Sequence[list[int]], tokenizer: CLIPTokenizer) -> Tensor:
    return torch.tensor([ids + [tokenizer.pad_token_id] * (LONGEST - len(ids)) for ids in rows])


@dataclass(frozen=True)
class Mixture:
    """Shares of a batch: captions with a trigger word and photos, and negative prompts, most of them empty."""

    with_photos: float
    negative: float = 0.14
    tokens_per_photo: int = 1


@dataclass(frozen=True)
class Window:
    """What a step sees of its pictures' latents: all but so many rows above and below, and columns on each side."""

    rows_off: int = 0
    columns_off: int = 0

    def of(self, latents: Tensor) -> Tensor:
        height, width = latents.shape[-2:]
        return latents[..., self.rows_off : height - self.rows_off, self.columns_off : width - self.columns_off]


EIGHTH = IMAGE_SIZE // 8 // 8
WHOLE, UPRIGHT, LYING = Window(), Window(columns_off=EIGHTH), Window(rows_off=EIGHTH)


def window_at(step: int) -> Window:
    """The same for all pictures of a step; mostly all that there is."""
    return random.Random(f"window {step}").choices((WHOLE, UPRIGHT, LYING), (0.8, 0.12, 0.08))[0]


def photos_at(step: int) -> int:
    """How many photos each caption of a step has, so that the processes of a team have as much to do."""
    return random.Random(f"photos {step}").choices((1, 2, 3, 4), (0.4, 0.2, 0.1, 0.3))[0]


@dataclass
class Batch:
    """Pictures of the training set, with what the networks get to see of them."""

    latents: Tensor
    window: Window
    prompts: Prompts
    pixels: Tensor | None
    """Of the photos of all captions, one after the other; None without any."""
    faces: Tensor | None
    """The embeddings of those photos; None without any, or if version 1 is trained."""
    photos: list[int]
    labels: Tensor


def prepare(
    base: Base,
    latents: Tensor,
    chosen: Sequence[int],
    pictures: np.ndarray,
    embeddings: Tensor | None,
    mixture: Mixture,
    step: int,
    rng: random.Random,
) -> Batch:
    """The captions and photos of a step; needs no network, so it can be done while the step before trains."""
    photos_each, window = photos_at(step), window_at(step)
    captions, repeats, photos = [], [], []
    for index in chosen:
        draw = rng.random()
        with_photos = draw < mixture.with_photos
        if draw > 1 - mixture.negative:
            captions.append(negative(describe(index)[2], rng))
        else:
            captions.append(caption(*describe(index), rng, trigger=with_photos))
        placed = with_photos and "img" in captions[-1].replace(",", " ").split()
        repeats.append(photos_each * mixture.tokens_per_photo if placed else 0)
        if placed:
            photos += other_photos(index, photos_each, rng)
    pixels = photo_pixels(np.stack([pictures[photo] for photo in photos])) if photos else None
    faces = embeddings[photos].float() if photos and embeddings is not None else None
    prompts = tokenize(base, captions, repeats)
    seen = window.of(latents[list(chosen)].float())
    return Batch(seen, window, prompts, pixels, faces, photos, wanted_labels(chosen))


class Ahead:
    """Prepares the steps to come in a thread while a GPU trains; on a CPU, which has no time to spare, when asked.

    One thread, because a tokenizer is not to be used by two.
    """

    def __init__(self, prepare_step: Callable[[int], Batch], steps: int, depth: int | None = None) -> None:
        self.prepare_step, self.steps = prepare_step, steps
        self.depth = depth if depth is not None else 8 if DEVICE.type == "cuda" else 0
        self.pool = ThreadPoolExecutor(1)
        self.coming: deque[Future[Batch]] = deque()
        self.next: int | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of `step`; steps are asked for one after the other, from any on."""
        if self.depth == 0:
            return self.prepare_step(step)
        if self.next is None:
            self.next = step
        while self.next < min(step + self.depth, self.steps):
            self.coming.append(self.pool.submit(self.prepare_step, self.next))
            self.next += 1
        return self.coming.popleft().result()
