"""Where the faces of drawn people are, and the face pack that finds and recognises them.

Version 2 of PhotoMaker is led by the embedding of a face recogniser, and its detector says where the face is: both
are trained on avatars and written as InsightFace reads them (FACES_DIR is a `face_root`).
"""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from photomaker.photos.face import Face
from training.avatar import CENTRE_X, CENTRE_Y
from training.identity import Identity, Photo
from training.models import FACES_DIR, PACK
from training.pen import Point, posed

PACK_DIR = FACES_DIR / "models" / PACK
POINTS: tuple[Point, ...] = (
    (CENTRE_X - 13.5, CENTRE_Y - 3),
    (CENTRE_X + 13.5, CENTRE_Y - 3),
    (CENTRE_X, CENTRE_Y + 8.5),
    (CENTRE_X - 10, CENTRE_Y + 20),
    (CENTRE_X + 10, CENTRE_Y + 20),
)
"""Eyes, nose and corners of the mouth of everybody, in units of 1/128."""


def points_of(photo: Photo, side: float) -> np.ndarray:
    """The five points, (5, 2), in pixels of a picture with such sides."""
    return np.array(posed(POINTS, *photo.pose), np.float32) * (side / 128)


def box_of(identity: Identity, photo: Photo, side: float) -> np.ndarray:
    """The face's left, top, right and bottom, in pixels of a picture with such sides; a tilt is too small to matter."""
    ((x, y),) = posed([(CENTRE_X, CENTRE_Y)], *photo.pose)
    across, down = identity.face_width * photo.scale, identity.face_height * photo.scale
    return np.array((x - across, y - down, x + across, y + down), np.float32) * (side / 128)


def face_of(picture: np.ndarray, identity: Identity, photo: Photo, astray: float, rng: random.Random) -> Face:
    """What a detector would say of a picture [side, side, 3]; `astray`: how far its points are off, of 1/128."""
    side = len(picture)
    off = np.array([rng.gauss(0, astray * side / 128) for _ in range(10)], np.float32).reshape(5, 2)
    left, top, right, bottom = map(float, box_of(identity, photo, side))
    return Face(0, Image.fromarray(picture), (left, top, right, bottom), points_of(photo, side) + off, 1.0)


def write_onnx(network: nn.Module, example: Tensor, target: Path, outputs: Sequence[str], *, any_size: bool) -> None:
    """A network as an ONNX file; `any_size`: it takes images of any height and width."""
    target.parent.mkdir(parents=True, exist_ok=True)
    axes = {"image": {2: "height", 3: "width"}} if any_size else None
    with warnings.catch_warnings(action="ignore"):  # the exporter that needs no package of its own is the older one
        torch.onnx.export(
            copy.deepcopy(network).cpu().eval(),
            (example,),
            str(target),
            dynamo=False,
            input_names=["image"],
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=17,
        )
