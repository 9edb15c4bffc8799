"""The wire contract against the endpoint's own documentation: a drift in either fails."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from photomaker.schema import PhotoMakerInput, PhotoMakerOutput

DOCUMENTATION = (Path(__file__).parent / "endpoint.md").read_text()
FIELD = re.compile(r"^- \*\*`(?P<name>\w+)`\*\* \(`(?P<type>[^`]+)`, _(?P<need>required|optional)_\)(?P<rest>.*)$")


def section(title: str) -> str:
    """The text under a heading, up to the next of the same or a higher rank."""
    return re.split(r"^#{2,3} ", DOCUMENTATION.split(f"### {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def documented(title: str) -> dict[str, dict[str, Any]]:
    """The fields of a schema section, by name, in their order."""
    fields: dict[str, dict[str, Any]] = {}
    entries = re.split(r"^(?=- \*\*`)", section(title).split("**Required Parameters", 1)[0], flags=re.MULTILINE)
    for entry in entries[1:]:
        head, *lines = entry.splitlines()
        match = FIELD.match(head.rstrip(":"))
        assert match, head
        facts = {
            key: value
            for line in lines
            for key, separator, value in [line.strip().partition(": ")]
            if separator and key in ("- Default", "- Options", "- Range", "- Examples")
        }
        text = [line.strip() for line in lines if line.strip() and not line.strip().startswith("- ")]
        fields[match["name"]] = {
            "type": match["type"],
            "required": match["need"] == "required",
            "text": re.sub(r"\s*Default value: `.*`$", "", "\n".join(text)),
            "default": json.loads(facts["- Default"].strip("`")) if "- Default" in facts else None,
            "options": json.loads(f"[{facts['- Options'].replace('`', '')}]") if "- Options" in facts else None,
            "range": [float(end) for end in re.findall(r"`([^`]+)`", facts["- Range"])] if "- Range" in facts else None,
            "example": facts.get("- Examples"),
        }
    return fields


INPUT = documented("Input Schema")
SCHEMA = PhotoMakerInput.model_json_schema()
JSON_TYPES = {"string": "string", "float": "number", "integer": "integer"}


def test_the_documentation_was_read() -> None:
    assert len(INPUT) == 12


def test_fields_and_their_order() -> None:
    assert list(SCHEMA["properties"]) == list(INPUT)
    assert SCHEMA["required"] == [name for name, field in INPUT.items() if field["required"]]


@pytest.mark.parametrize("name", INPUT)
def test_input_field(name: str) -> None:
    field, schema = INPUT[name], SCHEMA["properties"][name]
    assert schema["type"] == JSON_TYPES.get(field["type"], "string")
    assert schema.get("description", "") == field["text"]
    assert schema.get("default") == field["default"]
    assert schema.get("enum") == field["options"]
    if field["range"]:
        assert [schema["minimum"], schema["maximum"]] == field["range"]
    else:
        assert not {"minimum", "maximum"} & schema.keys()
    assert schema.get("examples") == ([json.loads(field["example"])] if field["example"] else None)


def test_output_fields() -> None:
    output = documented("Output Schema")
    schema = PhotoMakerOutput.model_json_schema(mode="serialization")
    assert list(schema["properties"]) == list(output) == schema["required"]


def test_output_example() -> None:
    example = json.loads(section("Output Schema").split("```json", 1)[1].split("```", 1)[0])
    schema = PhotoMakerOutput.model_json_schema(mode="serialization")
    assert schema["properties"]["images"]["examples"] == [example["images"]]
    assert set(example["images"][0]) == set(schema["$defs"]["Image"]["properties"])


@pytest.mark.parametrize("number", [0, 1], ids=["required", "full"])
def test_documented_requests_are_taken(number: int) -> None:
    body = json.loads(section("Input Schema").split("```json")[number + 1].split("```", 1)[0])
    taken = PhotoMakerInput.model_validate(body)
    assert taken.model_dump(include=set(body)) == body
