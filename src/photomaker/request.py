"""What a caller asks for, whom the work tells about it, and what comes out."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image

from photomaker.errors import Cancelled, TooFewPhotosError
from photomaker.method.styles import DEFAULT_STYLE
from photomaker.photos.sources import Source

ARCHIVE_FIELD = "image_archive_url"
SEVERAL_FIELD = "image_urls"
STEPS = ("download", "faces", "encode", "denoise", "decode")  # what is timed, in the order in which it happens


@dataclass(frozen=True)
class Request:
    """What a caller asks for, by the endpoints' own names.

    ``photos`` and ``initial_image`` stand in for their URLs where the bytes are at hand already: of one photo or
    archive, or of several by name.
    """

    prompt: str
    image_archive_url: str | None = None
    image_urls: tuple[str, ...] = ()
    base_pipeline: str = "photomaker"
    initial_image_url: str | None = None
    initial_image_strength: float = 0.5
    style: str = DEFAULT_STYLE
    negative_prompt: str = ""
    num_inference_steps: int = 50
    style_strength: int = 20
    num_images: int = 1
    guidance_scale: float = 5.0
    seed: int = 0
    image_size: str | tuple[int, int] | None = None  # a preset or (width, height); None: the deployment's own
    enable_safety_checker: bool = True
    photos: bytes | Mapping[str, bytes] | None = field(default=None, repr=False)
    initial_image: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Verdict:
    """What became of one of the caller's photos.

    Attributes:
        name: In its archive, or of its field.
        reason: Why it was left out; None: it was used.
    """

    name: str
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """One finished picture.

    Attributes:
        image: RGB; black where it is withheld, so that picture i stays the one of seed + i.
        withheld: The safety check flagged it.
        compare: Gives an image's likeness to the photos; None where it was not told from faces who is in them.
    """

    image: Image.Image
    withheld: bool = False
    compare: Callable[[Image.Image], float | None] | None = field(default=None, repr=False)

    @cached_property
    def likeness(self) -> float | None:
        """-1 to 1: how much its face is the photos' (:mod:`photomaker.pictures.likeness`); None without a face.

        Looked for when it is first asked for, which can be beside the next picture's decoding.
        """
        return None if self.withheld or self.compare is None else self.compare(self.image)


@dataclass
class Report:
    """What there is to say of a request beside its pictures; filled in while it is worked on.

    Attributes:
        prompt: With the style's words.
        photos: A verdict for each of the caller's photos.
        seconds: Of each of ``STEPS``, as far as the request has come.
    """

    prompt: str = ""
    photos: tuple[Verdict, ...] = ()
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STEPS, 0.0))


@dataclass(frozen=True)
class Listener:
    """Whom a running request tells, and asks."""

    log: Callable[[str], None] = lambda line: None
    on_step: Callable[[int, int], None] = lambda done, steps: None
    on_preview: Callable[[int, int, list[bytes]], None] | None = None  # (steps done, steps in all, JPEGs)
    cancelled: Callable[[], bool] = lambda: False
    report: Report = field(default_factory=Report)

    def check(self) -> None:
        """Raises Cancelled once the caller has taken the request back."""
        if self.cancelled():
            raise Cancelled

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Adds what happens inside to the seconds of a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.report.seconds[step] += time.perf_counter() - started


def addresses(request: Request) -> list[tuple[str, str]]:
    """(field, URL) of each file of photos.

    Raises:
        TooFewPhotosError: There is none.
    """
    urls = [(f"{SEVERAL_FIELD}.{number}", url) for number, url in enumerate(request.image_urls)]
    if request.image_archive_url is not None:
        urls.append((ARCHIVE_FIELD, request.image_archive_url))
    if not urls:
        raise TooFewPhotosError(
            SEVERAL_FIELD,
            f"There are no photos. Send them in {SEVERAL_FIELD}, or an archive of them in {ARCHIVE_FIELD}.",
            min_count=1,
            provided_count=0,
        )
    return urls


def named(request: Request, files: Sequence[tuple[str, bytes]]) -> list[Source]:
    """Files as sources: photos of an archive alone are called by their own names, others by their field's as well."""
    return [Source(field, data, field if request.image_urls else "") for field, data in files]
