"""An archive of photos, or a single one: bytes → upright RGB photos in the order of their names.

Nothing is extracted to disk. At any time only a few files are expanded and being decoded, however many photos
there are.
"""

import re
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image

from photomaker.errors import ImageError, TooFewPhotosError, TooManyPhotosError
from photomaker.photos.containers import ZIP_DAMAGE, Meter, Read, Skipped, members, printable
from photomaker.photos.images import DECODERS, MAX_PHOTO_SIDE, SNIFFED_BYTES, decode, is_image, quiet_reader, read_image

__all__ = ["MAX_PHOTOS", "MAX_PHOTO_SIDE", "Photo", "read_image", "read_photos"]

MIN_PHOTOS = 1
MAX_PHOTOS = 50
MAX_PHOTO_BYTES = 64 * 1024**2  # one file, expanded


@dataclass(frozen=True)
class Photo:
    """One usable photo.

    Attributes:
        name: Its path inside the archive made printable, or "image" for a single image; for logs and errors.
        image: RGB, upright, at most ``max_side`` pixels a side.
    """

    name: str
    image: Image.Image


def read_photos(
    data: bytes,
    *,
    field: str = "image_archive_url",
    max_side: int = MAX_PHOTO_SIDE,
    on_skipped: Skipped = lambda line: None,
) -> list[Photo]:
    """The photos in a zip, tar, tar.gz or tar.bz2 archive, or the single image, that ``data`` holds.

    Folders, hidden files and ``__MACOSX`` are passed over. What is not an image, and images that cannot be
    used beside others that can, are skipped.

    Args:
        data: The file, as downloaded.
        field: The input field it came from; errors carry it.
        max_side: Pixels; photos with a longer side are scaled down to it.
        on_skipped: Takes one line about each skipped file.

    Returns:
        1 to ``MAX_PHOTOS`` photos in natural order of their names (``2.jpg`` before ``10.jpg``).

    Raises:
        InvalidArchiveError: Not an archive, encrypted, cut short, damaged, or with too many entries.
        FileTooLargeError: More than ``MAX_PHOTO_BYTES`` a photo or ``MAX_EXPANDED_BYTES`` in all, expanded.
        TooFewPhotosError: No image among the files.
        TooManyPhotosError: More than ``MAX_PHOTOS`` images.
        ImageError: Images, but none usable; what is wrong with the first.
    """
    with quiet_reader():
        meter = Meter(field)
        files = members(data, meter, on_skipped)
        if files is None:
            return [Photo("image", decode(data, field=field, max_side=max_side))]
        photos: list[Photo] = []
        failures: list[ImageError] = []
        with ThreadPoolExecutor(DECODERS, thread_name_prefix="photo") as pool:
            running: deque[tuple[str, Future[Image.Image]]] = deque()

            def finish_one() -> None:
                name, decoding = running.popleft()
                try:
                    photos.append(Photo(name, decoding.result()))
                except ImageError as error:
                    failures.append(error)
                    on_skipped(f"skipped: {error.message}")

            for name, content in _images(files, meter, on_skipped):
                if len(photos) + len(failures) + len(running) == MAX_PHOTOS:
                    raise TooManyPhotosError(
                        field,
                        f"The archive holds more than {MAX_PHOTOS} photos. Send the best ones only.",
                        max_count=MAX_PHOTOS,
                        provided_count=MAX_PHOTOS + 1,
                    )
                if len(running) > DECODERS:
                    finish_one()
                running.append((name, pool.submit(decode, content, field=field, max_side=max_side, name=name)))
            while running:
                finish_one()
    if failures and not photos:
        raise failures[0]
    if len(photos) < MIN_PHOTOS:
        raise TooFewPhotosError(
            field,
            "The archive holds no photo. Send at least one JPEG, PNG, WebP or HEIC file in it.",
            min_count=MIN_PHOTOS,
            provided_count=0,
        )
    return sorted(photos, key=lambda photo: _natural(photo.name))


def _images(files: Iterator[tuple[str, Read]], meter: Meter, on_skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    for name, read in files:
        shown = printable(name)
        try:
            head = read(SNIFFED_BYTES)
            if not is_image(head):
                on_skipped(f"skipped: {shown} is not an image in a supported format.")
                continue
            content = head + read(MAX_PHOTO_BYTES + 1 - len(head))
        except ZIP_DAMAGE:
            content = b""  # which no decoder takes for a picture, so it goes the way of damaged pictures
        if len(content) > MAX_PHOTO_BYTES:
            raise meter.too_large(f"{shown} expands", MAX_PHOTO_BYTES)
        yield shown, content


def _natural(name: str) -> list[str | int]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.casefold())]
