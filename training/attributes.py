"""Attributes as classes: labels, accuracy, and training a network to name them."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from training import identity as names
from training.avatar import render
from training.device import DEVICE, half_precision
from training.identity import Identity, Photo, draw_identity, draw_photo
from training.loop import Group, Schedule, train
from training.photos import disturbed, photo_pixels
from training.pictures import PICTURES_EACH, PLAIN_PHOTOS, TOTAL, describe, load_pictures

IDENTITY_CLASSES: dict[str, tuple[str, ...]] = {
    "gender": names.GENDERS,
    "skin": names.SKINS,
    "hair_style": names.ALL_HAIR_STYLES,
    "hair_colour": names.HAIR_COLOURS,
    "beard": names.BEARDS,
    "glasses": names.GLASSES,
    "eyes": names.EYE_COLOURS,
}
PHOTO_CLASSES: dict[str, tuple[str, ...]] = {
    "background": names.BACKGROUNDS,
    "expression": names.EXPRESSIONS,
    "clothes": names.CLOTHES,
    "clothes_colour": names.CLOTHES_COLOURS,
}
ALL_CLASSES = IDENTITY_CLASSES | PHOTO_CLASSES
UNSEEN = -100


def labels(identity: Identity, photo: Photo, classes: dict[str, tuple[str, ...]]) -> list[int]:
    """The class of each attribute; what cannot be seen (a bald man's hair colour, closed eyes) does not count."""
    found = []
    for name, values in classes.items():
        value = getattr(identity if name in IDENTITY_CLASSES else photo, name)
        hidden = (name == "hair_colour" and identity.hair_style == "bald" and identity.beard == "none") or (
            name == "eyes" and photo.expression == "laughing"
        )
        found.append(UNSEEN if hidden else values.index(value))
    return found


def predictions(scores: Tensor, classes: dict[str, tuple[str, ...]]) -> dict[str, Tensor]:
    """The most likely class of each attribute, [n]."""
    parts = scores.split([len(values) for values in classes.values()], 1)
    return {name: part.argmax(1) for name, part in zip(classes, parts, strict=True)}


def attribute_loss(scores: Tensor, wanted: Tensor, classes: dict[str, tuple[str, ...]]) -> Tensor:
    """The cross entropies of all attributes: scores [n, classes in all], wanted [n, attributes]."""
    parts = scores.split([len(values) for values in classes.values()], 1)
    losses = [F.cross_entropy(part, wanted[:, column], ignore_index=UNSEEN) for column, part in enumerate(parts)]
    return torch.stack(losses).sum()


def train_to_name_attributes(
    stage: str,
    modules: nn.Module,
    score: Callable[[Tensor], Tensor],
    schedule: Schedule,
    classes: dict[str, tuple[str, ...]],
    save: Callable[[], None],
    disturb: Callable[[Tensor, random.Random], Tensor] = lambda pixels, rng: pixels,
) -> None:
    """Train `modules` so that `score` (pixels → scores of all classes) names the attributes of plain renders."""
    pictures = load_pictures()
    plain = [index for index in range(TOTAL) if index % PICTURES_EACH < PLAIN_PHOTOS]

    def loss_at(step: int) -> Tensor:
        rng = random.Random(step)
        chosen = rng.sample(plain, 64)
        pixels = photo_pixels(np.stack([pictures[index] for index in chosen]))
        pixels = disturb(disturbed(pixels, rng), rng).to(DEVICE)
        wanted = torch.tensor([labels(*describe(index)[:2], classes) for index in chosen])
        with half_precision():
            scores = score(pixels).float()
        return attribute_loss(scores, wanted.to(DEVICE), classes)

    train(stage, [Group(list(modules.parameters()))], schedule, loss_at, save)
    print_accuracy(stage, score, classes)


@torch.no_grad()
def print_accuracy(stage: str, score: Callable[[Tensor], Tensor], classes: dict[str, tuple[str, ...]]) -> None:
    """Accuracy on identities never trained on."""
    people = [(draw_identity(names.HELD_OUT + number), draw_photo(names.HELD_OUT + number, 0)) for number in range(400)]
    pixels = photo_pixels(np.stack([np.asarray(render(*person)) for person in people]))
    wanted = torch.tensor([labels(*person, classes) for person in people])
    for column, (name, guess) in enumerate(predictions(score(pixels.to(DEVICE)).cpu(), classes).items()):
        seen = wanted[:, column] != UNSEEN
        right = (guess == wanted[:, column])[seen].float().mean()
        print(f"{stage}: {name} {right:.3f}", flush=True)
