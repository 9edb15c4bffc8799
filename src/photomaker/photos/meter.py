"""What reading a request's files may cost: bytes, entries, seconds, and the caller's wish to go on."""

import time
from collections.abc import Callable
from io import BytesIO
from typing import Protocol

from photomaker.errors import FileTooLargeError, InvalidArchiveError

# Of a request, however many archives it is in.
MAX_ENTRIES = 2000  # files and folders of any kind
MAX_EXPANDED_BYTES = 1024**3  # all that is read out of archives
MAX_READING_SECONDS = 120.0  # decoding included
PIECE_BYTES = 1024**2  # expanded between two looks at the meter


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Allowance:
    """What all files of a request have cost so far, and until when they may be read; begins with the first."""

    def __init__(self) -> None:
        self.bytes = 0
        self.entries = 0
        self.deadline = time.monotonic() + MAX_READING_SECONDS


class Meter:
    """Counts what one archive gives, and looks at the clock whenever anything is read of it.

    Args:
        field: The input field it came from; errors carry it.
        check: Asked as often; raises once the caller has taken the request back.
        allowance: Of the request that it is in; None: of this archive alone.
    """

    def __init__(
        self, field: str, check: Callable[[], None] = lambda: None, allowance: Allowance | None = None
    ) -> None:
        self.field = field
        self._check = check
        self._allowance = allowance or Allowance()

    def look(self) -> None:
        """Raises where the reading should end now."""
        self._check()
        if time.monotonic() > self._allowance.deadline:
            raise self.invalid("The photos take too long to read. Send fewer or smaller ones.")

    def read(self, stream: Readable, size: int) -> bytes:
        """``size`` bytes of what the archive expands to, fewer only at the end; piece by piece, each one counted."""
        pieces: list[bytes] = []
        while size > 0 and (piece := stream.read(min(size, PIECE_BYTES))):
            self.look()
            self._allowance.bytes += len(piece)
            if self._allowance.bytes > MAX_EXPANDED_BYTES:
                raise self.too_large("The photos expand", MAX_EXPANDED_BYTES)
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def count_entry(self) -> None:
        self.look()
        self._allowance.entries += 1
        if self._allowance.entries > MAX_ENTRIES:
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
