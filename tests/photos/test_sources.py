"""Photos sent one by one, in archives, or both."""

import threading
from typing import Any

import pytest

from photomaker.errors import (
    Cancelled,
    FileTooLargeError,
    ImageLoadError,
    InvalidArchiveError,
    RequestError,
    TooManyPhotosError,
)
from photomaker.photos import meter, sources
from photomaker.photos.archive import MAX_PHOTOS, Photo, Skipped, read_photos
from photomaker.photos.decoders import Decoders
from photomaker.photos.sources import Room, Source, downloaded, read_sources
from tests.photos.samples import picture, zipped

PATIENCE = 60.0  # seconds, for what comes at once


def test_photos_come_in_the_order_of_their_files_and_by_their_names() -> None:
    skipped: list[Skipped] = []
    files = [
        Source("image_urls.0", picture(), "image_urls.0"),
        Source("image_urls.1", zipped([("2.jpg", picture()), ("1.jpg", picture()), ("a.txt", b"a")]), "image_urls.1"),
        Source("image_urls.2", picture("PNG"), "image_urls.2"),
        Source("image_archive_url", zipped([("b.txt", b"b"), ("3.jpg", picture())])),
    ]
    photos = read_sources(files, skipped.append)
    assert [photo.name for photo in photos] == [
        "image_urls.0",
        "image_urls.1/1.jpg",
        "image_urls.1/2.jpg",
        "image_urls.2",
        "3.jpg",
    ]
    assert [one.name for one in skipped] == ["image_urls.1/a.txt", "b.txt"]


def test_single_photos_are_decoded_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for another."""
    both = threading.Barrier(2)

    def read(data: bytes, **options: Any) -> list[Photo]:
        both.wait(PATIENCE)
        return read_photos(data, **options)

    monkeypatch.setattr(sources, "read_photos", read)
    monkeypatch.setattr(sources, "decoders", lambda: Decoders(2))
    assert len(read_sources([Source(f"image_urls.{number}", picture()) for number in range(4)])) == 4


@pytest.mark.parametrize("broken", [[1], [1, 3]])
def test_the_first_file_that_is_wrong_is_named(broken: list[int]) -> None:
    files = [
        Source(f"image_urls.{number}", picture()[:200] if number in broken else picture(), str(number))
        for number in range(5)
    ]
    with pytest.raises(ImageLoadError) as caught:
        read_sources(files)
    assert caught.value.field == "image_urls.1"


def test_too_many_photos_together() -> None:
    archive = zipped([(f"{number}.jpg", picture()) for number in range(MAX_PHOTOS)])
    with pytest.raises(TooManyPhotosError) as caught:
        read_sources([Source("image_archive_url", archive), Source("image_urls.0", picture())])
    assert caught.value.field == "image_urls.0"


def test_what_is_under_way_ends_with_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is wrong ends the reading of those behind it."""
    ended = threading.Event()

    def read(data: bytes, *, field: str, check: Any, **_: Any) -> list[Photo]:
        if field == "image_urls.0":
            raise RequestError(field, "wrong")
        try:
            for _ in range(int(100 * PATIENCE)):
                check()
                ended.wait(0.01)
        except Cancelled:
            ended.set()
            raise
        raise AssertionError("nobody ended it")

    monkeypatch.setattr(sources, "read_photos", read)
    monkeypatch.setattr(sources, "decoders", lambda: Decoders(2))
    with pytest.raises(RequestError, match="wrong"):
        read_sources([Source(f"image_urls.{number}", picture()) for number in range(2)])


def test_several_archives_may_cost_what_one_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, bytes and seconds are a request's, or fifty archives would have fifty times as much of each."""
    one = zipped([("a.jpg", picture()), *((f"{number}.txt", b"") for number in range(14))])
    several = [Source(f"image_urls.{number}", one) for number in range(2)]
    assert len(read_sources(several)) == 2
    monkeypatch.setattr(meter, "MAX_ENTRIES", 20)
    with pytest.raises(InvalidArchiveError, match="entries") as entries:
        read_sources(several)
    monkeypatch.undo()
    monkeypatch.setattr(meter, "MAX_EXPANDED_BYTES", len(picture()) * 3 // 2)
    with pytest.raises(FileTooLargeError) as expanded:
        read_sources(several)
    assert entries.value.field == expanded.value.field == "image_urls.1"


def test_time_for_reading_begins_once_for_all_files(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[float] = []

    def read(data: bytes, *, allowance: meter.Allowance, **options: Any) -> list[Photo]:
        deadlines.append(allowance.deadline)
        return read_photos(data, allowance=allowance, **options)

    monkeypatch.setattr(sources, "read_photos", read)
    read_sources([Source("image_urls.0", picture()), Source("image_urls.1", zipped([("a.jpg", picture())]))])
    assert len(deadlines) == 2
    assert len(set(deadlines)) == 1


def test_all_downloads_have_one_room_while_the_first_is_still_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_ARCHIVE_BYTES", 1000)
    held, refused, rooms = [], threading.Event(), set[Room]()

    def fetch(url: str, field: str, room: Room) -> bytes:
        rooms.add(room)
        if url == "slow":
            assert refused.wait(PATIENCE), "nobody looks before the first is done"
            return b""
        try:
            room.take(300, field)
        except FileTooLargeError:
            refused.set()
            raise
        held.append(field)
        return bytes(300)

    with pytest.raises(FileTooLargeError) as caught:
        downloaded([("image_urls.0", "slow"), *((f"image_urls.{number}", "quick") for number in range(1, 9))], fetch)
    assert (len(held), len(rooms)) == (3, 1)
    assert caught.value.field not in held
    assert 0 < rooms.pop().seconds() <= 120


def test_an_error_does_not_wait_for_the_downloads_beside_it() -> None:
    begun, ended = threading.Event(), threading.Event()

    def fetch(url: str, field: str, room: Room) -> bytes:
        if url == "wrong":
            assert begun.wait(PATIENCE)
            raise RequestError(field, "wrong")
        begun.set()
        for _ in range(int(100 * PATIENCE)):
            if room.closed:
                ended.set()
                raise Cancelled
            ended.wait(0.01)
        raise AssertionError("nobody ended it")

    with pytest.raises(RequestError, match="wrong"):
        downloaded([("image_urls.0", "wrong"), ("image_urls.1", "silent")], fetch)
    assert ended.is_set()
