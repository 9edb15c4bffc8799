"""One picture from a stranger: bytes → an upright RGB image of bounded size, or the error that says why not."""

from PIL import Image

from photomaker.errors import (
    ImageError,
    ImageLoadError,
    ImageTooLargeError,
    ImageTooSmallError,
    UnsupportedImageFormatError,
    typed,
)
from photomaker.photos.decoders import Check, Undecodable, decoders
from photomaker.photos.decoding import Refusal
from photomaker.photos.formats import MAX_RATIO, MAX_SIDE, MIN_SIDE, SNIFFED_BYTES, is_image

# A face that fills an eighth of a wide photo is still 192 px here: more than the face detector aligns (112 px)
# and about what the ID encoder sees (224 px). Larger sides would cost decoding time and memory for nothing.
MAX_PHOTO_SIDE = 1536


def read_image(
    data: bytes,
    *,
    field: str = "initial_image_url",
    max_side: int = MAX_PHOTO_SIDE,
    name: str = "The image",
    check: Check = lambda: None,
) -> Image.Image:
    """One picture, such as the one that image-to-image begins with.

    It is decoded in a process of its own (decoders.py), within limits of memory and time that the system keeps.

    Args:
        data: A JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF file; of an animation the first frame.
        field: The input field it came from; errors carry it.
        max_side: Pixels; a picture with a longer side is scaled down to it.
        name: What errors call it.
        check: Called several times a second; what it raises ends the reading at once.

    Returns:
        RGB, upright, transparency on white.

    Raises:
        UnsupportedImageFormatError: It is of another format, or no picture at all.
        ImageLoadError: It is empty, cut short, damaged, or takes more time or memory than any photo does.
        ImageTooSmallError: A side is shorter than ``MIN_SIDE``, or than the ``MAX_RATIO``-th part of the other.
        ImageTooLargeError: A side is longer than ``MAX_SIDE``.
    """
    if data and not is_image(data[:SNIFFED_BYTES]):
        raise UnsupportedImageFormatError(
            field,
            f"{name} is not a picture in a supported format. Send JPEG, PNG, WebP or HEIC.",
        )
    with typed(lambda: _damaged(field, name)):
        try:
            return decoders().decode(data, max_side, check)
        except Undecodable as error:
            raise _explained(error, field, name) from error


def _explained(error: Undecodable, field: str, name: str) -> ImageError:
    match error.refusal:
        case Refusal.TOO_SMALL:
            return ImageTooSmallError(
                field,
                f"{name} is {error.width} by {error.height} pixels. Send a picture of at least {MIN_SIDE} by "
                f"{MIN_SIDE}, one side at most {MAX_RATIO} times the other.",
                min_height=MIN_SIDE,
                min_width=MIN_SIDE,
            )
        case Refusal.TOO_LARGE:
            return ImageTooLargeError(
                field,
                f"{name} is {error.width} by {error.height} pixels. Send it with sides of at most {MAX_SIDE}.",
                max_height=MAX_SIDE,
                max_width=MAX_SIDE,
            )
        case Refusal.TIME | Refusal.MEMORY | Refusal.KILLED:
            what = Refusal.TIME if error.refusal is Refusal.TIME else Refusal.MEMORY  # for which systems kill
            return ImageLoadError(
                field,
                f"{name} takes more {what} to open than any photo does. Save it again as an ordinary JPEG.",
            )
        case _:
            return _damaged(field, name)


def _damaged(field: str, name: str) -> ImageLoadError:
    return ImageLoadError(
        field, f"{name} cannot be read. Make sure that the file is complete and opens in an image viewer."
    )
