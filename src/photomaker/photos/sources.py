"""The photos of a request, however they were sent: single ones, archives, or several of either."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from dataclasses import field as option
from functools import partial
from threading import Event, Lock

from photomaker.errors import Cancelled, FileTooLargeError, TooManyPhotosError
from photomaker.photos.archive import MAX_PHOTOS, OnSkipped, Photo, Skipped, read_photos
from photomaker.photos.decoders import Check, decoders
from photomaker.photos.download import MAX_ARCHIVE_BYTES, TOTAL_SECONDS
from photomaker.photos.formats import SNIFFED_BYTES, is_image
from photomaker.photos.meter import Allowance

DOWNLOADS = 4  # at once
MAX_OF_SEVERAL_BYTES = 128 * 1024**2  # one of them; MAX_ARCHIVE_BYTES all together


@dataclass(frozen=True)
class Source:
    """One file of the caller's.

    Attributes:
        field: The input field that it came from; errors carry it.
        data: A photo, or an archive of photos.
        name: What its photos are called by in logs and verdicts; empty: by their names in the archive alone.
    """

    field: str
    data: bytes = option(repr=False)
    name: str = ""


def read_source(source: Source, on_skipped: OnSkipped, check: Check, allowance: Allowance) -> list[Photo]:
    """A source's photos, named; raises as :func:`photomaker.photos.archive.read_photos` does."""

    def skip(skipped: Skipped) -> None:
        on_skipped(replace(skipped, name=f"{source.name}/{skipped.name}") if source.name else skipped)

    photos = read_photos(source.data, field=source.field, on_skipped=skip, check=check, allowance=allowance)
    if not source.name:
        return photos
    alone = len(photos) == 1 and photos[0].name == "image"
    return [Photo(source.name if alone else f"{source.name}/{photo.name}", photo.image) for photo in photos]


def read_sources(
    sources: Sequence[Source], on_skipped: OnSkipped = lambda skipped: None, check: Check = lambda: None
) -> list[Photo]:
    """All sources' photos, in the sources' order.

    Raises:
        TooManyPhotosError: More than ``MAX_PHOTOS`` together.
        RequestError: As of each source.
    """
    photos: list[Photo] = []
    with closing(read_each(sources, on_skipped, check)) as reading:
        for source, read in reading:
            photos += read()
            check_count(len(photos), source.field)
    return photos


def read_each(
    sources: Sequence[Source], on_skipped: OnSkipped, check: Check
) -> Generator[tuple[Source, Callable[[], list[Photo]]], None, None]:
    """Each source, in order, and what gives its photos or raises its error.

    Single photos are decoded side by side; an archive sees to that itself. All of them together may cost what one may.
    To be closed: that ends what is under way.
    """
    left, allowance = Event(), Allowance()

    def check_both() -> None:
        check()
        if left.is_set():
            raise Cancelled

    with ThreadPoolExecutor(decoders().count, "photo") as pool:
        ahead = {
            number: pool.submit(read_source, source, on_skipped, check_both, allowance)
            for number, source in enumerate(sources)
            if is_image(source.data[:SNIFFED_BYTES])
        }
        try:
            for number, source in enumerate(sources):
                running = ahead.get(number)
                reading = partial(read_source, source, on_skipped, check, allowance)
                yield source, reading if running is None else running.result
        finally:
            left.set()
            for running in ahead.values():
                running.cancel()


def check_count(photos: int, field: str) -> None:
    """Refuse more photos than a request may have."""
    if photos > MAX_PHOTOS:
        raise TooManyPhotosError(
            field,
            f"There are more than {MAX_PHOTOS} photos together. Send the best ones only.",
            max_count=MAX_PHOTOS,
            provided_count=photos,
        )


class Room:
    """What all downloads of a request may take together, several at a time: bytes, and seconds from now on.

    Args:
        most: Bytes that one of them may have.

    Attributes:
        error: Why there is no more room.
        closed: Nobody waits for what is still under way.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.error: FileTooLargeError | None = None
        self.closed = False
        self._bytes = 0
        self._deadline = time.monotonic() + TOTAL_SECONDS
        self._change = Lock()

    def take(self, count: int, field: str) -> None:
        """Make room for so many bytes of a field's file.

        Raises:
            FileTooLargeError: There is none left; always the same error, about the first file without.
        """
        with self._change:
            self._bytes += count
            if self.error is None and self._bytes > MAX_ARCHIVE_BYTES:
                self.error = FileTooLargeError(
                    field,
                    f"The photos are larger than {MAX_ARCHIVE_BYTES:,} bytes together. Send fewer or smaller ones.",
                    max_size=MAX_ARCHIVE_BYTES,
                )
            if self.error is not None:
                raise self.error

    def seconds(self) -> float:
        """That are left."""
        return self._deadline - time.monotonic()


Fetch = Callable[[str, str, Room], bytes]
"""Takes a URL, its field, and the room that its request has."""


def downloaded(urls: Sequence[tuple[str, str]], fetch: Fetch) -> list[bytes]:
    """The files of (field, URL) pairs, several at a time, in the pairs' order.

    Raises:
        FileTooLargeError: They are too large together.
        RequestError: The first pair's error, if any fails.
    """
    with downloads(urls, fetch) as running:
        return [download.result() for download in running]


@contextmanager
def downloads(urls: Sequence[tuple[str, str]], fetch: Fetch) -> Iterator[list[Future[bytes]]]:
    """The downloads of (field, URL) pairs, several at a time; by the end those that are not done are given up."""
    room = Room(MAX_ARCHIVE_BYTES if len(urls) == 1 else MAX_OF_SEVERAL_BYTES)
    with ThreadPoolExecutor(DOWNLOADS, "download") as pool:
        running = [pool.submit(copy_context().run, fetch, url, field, room) for field, url in urls]
        try:
            yield running
        finally:
            room.closed = True
            for download in running:
                download.cancel()
