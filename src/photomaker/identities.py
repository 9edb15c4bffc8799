"""ID tokens of the archives seen last, so that a person's next picture skips the photos.

Kept in memory only, a bounded number of them, the least recently used forgotten first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

REMEMBERED = 32  # archives


@dataclass(frozen=True)
class Identity:
    """A person, as read from an archive.

    Attributes:
        tokens: ID tokens [n · tokens per photo, width].
        limited: Photos were left out for want of room.
        log: What was said about the archive's files.
    """

    tokens: Tensor
    limited: bool
    log: tuple[str, ...] = ()


class Identities:
    """A bounded memory of identities, by the archive's content and the encoder that read it."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self.remembered = remembered
        self.known: OrderedDict[tuple[str, str, int], Identity] = OrderedDict()

    def get(self, archive: bytes, encoder: str, room: int, tokens: int, make: Callable[[], Identity]) -> Identity:
        """The identity in an archive, made only where it is not known.

        Args:
            archive: The archive's bytes.
            encoder: Which ID encoder reads it.
            room: How many photos the prompt can hold; one that left photos out serves only the same room.
            tokens: ID tokens a photo.
            make: Reads the photos and encodes them.
        """
        content = hashlib.sha256(archive).hexdigest()
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
