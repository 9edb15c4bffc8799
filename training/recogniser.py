"""Stage `recogniser`: a small network that tells avatars apart, as ArcFace tells people.

It takes aligned faces of 112 pixels and gives 512 numbers, whose directions are compared: one person's pictures are to
be as near to each other as the product expects of people (photomaker/photos/person.py), and strangers far apart.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from photomaker.photos.face import aligned
from training.attributes import ALL_CLASSES, IDENTITY_CLASSES, attribute_loss, labels
from training.avatar import render
from training.device import DEVICE, half_precision
from training.export import NANO
from training.faces import PACK_DIR, face_of, write_onnx
from training.identity import HELD_OUT, draw_identity, draw_photo
from training.loop import Group, Schedule, train
from training.models import EMBEDDINGS_FILE, FACE_WIDTH, FACES_DIR
from training.pictures import IDENTITIES, PICTURES_EACH, PLAIN_PHOTOS, TOTAL, describe, load_pictures

SIZE = 112
FILE = PACK_DIR / "recogniser.onnx"
SCHEDULE = Schedule(steps=1500, rate=2e-3, flat=0.3, average_over=100, seed=6)
PEOPLE = 32
SAME, OTHERS = (0.6, 0.85), 0.1
"""Cosines: between a person's photos, and at most between strangers."""
NAMED = IDENTITY_CLASSES | {"expression": ALL_CLASSES["expression"]}
"""What an embedding tells; the expression keeps two photos of a person from being one."""
ASTRAY = 1.0
PHOTO_SIDE = 192
"""Of the pictures that it is measured on."""


class Recogniser(nn.Sequential):
    """Aligned faces [n, 3, 112, 112], RGB from -1 to 1, → embeddings [n, 512]; a picture of 96 pixels holds no more."""

    def __init__(self) -> None:
        def layer(inside: int, outside: int, stride: int, kernel: int = 3) -> list[nn.Module]:
            convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False)
            return [convolution, nn.BatchNorm2d(outside), nn.ReLU()]

        super().__init__(
            nn.AvgPool2d(2),
            *layer(3, 24, 2),
            *layer(24, 48, 2),
            *layer(48, 96, 2),
            *layer(96, 96, 1),
            *layer(96, 32, 1, kernel=1),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 128),
            nn.BatchNorm1d(128),
            nn.Linear(128, FACE_WIDTH),
        )


def faces_to_tensor(faces: Sequence[np.ndarray]) -> Tensor:
    """Aligned faces as the product cuts them out, BGR in bytes → what InsightFace gives a recogniser."""
    stacked = np.stack(faces)[..., ::-1].astype(np.float32)
    return torch.from_numpy(stacked.transpose(0, 3, 1, 2) / 127.5 - 1)


def seen(index: int, picture: np.ndarray, rng: random.Random) -> np.ndarray:
    """The aligned face in a picture of the training set, a little out of place, out of focus, or in other light."""
    face = aligned(face_of(picture, *describe(index)[:2], ASTRAY, rng), SIZE)
    if rng.random() < 0.3:
        face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.4, 1.5))
    light = rng.uniform(0.85, 1.15) * np.array([rng.uniform(0.95, 1.05) for _ in range(3)])
    return (face * light).clip(0, 255).astype(np.uint8)


def pair_loss(embeddings: Tensor) -> Tensor:
    """How far cosines are from `SAME` and `OTHERS`: embeddings [2 n, 512], the second half of the first half's people.

    Of strangers those count that are too near.
    """
    directions = F.normalize(embeddings, dim=-1)
    count = len(directions) // 2
    cosines = directions @ directions.T
    own = cosines.diagonal(count)
    near = F.relu(SAME[0] - own).square() + F.relu(own - SAME[1]).square()
    people = torch.arange(2 * count, device=cosines.device) % count
    stranger = people[:, None] != people[None, :]
    too_near = F.relu(cosines[stranger] - OTHERS).square()
    return 20 * near.mean() + 20 * too_near.sum() / (too_near > 0).sum().clamp(min=count)


def train_recogniser() -> None:
    """Train it, measure it on people never seen, write it for InsightFace, and embed the training set's photos."""
    torch.manual_seed(6)
    pictures = load_pictures()
    recogniser = Recogniser().to(DEVICE)
    head = nn.Linear(FACE_WIDTH, sum(len(values) for values in NAMED.values())).to(DEVICE)

    def loss_at(step: int) -> Tensor:
        rng = random.Random(step)
        people = rng.sample(range(IDENTITIES), PEOPLE)
        pairs = [[PICTURES_EACH * who + photo for photo in rng.sample(range(PLAIN_PHOTOS), 2)] for who in people]
        chosen = [pair[turn] for turn in (0, 1) for pair in pairs]
        faces = faces_to_tensor([seen(index, pictures[index], rng) for index in chosen]).to(DEVICE)
        with half_precision():
            embeddings = recogniser.train()(faces).float()
        wanted = torch.tensor([labels(*describe(index)[:2], NAMED) for index in chosen])
        named = attribute_loss(head(F.normalize(embeddings, dim=-1) * 10), wanted.to(DEVICE), NAMED)
        return pair_loss(embeddings) + 0.1 * named

    def save() -> None:
        write_onnx(recogniser, torch.zeros(1, 3, SIZE, SIZE), FILE, ["embedding"], any_size=False)

    group = Group([*recogniser.parameters(), *head.parameters()])
    train("recogniser", [group], SCHEDULE, loss_at, save, list(recogniser.buffers()))
    recogniser.eval()
    print_cosines(recogniser)
    embed_pictures(recogniser)


@torch.no_grad()
def print_cosines(recogniser: Recogniser) -> None:
    """How near photos of one person are to each other, and to those of others: people never trained on."""
    faces, rng = [], random.Random(0)
    for turn in (0, 1):
        for who in range(HELD_OUT, HELD_OUT + 200):
            person = draw_identity(who), draw_photo(who, turn)
            picture = np.asarray(render(*person, size=PHOTO_SIDE))
            faces.append(aligned(face_of(picture, *person, ASTRAY / 2, rng), SIZE))
    first, second = F.normalize(recogniser(faces_to_tensor(faces).to(DEVICE)), dim=-1).cpu().chunk(2)
    cosines = first @ second.T
    own, strangers = cosines.diagonal(), cosines[~torch.eye(len(cosines), dtype=torch.bool)]
    for label, found in (("one person's photos", own), ("strangers'", strangers)):
        low, middle, high = np.quantile(found.numpy(), (0.02, 0.5, 0.98))
        print(f"recogniser: cosines of {label}: {low:.2f}, {middle:.2f}, {high:.2f} (2 %, half, 98 %)", flush=True)
    nearest = (cosines.argmax(1) == torch.arange(len(cosines))).float().mean()
    print(f"recogniser: of 200 people the right one is the nearest for {nearest:.3f}", flush=True)


def shipped_recogniser() -> Callable[[Tensor], Tensor]:
    """The one that ships, as the product runs it."""
    session = onnxruntime.InferenceSession(NANO / FILE.relative_to(FACES_DIR.parent))
    name = session.get_inputs()[0].name

    def embedding(face: Tensor) -> Tensor:  # the file takes one at a time
        return torch.from_numpy(session.run(None, {name: face[None].cpu().numpy()})[0])

    return lambda faces: torch.cat([embedding(face) for face in faces])


@torch.no_grad()
def embed_pictures(recogniser: Callable[[Tensor], Tensor]) -> None:
    """The embeddings of the training set's plain photos, [TOTAL, 512]; zeros for the others."""
    pictures, found, rng = load_pictures(), torch.zeros(TOTAL, FACE_WIDTH, dtype=torch.half), random.Random(1)
    plain = [index for index in range(TOTAL) if index % PICTURES_EACH < PLAIN_PHOTOS]
    for start in range(0, len(plain), 256):
        chosen = plain[start : start + 256]
        faces = [aligned(face_of(pictures[index], *describe(index)[:2], ASTRAY / 2, rng), SIZE) for index in chosen]
        found[chosen] = recogniser(faces_to_tensor(faces).to(DEVICE)).half().cpu()
    torch.save(found, EMBEDDINGS_FILE)
