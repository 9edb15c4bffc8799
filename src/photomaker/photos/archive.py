"""An archive of photos, or a single one: bytes → upright RGB photos in the order of their names.

Nothing is extracted to disk. At any time only a few files are expanded and being decoded, however many photos
there are.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from photomaker.errors import (
    Cancelled,
    ImageError,
    InvalidArchiveError,
    OwnFault,
    RequestError,
    TooFewPhotosError,
    TooManyPhotosError,
    typed,
)
from photomaker.photos.containers import Read, members
from photomaker.photos.decoders import MAX_FILE_BYTES, Check, decoders
from photomaker.photos.formats import SNIFFED_BYTES, is_image
from photomaker.photos.images import MAX_PHOTO_SIDE, read_image
from photomaker.photos.meter import Allowance, Meter
from photomaker.photos.names import natural, printable

__all__ = ["MAX_PHOTOS", "MAX_PHOTO_BYTES", "MAX_PHOTO_SIDE", "Photo", "read_image", "read_photos"]

MIN_PHOTOS = 1
MAX_PHOTOS = 50
MAX_PHOTO_BYTES = MAX_FILE_BYTES  # one file, expanded


@dataclass(frozen=True)
class Photo:
    """One usable photo.

    Attributes:
        name: Its path inside the archive made printable, or "image" for a single image; for logs and errors.
        image: RGB, upright, at most ``max_side`` pixels a side.
    """

    name: str
    image: Image.Image


@dataclass(frozen=True)
class Skipped:
    """A file that is passed over.

    Attributes:
        name: As a photo's.
        reason: Why, in a sentence that names it.
    """

    name: str
    reason: str


OnSkipped = Callable[[Skipped], None]


def read_photos(
    data: bytes,
    *,
    field: str = "image_archive_url",
    max_side: int = MAX_PHOTO_SIDE,
    on_skipped: OnSkipped = lambda skipped: None,
    check: Check = lambda: None,
    allowance: Allowance | None = None,
) -> list[Photo]:
    """The photos in a zip, tar, tar.gz or tar.bz2 archive, or the single image, that ``data`` holds.

    Folders, hidden files and ``__MACOSX`` are passed over. What is not an image, and images that cannot be
    used beside others that can, are skipped.

    Args:
        data: The file, as downloaded.
        field: The input field it came from; errors carry it.
        max_side: Pixels; photos with a longer side are scaled down to it.
        on_skipped: Told about each skipped file.
        check: Called several times a second; what it raises ends the reading at once.
        allowance: Of the request, where it has several files.

    Returns:
        1 to ``MAX_PHOTOS`` photos in natural order of their names (``2.jpg`` before ``10.jpg``).

    Raises:
        InvalidArchiveError: Not an archive, encrypted, cut short, damaged, with too many entries, or packed by a
            method that is not read.
        FileTooLargeError: More than ``MAX_PHOTO_BYTES`` a photo or ``MAX_EXPANDED_BYTES`` in all, expanded.
        TooFewPhotosError: No image among the files.
        TooManyPhotosError: More than ``MAX_PHOTOS`` images.
        ImageError: Images, but none usable; what is wrong with the first.
    """
    meter = Meter(field, check, allowance)
    unread: list[str] = []

    def on_unread(name: str, method: str) -> None:
        unread.append(method)
        on_skipped(Skipped(name, f"{name} is packed with {method}, which is not read."))

    with typed(lambda: meter.invalid("The archive cannot be read. Make it again as a zip of photos.")):
        files = members(data, meter, on_unread)
        if isinstance(files, bytes):
            image = read_image(files, field=field, max_side=max_side, check=meter.look)
            return [Photo("image", image)]
        photos, failures = _decoded(_images(files, meter, on_skipped), meter, max_side, on_skipped)
    if failures and not photos:
        raise failures[0]
    if not photos and unread:
        raise InvalidArchiveError(
            field, f"The zip's files are packed with {unread[0]}, which is not read. Make it with the usual Deflate."
        )
    if len(photos) < MIN_PHOTOS:
        raise TooFewPhotosError(
            field,
            "The archive holds no photo. Send at least one JPEG, PNG, WebP or HEIC file in it.",
            min_count=MIN_PHOTOS,
            provided_count=0,
        )
    return sorted(photos, key=lambda photo: natural(photo.name))


def _decoded(
    images: Iterator[tuple[str, bytes]], meter: Meter, max_side: int, on_skipped: OnSkipped
) -> tuple[list[Photo], list[ImageError]]:
    """The photos that can be used, and what is wrong with the others."""
    photos: list[Photo] = []
    failures: list[ImageError] = []
    running: deque[tuple[str, Future[Image.Image]]] = deque()
    given_up = threading.Event()
    at_once = decoders().count

    def check() -> None:
        meter.look()
        if given_up.is_set():
            raise Cancelled

    def start(name: str, content: bytes) -> Future[Image.Image]:
        return pool.submit(read_image, content, field=meter.field, max_side=max_side, name=name, check=check)

    def finish_one() -> None:
        name, decoding = running.popleft()
        try:
            photos.append(Photo(name, decoding.result()))
        except ImageError as error:
            failures.append(error)
            on_skipped(Skipped(name, error.message))

    with ThreadPoolExecutor(at_once, thread_name_prefix="photo") as pool:
        try:
            for name, content in images:
                if len(photos) + len(failures) + len(running) == MAX_PHOTOS:
                    raise TooManyPhotosError(
                        meter.field,
                        f"The archive holds more than {MAX_PHOTOS} photos. Send the best ones only.",
                        max_count=MAX_PHOTOS,
                        provided_count=MAX_PHOTOS + 1,
                    )
                if len(running) > at_once:
                    finish_one()
                running.append((name, start(name, content)))
            while running:
                finish_one()
        except BaseException:
            given_up.set()
            raise
    return photos, failures


def _images(files: Iterator[tuple[str, Read]], meter: Meter, on_skipped: OnSkipped) -> Iterator[tuple[str, bytes]]:
    for name, read in files:
        shown = printable(name)
        try:
            head = read(SNIFFED_BYTES)
            if not is_image(head):
                on_skipped(Skipped(shown, f"{shown} is not an image in a supported format."))
                continue
            content = head + read(MAX_PHOTO_BYTES + 1 - len(head))
        except (RequestError, Cancelled, OwnFault):
            raise
        except Exception:  # a damaged member of a zip
            content = b""  # which no decoder takes for a picture, so it goes the way of damaged pictures
        if len(content) > MAX_PHOTO_BYTES:
            raise meter.too_large(f"{shown} expands", MAX_PHOTO_BYTES)
        yield shown, content
