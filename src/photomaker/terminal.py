"""What the command line shows: reports as tables, and how far the work has come."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from photomaker.reports import Inspection

console = Console()
errors = Console(stderr=True)


def tables(report: Inspection) -> Iterator[Table | str]:
    """A report as a person reads it."""
    table = Table("photo", "pixels", "whose face", "similarity", "sharpness", "used")
    for photo in report.photos:
        face = {None: "-", False: "no face", True: photo.whose or "cannot be told"}[photo.face]
        table.add_row(
            escape(photo.name),
            f"{photo.width} x {photo.height}" if photo.width else "-",
            face,
            "-" if photo.similarity is None else f"{photo.similarity:.2f}",
            "-" if photo.sharpness is None else f"{photo.sharpness:.0f}",
            "yes" if photo.used else escape(f"no: {photo.reason}"),
        )
    yield table
    if report.person is not None:
        person = report.person
        sure = "" if person.agreement is None else f", alike by {person.agreement:.2f}"
        yield f"The person is in {person.photos} photos{sure}; somebody else in {person.others}."
    if report.prompt is not None:
        prompt = report.prompt
        dropped = escape(f": {prompt.dropped}") if prompt.dropped else ""
        yield (
            f'The class word is "{escape(prompt.class_word)}", with room for {prompt.room} photos; '
            f"{prompt.tokens_used} tokens used, {prompt.tokens_dropped} dropped{dropped}."
        )


def progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def downloads() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console
    )
