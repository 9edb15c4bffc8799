"""A pipeline's tokenizers in one file: the vocabulary that SDXL's two share is written, and parsed, once.

Parsing vocabularies is most of what Python does while the weights are read.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import AddedToken, CLIPTokenizer

from photomaker.weights.sources import read_json


def write_tokenizers(tokenizers: Mapping[str, CLIPTokenizer], path: Path) -> None:
    """Write tokenizers by name; equal vocabularies stand once."""
    vocabularies: list[dict[str, Any]] = []
    described: dict[str, dict[str, Any]] = {}
    for name, tokenizer in tokenizers.items():
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            settings = read_json(Path(folder) / "tokenizer_config.json")
            table = read_json(Path(folder) / "tokenizer.json")
        vocabulary = {"vocab": table["model"]["vocab"], "merges": table["model"]["merges"]}
        if vocabulary not in vocabularies:
            vocabularies.append(vocabulary)
        del settings["tokenizer_class"]
        described[name] = {
            "vocabulary": vocabularies.index(vocabulary),
            "added": {token.pop("id"): token for token in table["added_tokens"]},
            "settings": settings,
        }
    path.write_text(json.dumps({"vocabularies": vocabularies, "tokenizers": described}), encoding="utf-8")


def read_tokenizers(path: Path) -> dict[str, CLIPTokenizer]:
    """The tokenizers of a file, by name: just what ``from_pretrained`` would give."""
    table = read_json(path)
    for vocabulary in table["vocabularies"]:
        vocabulary["merges"] = [tuple(pair) for pair in vocabulary["merges"]]
    return {
        name: CLIPTokenizer(
            **table["vocabularies"][described["vocabulary"]],
            added_tokens_decoder={int(key): AddedToken(**token) for key, token in described["added"].items()},
            **described["settings"],
        )
        for name, described in table["tokenizers"].items()
    }
