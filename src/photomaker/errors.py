"""Every error that a request can earn, with the words, type and context that fal documents.

RequestError                            422, one entry of fal's ``detail`` list
├── PromptError                         value_error
├── TextTooLongError                    sequence_too_long         max_length
├── FileDownloadError                   file_download_error
├── FileTooLargeError                   file_too_large            max_size
├── ArchiveError
│   ├── InvalidArchiveError             invalid_archive           supported_extensions
│   └── PhotoCountError
│       ├── TooFewPhotosError           archive_file_count_below_minimum    min_count
│       └── TooManyPhotosError          archive_file_count_exceeds_maximum  max_count
├── ImageError
│   ├── ImageLoadError                  image_load_error
│   ├── ImageTooSmallError              image_too_small           min_height, min_width
│   ├── ImageTooLargeError              image_too_large           max_height, max_width
│   └── UnsupportedImageFormatError     unsupported_image_format  supported_formats
├── FaceDetectionError                  face_detection_error
├── ContentPolicyError                  content_policy_violation
└── FeatureNotSupportedError            feature_not_supported

Cancelled                               the caller took the request back; 499 on the wire

What pydantic refuses (types, ranges, and fal's ``one_of`` for enums) is schema.py's.

Types and contexts: https://docs.fal.ai/errors. Nothing here knows HTTP beyond the status code that fal's
documentation gives a type; photomaker_app.py turns these into responses.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from traceback import extract_tb
from typing import Any, ClassVar

DOCUMENTATION = "https://docs.fal.ai/errors"
SUPPORTED_FORMATS = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tiff", "heic", "heif", "avif")
SUPPORTED_EXTENSIONS = ("zip", "tar", "tar.gz", "tgz", "tar.bz2", *SUPPORTED_FORMATS)
SHOWN_INPUT = 256  # characters of the caller's own value that an error repeats
SHOWN_ENTRIES = 16  # of its lists and objects


class RequestError(Exception):
    """A request that cannot be served as it was sent.

    Args:
        field: The input field to change, as the caller named it; "image_urls.2" is an entry of a list.
        message: What is wrong and what to change, in one or two sentences.
        input: The caller's value, repeated in the error; long strings are shortened.
        **context: The ``ctx`` that fal documents for this type.
    """

    type: ClassVar[str] = "value_error"
    status: ClassVar[int] = 422

    def __init__(self, field: str, message: str, *, input: object = None, **context: Any) -> None:  # noqa: A002
        super().__init__(message)
        self.field = field
        self.message = message
        self.input = input
        self.context = context

    def as_detail(self) -> dict[str, Any]:
        """One entry of the ``detail`` list: loc, msg, type, url, and ctx and input where there are any."""
        detail: dict[str, Any] = {
            "loc": ["body", *(int(part) if part.isdecimal() else part for part in self.field.split("."))],
            "msg": self.message,
            "type": self.type,
            "url": f"{DOCUMENTATION}#{self.type}",
        }
        if self.context:
            detail["ctx"] = self.context
        if self.input is not None:
            detail["input"] = shortened(self.input)
        return detail


class PromptError(RequestError):
    """The prompt (or the negative prompt) is not written as the method needs it."""


class TextTooLongError(RequestError):
    type = "sequence_too_long"

    def __init__(self, field: str, message: str, *, max_length: int, input: object = None) -> None:  # noqa: A002
        super().__init__(field, message, input=input, max_length=max_length)


class FileDownloadError(RequestError):
    type = "file_download_error"


class FileTooLargeError(RequestError):
    type = "file_too_large"

    def __init__(self, field: str, message: str, *, max_size: int, input: object = None) -> None:  # noqa: A002
        super().__init__(field, message, input=input, max_size=max_size)


class ArchiveError(RequestError):
    """What came down is not an archive of photos."""


class InvalidArchiveError(ArchiveError):
    type = "invalid_archive"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message, supported_extensions=list(SUPPORTED_EXTENSIONS))


class PhotoCountError(ArchiveError):
    """Too few or too many photos; the limit is the ``min_count`` or the ``max_count`` of the type's context."""

    def __init__(self, field: str, message: str, *, provided_count: int, **limit: int) -> None:
        extensions = list(SUPPORTED_EXTENSIONS)
        super().__init__(field, message, **limit, provided_count=provided_count, supported_extensions=extensions)


class TooFewPhotosError(PhotoCountError):
    type = "archive_file_count_below_minimum"


class TooManyPhotosError(PhotoCountError):
    type = "archive_file_count_exceeds_maximum"


class ImageError(RequestError):
    """One picture among the caller's files cannot be used."""


class ImageLoadError(ImageError):
    type = "image_load_error"


class ImageTooSmallError(ImageError):
    type = "image_too_small"

    def __init__(self, field: str, message: str, *, min_height: int, min_width: int) -> None:
        super().__init__(field, message, min_height=min_height, min_width=min_width)


class ImageTooLargeError(ImageError):
    type = "image_too_large"

    def __init__(self, field: str, message: str, *, max_height: int, max_width: int) -> None:
        super().__init__(field, message, max_height=max_height, max_width=max_width)


class UnsupportedImageFormatError(ImageError):
    type = "unsupported_image_format"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(field, message, supported_formats=list(SUPPORTED_FORMATS))


class FaceDetectionError(RequestError):
    type = "face_detection_error"


class ContentPolicyError(RequestError):
    type = "content_policy_violation"


class FeatureNotSupportedError(RequestError):
    type = "feature_not_supported"


class Cancelled(Exception):  # noqa: N818 - not an error of anybody's
    """The caller took the request back; raised wherever a request waits or works for long."""

    def __init__(self, message: str = "Request cancelled by the client.") -> None:
        super().__init__(message)


class OwnFault(Exception):  # noqa: N818
    """Something of ours failed while a caller's file was being read: a 500, and no word against the file."""


@contextmanager
def typed(make: Callable[[], RequestError]) -> Iterator[None]:
    """The boundary around whatever reads what a caller sent: every other exception becomes the error made here.

    Libraries promise no list of exceptions for bytes from a stranger, so none is relied on.
    """
    try:
        yield
    except (RequestError, Cancelled, OwnFault):
        raise
    except Exception as error:
        raise make() from error


def cause(error: BaseException) -> str:
    """What lies under an error, for the log: " (type: words at place)", without a path of this machine; or nothing."""
    beneath = error.__cause__
    if beneath is None:
        return ""
    frames = extract_tb(beneath.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    words = " ".join(str(beneath)[:SHOWN_INPUT].split())
    return f" ({type(beneath).__name__}: {words}{place})"


def shortened(value: object, depth: int = 2) -> object:
    """The value as an error repeats it, always fit for JSON.

    A long string loses its middle, a data URI all but its beginning, a list or an object what is beyond its first
    few entries or too deep in it.
    """
    if isinstance(value, str):
        return _shortened_text(value.encode("utf-8", "replace").decode("utf-8"))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<binary {len(value)} bytes>"
    if isinstance(value, Mapping):
        if not depth:
            return "{…}"
        kept = {str(shortened(str(key))): shortened(value[key], depth - 1) for key in islice(value, SHOWN_ENTRIES)}
        return kept if len(value) <= SHOWN_ENTRIES else {**kept, "…": f"{len(value) - SHOWN_ENTRIES} more"}
    if isinstance(value, list | tuple):
        if not depth:
            return "[…]"
        kept_items = [shortened(item, depth - 1) for item in value[:SHOWN_ENTRIES]]
        return kept_items if len(value) <= SHOWN_ENTRIES else [*kept_items, "…"]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and value.bit_length() > 1024:
        return f"<an integer of {value.bit_length()} bits>"
    return value if value is None or isinstance(value, bool | int | float) else _shortened_text(str(value))


def _shortened_text(text: str) -> str:
    if len(text) <= SHOWN_INPUT:
        return text
    if text.startswith("data:"):
        return text[:64] + "…"
    half = SHOWN_INPUT // 2
    return text[:half] + "…" + text[-half:]
