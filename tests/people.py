"""Real photos as an archive's, and who is in a portrait."""

import numpy as np
from PIL import Image

from photomaker.photos.archive import Photo
from photomaker.photos.faces import FaceFinder
from photomaker.photos.looks import Portrait
from tests.assets import photo


def photos(*names: str, **changed: Image.Image) -> list[Photo]:
    return [Photo(name, photo(name)) for name in names] + [Photo(name, image) for name, image in changed.items()]


def names(portraits: list[Portrait]) -> list[str]:
    return [portrait.name for portrait in portraits]


def likeness(finder: FaceFinder, portrait: Portrait, name: str) -> float:
    """Cosine between the portrait's embedding and that of the largest face of a photo."""
    other = finder.embedding(finder.faces(photo(name))[0])
    return float(portrait.embedding @ other / np.linalg.norm(portrait.embedding) / np.linalg.norm(other))
