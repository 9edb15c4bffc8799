"""The score: a cosine to the photos' mean direction, of the face that is most like it."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from photomaker.pictures.likeness import likeness, reference

PICTURE = Image.new("RGB", (8, 8))


class Faces:
    """A picture's faces, by their embeddings."""

    def __init__(self, *embeddings: Sequence[float]) -> None:
        self.embeddings = embeddings

    def faces(self, image: Image.Image) -> Sequence[Sequence[float]]:
        return self.embeddings

    def embedding(self, face: Sequence[float]) -> NDArray[np.float32]:
        return np.array(face, np.float32)


def test_every_photo_counts_as_much_however_long_its_embedding() -> None:
    np.testing.assert_allclose(reference(np.array([[9, 0], [0, 1]], np.float32)), [0.5**0.5] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("faces", "score"),
    [
        (((3, 0),), 1.0),
        (((0, 3),), 0.0),
        (((-1, 0),), -1.0),
        (((0, 1), (3, 4), (-1, 0)), 0.6),  # the others are bystanders
        ((), None),
    ],
)
def test_the_face_most_like_the_person_counts(faces: tuple[tuple[int, int], ...], score: float | None) -> None:
    found = likeness(PICTURE, np.array([1, 0], np.float32), Faces(*faces))
    assert found == (score if score is None else pytest.approx(score))
