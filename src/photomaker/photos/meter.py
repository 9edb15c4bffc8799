"""What reading one archive may cost: bytes, entries, seconds, and the caller's wish to go on."""

import time
from collections.abc import Callable
from io import BytesIO
from typing import Protocol

from photomaker.errors import FileTooLargeError, InvalidArchiveError

MAX_ENTRIES = 2000  # files and folders of any kind
MAX_EXPANDED_BYTES = 1024**3  # all that is read out of one archive
MAX_READING_SECONDS = 120.0  # decoding included
PIECE_BYTES = 1024**2  # expanded between two looks at the meter


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Meter:
    """Counts what one archive gives, and looks at the clock whenever anything is read of it.

    Args:
        field: The input field it came from; errors carry it.
        check: Asked as often; raises once the caller has taken the request back.
    """

    def __init__(self, field: str, check: Callable[[], None] = lambda: None) -> None:
        self.field = field
        self._check = check
        self._bytes = 0
        self._entries = 0
        self._deadline = time.monotonic() + MAX_READING_SECONDS

    def look(self) -> None:
        """Raises where the reading should end now."""
        self._check()
        if time.monotonic() > self._deadline:
            raise self.invalid("The archive takes too long to read. Send fewer or smaller photos.")

    def read(self, stream: Readable, size: int) -> bytes:
        """``size`` bytes of what the archive expands to, fewer only at the end; piece by piece, each one counted."""
        pieces: list[bytes] = []
        while size > 0 and (piece := stream.read(min(size, PIECE_BYTES))):
            self.look()
            self._bytes += len(piece)
            if self._bytes > MAX_EXPANDED_BYTES:
                raise self.too_large("The archive expands", MAX_EXPANDED_BYTES)
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def count_entry(self) -> None:
        self.look()
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise self.too_many_entries()

    def too_many_entries(self) -> InvalidArchiveError:
        return self.invalid(f"The archive has more than {MAX_ENTRIES} entries. Send the photos only.")

    def invalid(self, message: str) -> InvalidArchiveError:
        return InvalidArchiveError(self.field, message)

    def too_large(self, what: str, max_size: int) -> FileTooLargeError:
        return FileTooLargeError(
            self.field, f"{what} to more than {max_size:,} bytes. Send smaller photos.", max_size=max_size
        )


class Source(BytesIO):
    """An archive in memory that its reader, whatever it is, cannot read on in without the meter's leave.

    Attributes:
        longest: The most that one call may read; None: no matter.
    """

    def __init__(self, data: bytes, meter: Meter) -> None:
        super().__init__(data)
        self._meter = meter
        self.longest: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        self._meter.look()
        if self.longest is not None and size is not None and size > self.longest:
            raise ValueError(f"{size} bytes are read at once")
        return super().read(size)
