"""ID tokens of the photos seen last, so that a person's next picture skips the photos.

Kept in memory only, a bounded number of them, the least recently used forgotten first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.method.prompts import check_room
from photomaker.photos.archive import Skipped
from photomaker.photos.looks import told
from photomaker.photos.sources import Source, read_sources
from photomaker.pictures.likeness import reference
from photomaker.request import Listener, Verdict

if TYPE_CHECKING:
    from photomaker.photos.faces import FaceFinder

REMEMBERED = 32  # requests' photos


@dataclass(frozen=True)
class Identity:
    """A person, as read from photos.

    Attributes:
        tokens: ID tokens [n · tokens per photo, width].
        limited: Photos were left out for want of room.
        log: What was said about the photos' files.
        verdicts: On each of them.
        direction: (512,) float32 of length 1, the mean of the used photos' recognition embeddings; None where the
            photos were not looked at for faces.
    """

    tokens: Tensor
    limited: bool
    log: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    direction: NDArray[np.float32] | None = None


class Identities:
    """A bounded memory of identities, by the photos' content and the encoder that read them."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.remembered = remembered
        self.known: OrderedDict[tuple[str, str, int], Identity] = OrderedDict()

    def get(
        self, sources: Sequence[Source], encoder: str, room: int, tokens: int, make: Callable[[], Identity]
    ) -> Identity:
        """The identity in a request's photos, made only where it is not known.

        Args:
            sources: The photos' files.
            encoder: Which ID encoder reads it.
            room: How many photos the prompt can hold; one that left photos out serves only the same room.
            tokens: ID tokens a photo.
            make: Reads the photos and encodes them.
        """
        content = "\n".join(f"{source.name}={hashlib.sha256(source.data).hexdigest()}" for source in sources)
        for key in ((content, encoder, 0), (content, encoder, room)):
            identity = self.known.get(key)
            if identity is not None and len(identity.tokens) <= room * tokens:
                self.known.move_to_end(key)
                return identity
        identity = make()
        self.known[(content, encoder, room if identity.limited else 0)] = identity
        while len(self.known) > self.remembered:
            self.known.popitem(last=False)
        return identity


def read_identity(
    pipe: PhotoMakerPipeline,
    sources: Sequence[Source],
    *,
    faces: "FaceFinder | None",
    crop: bool,
    room: int,
    listener: Listener,
) -> Identity:
    """The photos' person as ID tokens.

    Args:
        pipe: Whose ID encoder looks at the photos.
        sources: The photos' files.
        faces: Finds the person; None: every photo is passed on as it is, which is the authors' way with version 1.
        crop: Show the encoder the face rather than the whole photo.
        room: How many photos the prompt can hold.
        listener: Told what is left out.

    Raises:
        RequestError: What is wrong with the photos.
    """
    said: list[str] = []
    verdicts: list[Verdict] = []

    def log(line: str) -> None:
        said.append(line)
        listener.log(line)

    def on_skipped(skipped: Skipped) -> None:
        log(f"skipped: {skipped.reason}")
        verdicts.append(Verdict(skipped.name, skipped.reason))

    with listener.timed("faces"):
        photos = read_sources(sources, on_skipped, listener.check)
        images, embeddings, limited = [photo.image for photo in photos], None, False
        if faces is None:
            check_room(len(photos), room)
            verdicts[:0] = [Verdict(photo.name) for photo in photos]
        else:
            looks = faces.look(photos, limit=room, check=listener.check)
            portraits = told(photos, looks, field=sources[0].field, log=log).portraits
            log(f"using {len(portraits)} of {len(photos)} photos")
            verdicts[:0] = [Verdict(photo.name, look.reason) for photo, look in zip(photos, looks.of, strict=True)]
            embeddings = np.stack([portrait.embedding for portrait in portraits])
            images = [portrait.image if crop else images[portrait.photo] for portrait in portraits]
            limited = len(portraits) == room
    with listener.timed("encode"):
        tokens = pipe.identify(images, None if embeddings is None else torch.from_numpy(embeddings))
    direction = None if embeddings is None else reference(embeddings)
    return Identity(tokens, limited, tuple(said), tuple(verdicts), direction)
