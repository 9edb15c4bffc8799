"""Photos sent one by one, in archives, or both."""

import threading
from typing import Any

import pytest

from photomaker.errors import Cancelled, ImageLoadError, RequestError, TooManyPhotosError
from photomaker.photos import sources
from photomaker.photos.archive import MAX_PHOTOS, Photo, Skipped, read_photos
from photomaker.photos.decoders import Decoders
from photomaker.photos.sources import Source, read_sources
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
