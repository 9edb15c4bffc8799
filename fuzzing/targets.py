"""What is fed with bad bytes, and how it must not answer."""

import re
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fuzzing import samples
from fuzzing.platform import APP, Platform
from photomaker.errors import RequestError
from photomaker.photos.archive import read_photos
from photomaker.photos.images import read_image

HANG_SECONDS = 150.0  # beyond every bound of the product's own
MAX_GROWTH = 3 * 1024**3  # bytes, of a process that has answered
KEY_OF_ANYBODY = b"Key id:secret"


class Target(ABC):
    """Something that must answer whatever it is given.

    Attributes:
        name: As the command line calls it.
        samples: What cases are made from.
    """

    name: str
    samples: Sequence[bytes]

    @abstractmethod
    def finding(self, case: bytes) -> str | None:
        """What is wrong with how the case was taken, in a line; None where nothing is."""


class Photos(Target):
    """Archives and pictures, read in this process and its decoders."""

    name = "photos"

    def __init__(self) -> None:
        pictures, archives = samples.pictures(), samples.archives()
        packed = [samples.zipped({"a.jpg": picture, "b": picture}) for picture in pictures]
        self.samples = [*pictures, *archives, *packed]

    def finding(self, case: bytes) -> str | None:
        begun = time.monotonic()
        try:
            for photo in read_photos(case):
                if photo.image.mode != "RGB" or max(photo.image.size) > 1536:
                    return f"a photo of {photo.image}"
            read_image(case)
        except RequestError:
            pass
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if time.monotonic() - begun > HANG_SECONDS:
            return "hang"
        return "memory" if peak("self") > MAX_GROWTH else None


class OverTheWire(Target):
    """Something of the local platform's, which runs the whole app."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._read = 0

    def exchange(self, request: bytes, *, finished: bool = False) -> bytes:
        """What comes back on a connection of its own, of which this side may say that nothing more will come."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.platform.port), timeout=HANG_SECONDS) as connection:
            with suppress(ConnectionError):  # closed before all of it was read
                connection.sendall(request)
            with suppress(OSError):
                if finished:
                    connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while (piece := connection.recv(65536)) and len(answer) < 2**20:
                    answer += piece
        return answer

    def wrong(self, answer: bytes) -> str | None:
        status = answer[9:12]
        if status[:1] == b"5":
            return f"status {status.decode()}"
        with self.platform.log.open("rb") as log:
            log.seek(self._read)
            said = log.read()
            self._read = log.tell()
        if b"Traceback (most" in said:
            return "a traceback in the log: " + last_words(said.decode("utf-8", "replace"))
        if self.platform.process.poll() is not None:
            return "the platform has ended"
        return "memory" if any(peak(pid) > MAX_GROWTH for pid in self.processes()) else None

    def processes(self) -> list[str]:
        pid = str(self.platform.process.pid)
        return [pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Bodies(OverTheWire):
    """Bodies of the endpoint's requests."""

    name = "bodies"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self.samples = samples.bodies()

    def finding(self, case: bytes) -> str | None:
        head = f"POST /{APP} HTTP/1.1\r\nHost: 127.0.0.1:{self.platform.port}\r\nConnection: close\r\n".encode()
        head += b"Authorization: " + KEY_OF_ANYBODY + b"\r\nContent-Type: application/json\r\n"
        try:
            answer = self.exchange(head + f"Content-Length: {len(case)}\r\n\r\n".encode() + case)
        except TimeoutError:
            return "hang"
        return self.wrong(answer) if answer else "no answer"


class Requests(OverTheWire):
    """Requests of the platform, down to the bytes of their heads."""

    name = "requests"

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self.samples = samples.requests(f"127.0.0.1:{platform.port}", APP)
        self._health = next(sample for sample in self.samples if sample.startswith(b"GET /health"))

    def finding(self, case: bytes) -> str | None:
        try:
            wrong = self.wrong(self.exchange(case, finished=True))
            return wrong or (None if self.exchange(self._health) else "nobody else is answered")
        except TimeoutError:
            return "hang"


def last_words(said: str) -> str:
    """Of a log's last traceback, the line that names the error."""
    lines = said.rpartition("Traceback (most")[2].splitlines()[1:]
    named = (line.strip()[:200] for line in lines if re.search(r"(^|\] )[\w.]+(Error|Exception)\b", line))
    return next(named, "")


def peak(process: str) -> int:
    """Bytes of memory in use; 0 for a process that is gone, or where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
