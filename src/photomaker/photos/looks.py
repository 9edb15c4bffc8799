"""What was seen in the photos: whose face is in each, which are used, and why the others are not.

Logs and errors name files, never what was found in a face. A deployment without faces starts without InsightFace, so
nothing here imports it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from photomaker.errors import FaceDetectionError
from photomaker.photos.archive import Photo

if TYPE_CHECKING:
    from photomaker.photos.face import Face

NAMED = 10  # files that one error names

NO_FACE = "no face was found"
TOO_SMALL = "the faces in it are too small to tell whose they are"
NOT_THE_PERSON = "the person of the other photos is not in it"
COPY = "the same picture is there already"
NO_ROOM = "the prompt has no room for more photos"

Log = Callable[[str], None]


@dataclass(frozen=True)
class Portrait:
    """One photo's view of the person.

    Attributes:
        photo: Which photo it is of.
        name: That photo's name in the archive.
        image: An upright square around the face, with margin, RGB, at the photo's own resolution.
        embedding: (512,) float32, the recogniser's embedding, not normalised.
    """

    photo: int
    name: str
    image: Image.Image
    embedding: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen in one photo.

    Attributes:
        face: The person's; where the person is not in it, the largest; None: no face.
        similarity: Of that face to the person, a cosine, -1 to 1.
        reason: Why the photo is left out; None: it shows the person, and is used.
        portrait: Of a used photo.
    """

    face: "Face | None"
    similarity: float | None
    reason: str | None
    portrait: Portrait | None = None


@dataclass(frozen=True, eq=False)
class Looks:
    """What was seen in an archive's photos.

    Attributes:
        of: A look at each photo, in the photos' order.
        agreement: How alike the person's faces in different photos are, the mean of their cosines, -1 to 1; None
            with one photo.
        others: In how many photos whoever else is in most of them is.
    """

    of: tuple[Look, ...]
    agreement: float | None = None
    others: int = 0

    @property
    def portraits(self) -> list[Portrait]:
        return [look.portrait for look in self.of if look.portrait is not None]


def told(photos: Sequence[Photo], looks: Looks, *, field: str, log: Log) -> Looks:
    """Say which photos are left out, and why.

    Raises:
        FaceDetectionError: There is no face in any photo.
    """
    if not looks.portraits:
        raise no_face([photo.name for photo in photos], field)
    for photo, look in zip(photos, looks.of, strict=True):
        if look.reason is not None:
            log(f"{photo.name}: left out, {look.reason}")
    return looks


def no_face(names: Sequence[str], field: str) -> FaceDetectionError:
    named = ", ".join(name[-64:] for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return FaceDetectionError(
        field,
        f"No face was found in {named}{more}. Send photos in which the person's face is large, sharp and well lit.",
    )
