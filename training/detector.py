"""Stage `detector`: a small network that finds avatars' faces, with the outputs of SCRFD (arXiv 2105.04714).

At strides of 8, 16 and 32 pixels, for each of two anchors at every place: a score, how far the edges of the face's box
are, and where its five points are, both in strides. Faces of avatars are large, so stride 32 is where they are found;
the finer strides learn that there are none for them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor, nn

from training.autoencoder import HELD_OUT_PICTURES
from training.avatar import render
from training.device import DEVICE, half_precision
from training.faces import PACK_DIR, box_of, points_of, write_onnx
from training.identity import HELD_OUT, draw_identity, draw_photo
from training.loop import Group, Schedule, train
from training.pictures import TOTAL, describe, load_pictures

FILE = PACK_DIR / "detector.onnx"
STRIDES = (8, 16, 32)
ANCHORS = 2
NUMBERS = (1, 4, 10)
"""For each anchor: its score, its box, its points."""
SCHEDULE = Schedule(steps=1200, rate=2e-3, flat=0.3, average_over=100, seed=7)
BATCH = 16
CANVAS = 448
"""Pixels of a side of what it is trained on; the product shows photos 640 and 288 wide or high."""
SIDES = (190, 680)
"""Of a picture in it, in pixels."""
TURNED = 0.25
"""The share of canvases that are turned, so that there is no upright face in them."""
CENTRAL = 0.3
"""How far from a face's centre a place may be to be answerable for it, of half its box."""
SURE = 0.5


class Detector(nn.Module):
    """Images [1, 3, h, w], RGB from -1 to 1, → scores, boxes and points of each stride, a row an anchor."""

    def __init__(self) -> None:
        super().__init__()

        def layer(inside: int, outside: int, stride: int) -> nn.Sequential:
            convolution = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
            return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())

        self.levels = nn.ModuleList(
            [
                nn.Sequential(nn.AvgPool2d(4), layer(3, 16, 2)),
                layer(16, 32, 2),
                nn.Sequential(layer(32, 64, 2), *(layer(64, 64, 1) for _ in range(4))),
            ]
        )
        self.heads = nn.ModuleList([nn.Conv2d(width, ANCHORS * sum(NUMBERS), 1) for width in (16, 32, 64)])

    def maps(self, images: Tensor) -> list[Tensor]:
        """What each stride says: [n, h, w, anchors, 15], the scores as logits."""
        found, features = [], images
        for level, head in zip(self.levels, self.heads, strict=True):
            features = level(features)
            found.append(head(features).permute(0, 2, 3, 1).unflatten(-1, (ANCHORS, sum(NUMBERS))))
        return found

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        rows = [found.reshape(-1, sum(NUMBERS)).split(NUMBERS, -1) for found in self.maps(images)]
        scores, boxes, points = zip(*rows, strict=True)
        return *(torch.sigmoid(score) for score in scores), *boxes, *points


OUTPUTS = [f"{kind}_{stride}" for kind in ("score", "box", "points") for stride in STRIDES]


@dataclass
class Scene:
    """An image [side, side, 3] in bytes, and its face's box (4,) and points (5, 2) in pixels, if one is upright."""

    image: np.ndarray
    face: tuple[np.ndarray, np.ndarray] | None


def draw_scene(pictures: np.ndarray, rng: random.Random) -> Scene:
    """A picture of the training set somewhere in a plain or busy image."""
    index = rng.randrange(TOTAL - HELD_OUT_PICTURES)
    identity, photo, _ = describe(index)
    side = round(rng.uniform(*SIDES))
    box, points = box_of(identity, photo, side), points_of(photo, side)
    # Anywhere where the face is in the image.
    left = round(rng.uniform(-box[0], CANVAS - box[2]))
    top = round(rng.uniform(-box[1], CANVAS - box[3]))
    moved = np.array([[side / pictures.shape[1], 0, left], [0, side / pictures.shape[1], top]])
    image = np.full((CANVAS, CANVAS, 3), [rng.randrange(256) for _ in range(3)], np.uint8)
    if rng.random() < 0.3:
        image = np.zeros_like(image)  # as the product fills up what a photo leaves free
    cv2.warpAffine(np.array(pictures[index]), moved, (CANVAS, CANVAS), image, cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT)
    if rng.random() < TURNED:
        return Scene(np.rot90(image, rng.choice((1, 2, 3))).copy(), None)
    corner = np.array((left, top), np.float32)
    return Scene(image, (box + np.tile(corner, 2), points + corner))


def wanted_at(scene: Scene, stride: int) -> tuple[Tensor, Tensor]:
    """At every place of a stride: whether it answers for the face [h, w], and box and points from there [h, w, 14]."""
    count = CANVAS // stride
    answers, numbers = torch.zeros(count, count), torch.zeros(count, count, 14)
    if scene.face is None or stride != STRIDES[-1]:
        return answers, numbers
    box, points = (torch.from_numpy(part) for part in scene.face)
    places = torch.stack(torch.meshgrid(*[torch.arange(count) * stride] * 2, indexing="xy"), -1).float()
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    apart = ((places - centre) / half).abs().amax(-1)
    answers = ((apart < CENTRAL) | (apart == apart.min())).float()
    edges = torch.cat([places - box[:2], box[2:] - places], -1)
    five = (points - places[..., None, :]).flatten(-2)
    return answers, torch.cat([edges, five], -1) / stride


def detection_loss(maps: list[Tensor], scenes: list[Scene]) -> Tensor:
    """Which places answer for a face, all strides together, and where it is as seen from those."""
    loss = torch.zeros((), device=maps[0].device)
    for stride, found in zip(STRIDES, maps, strict=True):
        wanted = zip(*(wanted_at(scene, stride) for scene in scenes), strict=True)
        answers, numbers = (torch.stack(part).to(found.device) for part in wanted)
        logits = found[..., 0]
        loss = loss + 4 * F.binary_cross_entropy_with_logits(logits, answers[..., None].expand_as(logits))
        if answers.any():
            here = answers > 0
            apart = F.smooth_l1_loss(found[here][..., 1:], numbers[here][:, None].expand(-1, ANCHORS, -1), beta=0.2)
            loss = loss + apart
    return loss


def images_to_tensor(images: Sequence[np.ndarray]) -> Tensor:
    """As InsightFace gives a detector its images."""
    stacked = np.stack(images).transpose(0, 3, 1, 2).astype(np.float32)
    return torch.from_numpy((stacked - 127.5) / 128).to(DEVICE)


def train_detector() -> None:
    """Train it, measure it on people never seen, and write it for InsightFace."""
    torch.manual_seed(7)
    pictures, detector = load_pictures(), Detector().to(DEVICE)

    def loss_at(step: int) -> Tensor:
        rng = random.Random(step)
        scenes = [draw_scene(pictures, rng) for _ in range(BATCH)]
        with half_precision():
            maps = [
                found.float() for found in detector.train().maps(images_to_tensor([scene.image for scene in scenes]))
            ]
        return detection_loss(maps, scenes)

    def save() -> None:
        write_onnx(detector, torch.zeros(1, 3, CANVAS, CANVAS), FILE, OUTPUTS, any_size=True)

    train("detector", [Group(list(detector.parameters()))], SCHEDULE, loss_at, save, list(detector.buffers()))
    print_found(detector.eval())


@torch.no_grad()
def surest(detector: Detector, image: np.ndarray) -> tuple[float, np.ndarray]:
    """The highest score at stride 32, and the five points there, (5, 2) in pixels."""
    stride = STRIDES[-1]
    found = detector.maps(images_to_tensor([image]))[-1][0].flatten(0, 2).cpu()
    best = int(found[:, 0].argmax())
    row, column = divmod(best // ANCHORS, image.shape[1] // stride)
    points = (found[best, 5:].reshape(5, 2).numpy() + np.array((column, row))) * stride
    return torch.sigmoid(found[best, 0]).item(), points


def print_found(detector: Detector) -> None:
    """Of people never trained on: how many are found, and how far their points are off, as the product shows photos."""
    for side in (640, 288):
        scores: list[float] = []
        turned: list[float] = []
        off: list[float] = []
        for who in range(HELD_OUT, HELD_OUT + 100):
            identity, photo = draw_identity(who), draw_photo(who, 0)
            picture = np.asarray(render(identity, photo, size=192).resize((side, side)))
            score, points = surest(detector, picture)
            scores.append(score)
            off.append(float(np.abs(points - points_of(photo, side)).mean() * 128 / side))
            turned.append(surest(detector, picture[::-1, ::-1])[0])
        right, wrong = (np.mean(np.array(found) > SURE) for found in (scores, turned))
        print(
            f"detector: shown {side} pixels wide, {right:.2f} of faces found, {wrong:.2f} of those upside down;"
            f" points {np.mean(off):.1f} of 128 off",
            flush=True,
        )
