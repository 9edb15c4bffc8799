"""Names of files inside an archive: labels, never paths."""

import re

SHOWN_NAME = 120  # characters


def is_hidden(name: str) -> bool:
    """Whether it is what systems put into archives beside a person's own files."""
    parts = re.split(r"[/\\]", name)
    return any(part == "__MACOSX" or (part[:1] == "." and part not in (".", "..")) for part in parts)


def printable(name: str) -> str:
    """A name as messages may carry it: its end, where the file's own name is, without control characters."""
    shown = name.removeprefix("./")[-SHOWN_NAME:]
    return "".join(character if character.isprintable() else "?" for character in shown) or "A nameless file"


def natural(name: str) -> list[str | int]:
    """What to sort by, so that ``2.jpg`` comes before ``10.jpg``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name.casefold())]
