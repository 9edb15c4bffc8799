"""A failure of ours as lines of a log that callers may read too: where and what, without a path of this machine."""

import re
import traceback

MAX_FRAMES = 30
MAX_WORDS = 1000  # characters
FOLDERS = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:)?[\\/](?:[^\s\\/'\":]+[\\/])+")
PACKAGES = re.compile(r".*/(?:site-packages|src|lib/python[\d.]+)/")


def traced(error: BaseException) -> str:
    """The error and what it came from, the innermost call last, files by their place in their package."""
    lines: list[str] = []
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        frames = traceback.extract_tb(error.__traceback__)[-MAX_FRAMES:]
        lines += [f"  {_place(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        lines.append(f"{type(error).__name__}: {without_folders(str(error))[:MAX_WORDS]}")
        beneath = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if beneath is None:
            break
        lines.append("which came from")
        error = beneath
    return "\n".join(lines)


def without_folders(words: str) -> str:
    """The text with every path shortened to its last part."""
    return FOLDERS.sub("", words)


def _place(file: str) -> str:
    place = PACKAGES.sub("", file)
    return place if place != file else file.rpartition("/")[2]
