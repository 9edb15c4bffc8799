"""A request looked at without making pictures: what would be used of its photos and prompt, and every fault at once."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from photomaker.errors import RequestError, TooManyPhotosError
from photomaker.method.prompts import Prompt, check_room
from photomaker.photos.archive import Photo, Skipped
from photomaker.photos.looks import NOT_THE_PERSON, Look, Looks, no_face
from photomaker.photos.sources import Fetch, Source, check_count, downloads, read_each
from photomaker.reports import ChosenPerson, Fault, InspectedPhoto, InspectedPrompt, Inspection
from photomaker.request import Listener

if TYPE_CHECKING:
    from photomaker.photos.faces import FaceFinder


class Faults:
    """Collects what would be refused, so that one fault does not hide the next."""

    def __init__(self) -> None:
        self.found: list[Fault] = []

    def add(self, error: RequestError) -> None:
        detail = error.as_detail()
        self.found.append(Fault(loc=detail["loc"], msg=detail["msg"], type=detail["type"]))

    def attempt(self, work: Callable[[], Any]) -> Any:
        """What the work gives; None where it is refused."""
        try:
            return work()
        except RequestError as error:
            self.add(error)
            return None


def fetched(urls: Sequence[tuple[str, str]], fetch: Fetch, faults: Faults) -> list[tuple[str, bytes]]:
    """(field, file) of each URL that can be downloaded, several at a time, the bytes of all of them bounded."""
    files: list[tuple[str, bytes]] = []
    said: list[RequestError] = []
    with downloads(urls, fetch) as running:
        for (field, _), download in zip(urls, running, strict=True):
            try:
                files.append((field, download.result()))
            except RequestError as error:
                if error not in said:  # all that find no room have the one error
                    said.append(error)
                    faults.add(error)
    return files


def inspected(
    sources: Sequence[Source],
    prompt: Prompt | None,
    text: str,
    faces: "FaceFinder | None",
    faults: Faults,
    listener: Listener,
) -> Inspection:
    """The report.

    Args:
        sources: The photos' files.
        prompt: As the second tokenizer reads it; None: it cannot be read.
        text: The prompt with the style's words.
        faces: Finds the person; None: photos are passed on as they are.
        faults: Found so far; more are added.
        listener: Asked whether the caller is still there.
    """
    photos: list[Photo] = []
    unread: list[InspectedPhoto] = []

    def on_skipped(skipped: Skipped) -> None:
        nothing: dict[str, Any] = dict.fromkeys(("width", "height", "face", "whose", "similarity", "sharpness"))
        unread.append(InspectedPhoto(name=skipped.name, **nothing, used=False, reason=skipped.reason))

    with closing(read_each(sources, on_skipped, listener.check)) as reading:
        for source, read in reading:
            photos += faults.attempt(read) or []
            try:
                check_count(len(photos), source.field)
            except TooManyPhotosError as error:
                faults.add(error)
                photos = photos[: error.context["max_count"]]
                break
    room = None if prompt is None else prompt.room
    looks = None
    if faces is None:
        if room is not None:
            faults.attempt(lambda: check_room(len(photos), room))
    elif photos:
        looks = faces.look(photos, limit=room, check=listener.check)
        if not looks.portraits:
            faults.add(no_face([photo.name for photo in photos], sources[0].field))
    used = len(photos) if looks is None else len(looks.portraits)
    views: Sequence[Look | None] = [None] * len(photos) if looks is None else looks.of
    return Inspection(
        ok=not faults.found,
        faults=faults.found,
        photos=[*(of_photo(photo, look) for photo, look in zip(photos, views, strict=True)), *unread],
        person=None if looks is None or not looks.portraits else of_person(looks),
        prompt=None if prompt is None else of_prompt(prompt, text, min(used, prompt.room)),
    )


def of_photo(photo: Photo, look: Look | None) -> InspectedPhoto:
    if look is None:
        seen: dict[str, Any] = {"face": None, "whose": None, "similarity": None, "sharpness": None}
        seen |= {"used": True, "reason": None}
    else:
        from photomaker.photos.face import sharpness  # a deployment without faces starts without InsightFace

        other = look.reason == NOT_THE_PERSON
        seen = {
            "face": look.face is not None,
            "whose": None if look.similarity is None else "somebody else" if other else "person",
            "similarity": look.similarity,
            "sharpness": None if look.face is None else round(sharpness(look.face), 1),
            "used": look.reason is None,
            "reason": look.reason,
        }
    return InspectedPhoto(name=photo.name, width=photo.image.width, height=photo.image.height, **seen)


def of_person(looks: Looks) -> ChosenPerson:
    shown = [look for look in looks.of if look.similarity is not None and look.reason != NOT_THE_PERSON]
    return ChosenPerson(photos=len(shown), agreement=looks.agreement, others=looks.others)


def of_prompt(prompt: Prompt, text: str, photos: int) -> InspectedPrompt:
    """``photos`` of them are in it; none are counted as one, which it has room for."""
    photos = max(1, photos)
    longest = int(prompt.tokenizer.model_max_length)
    dropped = prompt.tokens(photos).dropped
    whole = len(prompt.ids) - 2 + photos * prompt.tokens_per_photo  # without the trigger, the class word repeated
    return InspectedPrompt(
        text=text,
        class_word=class_word(prompt),
        room=prompt.room,
        tokens_used=min(longest, whole),
        tokens_dropped=max(0, whole - longest),
        dropped=dropped,
    )


def class_word(prompt: Prompt) -> str:
    """The word before the trigger, all of its tokens."""
    tokens = prompt.tokenizer.convert_ids_to_tokens(list(prompt.ids[: prompt.class_word + 1]))
    start = prompt.class_word
    while start > 1 and not tokens[start - 1].endswith("</w>"):
        start -= 1
    return str(prompt.tokenizer.decode(prompt.ids[start : prompt.class_word + 1])).strip()
