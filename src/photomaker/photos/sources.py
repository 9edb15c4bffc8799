"""The photos of a request, however they were sent: single ones, archives, or several of either."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, replace
from dataclasses import field as option
from functools import partial
from threading import Event

from photomaker.errors import Cancelled, FileTooLargeError, TooManyPhotosError
from photomaker.photos.archive import MAX_PHOTOS, OnSkipped, Photo, Skipped, read_photos
from photomaker.photos.decoders import Check, decoders
from photomaker.photos.download import MAX_ARCHIVE_BYTES
from photomaker.photos.formats import SNIFFED_BYTES, is_image

DOWNLOADS = 4  # at once
MAX_OF_SEVERAL_BYTES = 128 * 1024**2  # one of them; so many are in memory at once, and MAX_ARCHIVE_BYTES in all


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


def read_source(
    source: Source, on_skipped: OnSkipped = lambda skipped: None, check: Check = lambda: None
) -> list[Photo]:
    """A source's photos, named; raises as :func:`photomaker.photos.archive.read_photos` does."""

    def skip(skipped: Skipped) -> None:
        on_skipped(replace(skipped, name=f"{source.name}/{skipped.name}") if source.name else skipped)

    photos = read_photos(source.data, field=source.field, on_skipped=skip, check=check)
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

    Single photos are decoded side by side; an archive sees to that itself. To be closed: that ends what is under way.
    """
    left = Event()

    def check_both() -> None:
        check()
        if left.is_set():
            raise Cancelled

    with ThreadPoolExecutor(decoders().count, "photo") as pool:
        ahead = {
            number: pool.submit(read_source, source, on_skipped, check_both)
            for number, source in enumerate(sources)
            if is_image(source.data[:SNIFFED_BYTES])
        }
        try:
            for number, source in enumerate(sources):
                running = ahead.get(number)
                yield source, partial(read_source, source, on_skipped, check) if running is None else running.result
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


def check_size(size: int, field: str) -> None:
    """Refuse more bytes than a request's photos may have."""
    if size > MAX_ARCHIVE_BYTES:
        raise FileTooLargeError(
            field,
            f"The photos are larger than {MAX_ARCHIVE_BYTES:,} bytes together. Send fewer or smaller ones.",
            max_size=MAX_ARCHIVE_BYTES,
        )


def downloaded(urls: Sequence[tuple[str, str]], fetch: Callable[[str, str, int], bytes]) -> list[bytes]:
    """The files of (field, URL) pairs, several at a time, in the pairs' order.

    Args:
        urls: What to download.
        fetch: Takes a URL, its field, and the most bytes that it may have.

    Raises:
        FileTooLargeError: They are too large together.
        RequestError: The first pair's error, if any fails.
    """
    if len(urls) == 1:
        return [fetch(urls[0][1], urls[0][0], MAX_ARCHIVE_BYTES)]
    with ThreadPoolExecutor(DOWNLOADS, "download") as pool:
        running = [pool.submit(copy_context().run, fetch, url, field, MAX_OF_SEVERAL_BYTES) for field, url in urls]
        try:
            files: list[bytes] = []
            for (field, _), download in zip(urls, running, strict=True):
                files.append(download.result())
                check_size(sum(map(len, files)), field)
        finally:
            for download in running:
                download.cancel()
    return files
