"""What a caller is told whose body is not as the schema has it: pydantic's findings, in fal's form and of small size.

Each entry has the ``url`` of its type and repeats no more of what was sent than the app's own errors do
(https://docs.fal.ai/errors).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from photomaker.errors import DOCUMENTATION, shortened

MAX_ENTRIES = 20  # of one answer; the schema has fewer fields
WRAPPER = "input"  # as clients' own functions name what they send
AS_JSON = "Send the fields as one JSON object, with the header Content-Type: application/json."
# In words that say what to change, where pydantic's do not.
WORDS = {
    "model_attributes_type": AS_JSON,
    "int_parsing_size": "Input should be an integer, written without a decimal point or an exponent.",
}


def refused(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The ``detail`` list for a body that pydantic refused.

    Args:
        findings: pydantic's ``errors()``.
    """
    return [_entry(finding) for finding in findings[:MAX_ENTRIES]]


def unreadable(error: BaseException | None, content_encoding: str | None) -> list[dict[str, Any]]:
    """The ``detail`` list for a body that could not even be read as JSON.

    Args:
        error: What its reader tripped over.
        content_encoding: The request's header.
    """
    if content_encoding and content_encoding != "identity":
        words = f"The body is sent with Content-Encoding: {content_encoding[:40]}. Send it without one. {AS_JSON}"
    elif isinstance(error, UnicodeError):
        words = f"The body is not UTF-8 text. {AS_JSON}"
    elif isinstance(error, RecursionError):
        words = f"The body is nested too deeply. {AS_JSON}"
    else:
        words = f"The body cannot be read. {AS_JSON}"
    return [{"loc": ["body"], "msg": words, "type": "json_invalid", "url": f"{DOCUMENTATION}#json_invalid"}]


def _entry(finding: Mapping[str, Any]) -> dict[str, Any]:
    kind, sent = str(finding["type"]), finding.get("input")
    words = WORDS.get(kind, str(finding["msg"]))
    if kind == "missing" and isinstance(sent, Mapping) and _wrapped(sent, finding["loc"][-1]):
        words = f'Field required. Send the fields themselves, not under "{WRAPPER}".'
    entry: dict[str, Any] = {"loc": list(finding["loc"]), "msg": words, "type": kind, "url": f"{DOCUMENTATION}#{kind}"}
    if finding.get("ctx"):
        entry["ctx"] = {key: _plain(value) for key, value in finding["ctx"].items()}
    return {**entry, "input": shortened(sent)}


def _wrapped(sent: Mapping[str, Any], field: object) -> bool:
    inner = sent.get(WRAPPER)
    return isinstance(inner, Mapping) and field in inner


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | list | tuple) else str(value)
