"""How much a finished picture's face is the photos': a cosine of recognition embeddings.

The face finder and recogniser are the deployment's own; the reference is the mean direction of the photos' faces.
With ArcFace-like recognisers different photos of one person lie mostly above 0.5 and strangers below 0.2; drawn and
stylised faces come out lower than photographic ones. Compare pictures of one deployment with each other, not with the
Face Sim of papers, whose recognisers differ. benchmarks/likeness.py shows how the score separates real people.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]


class FaceReader(Protocol):
    """Finds a picture's faces, and gives an embedding of each; :class:`photomaker.photos.faces.FaceFinder` does."""

    def faces(self, image: Image.Image) -> Sequence[Any]: ...

    def embedding(self, face: Any) -> Floats: ...


def reference(embeddings: Floats) -> Floats:
    """(512,) float32 of length 1: the mean direction of the photos' embeddings [n, 512]."""
    mean: Floats = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).mean(0)
    return mean / np.linalg.norm(mean)


def likeness(picture: Image.Image, person: Floats, reader: FaceReader) -> float | None:
    """The cosine, -1 to 1, between a picture's face and a person's reference; None without a face.

    Of several faces the one most like the person counts: the others are bystanders of the prompt.
    """
    embeddings = [reader.embedding(face) for face in reader.faces(picture)]
    cosines = [float(embedding @ person / np.linalg.norm(embedding)) for embedding in embeddings]
    return max(cosines, default=None)
