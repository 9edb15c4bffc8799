"""One face in a photo: where it is, and the two ways it is cut out.

For the recogniser it is aligned by its five points, as ArcFace expects it; for the ID encoder it is an upright
square with margin.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from insightface.utils.face_align import arcface_dst
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

MARGINS = (2.0, 1.7, 1.4)  # the square's side in face boxes; a smaller one where it keeps another face out


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face.

    Attributes:
        photo: Index of the photo.
        picture: That photo, turned as it was when the face was found.
        box: Left, top, right, bottom in pixels of ``picture``.
        points: (5, 2) float32: eyes, nose, corners of the mouth, in pixels of ``picture``.
        score: The detector's confidence, 0 to 1.
    """

    photo: int
    picture: Image.Image
    box: Box
    points: Floats
    score: float

    @property
    def side(self) -> float:
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def share(self) -> float:
        """How much of its photo the face covers."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top) / (self.picture.width * self.picture.height)

    @property
    def upright(self) -> bool:
        """Whether the mouth is below the eyes, with the head tilted by less than 45 degrees."""
        right, down = self.points[3:].mean(0) - self.points[:2].mean(0)
        return bool(down > abs(right))


def inside(point: tuple[float, float], box: Box) -> bool:
    left, top, right, bottom = box
    return left <= point[0] <= right and top <= point[1] <= bottom


def aligned(face: Face, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 BGR: the face with eyes, nose and mouth where the recogniser expects them.

    The least-squares similarity from the five points to ArcFace's template, as InsightFace's ``norm_crop`` has
    it, with points as complex numbers. Only the face's surroundings leave the photo.
    """
    left, top, right, bottom = face.box
    reach = face.side
    area = (
        max(0, int(left - reach)),
        max(0, int(top - reach)),
        min(face.picture.width, int(right + reach) + 1),
        min(face.picture.height, int(bottom + reach) + 1),
    )
    pixels = np.asarray(face.picture.crop(area))
    source = (face.points - np.array(area[:2], np.float32)).astype(np.float64) @ [1, 1j]
    target = (arcface_dst * (size / 112)).astype(np.float64) @ [1, 1j]
    spread = source - source.mean()
    rotation = np.vdot(spread, target - target.mean()) / np.vdot(spread, spread).real
    shift = target.mean() - rotation * source.mean()
    matrix = np.array([[rotation.real, -rotation.imag, shift.real], [rotation.imag, rotation.real, shift.imag]])
    return np.ascontiguousarray(cv2.warpAffine(pixels, matrix, (size, size))[:, :, ::-1])


def sharpness(face: Face) -> float:
    """How much fine detail the aligned face has at 112 pixels: the variance of its Laplacian, in grey levels of 255.

    A small face that is shown larger, or one out of focus, has little: mostly below 100, where sharp photos have
    several hundred and more (J. L. Pech-Pacheco et al., 2000).
    """
    grey = cv2.cvtColor(aligned(face, 112), cv2.COLOR_BGR2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def portrait(face: Face, others: Sequence[Face]) -> Image.Image:
    """An upright square around a face, with as much margin as keeps the photo's other faces out."""
    centres = [other.centre for other in others if other is not face]
    box = next(
        (box for box in squares(face) if not any(inside(centre, box) for centre in centres)), list(squares(face))[-1]
    )
    return face.picture.crop(box)


def squares(face: Face) -> Iterator[tuple[int, int, int, int]]:
    """Squares of whole pixels around a face inside its photo, the widest first."""
    width, height = face.picture.size
    for margin in MARGINS:
        side = min(round(margin * face.side), width, height)
        x, y = face.centre
        left = min(max(0, round(x - side / 2)), width - side)
        top = min(max(0, round(y - side / 2)), height - side)
        yield left, top, left + side, top + side
