"""Prepared tokenizers tokenize as the published ones."""

from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from photomaker.weights.tokenizers import read_tokenizers, write_tokenizers

GOLDEN = Path(__file__).parents[1] / "golden" / "base"
TEXTS = ["portrait photo of a man img, 50% off!", "", "<|endoftext|> a <sks> zw <me>", "héllö 写真 😀", "red " * 90]


@pytest.fixture
def published() -> dict[str, CLIPTokenizer]:
    return {name: CLIPTokenizer.from_pretrained(GOLDEN / name) for name in ("tokenizer", "tokenizer_2")}


def assert_same(read: dict[str, CLIPTokenizer], published: dict[str, CLIPTokenizer]) -> None:
    assert read.keys() == published.keys()
    for name, tokenizer in published.items():
        assert read[name](TEXTS) == tokenizer(TEXTS)
        length = tokenizer.model_max_length
        padded = [
            each(TEXTS, padding="max_length", truncation=True, max_length=length)["input_ids"]
            for each in (read[name], tokenizer)
        ]
        assert padded[0] == padded[1]
        assert read[name].special_tokens_map == tokenizer.special_tokens_map
        assert (len(read[name]), read[name].model_max_length) == (len(tokenizer), length)


def test_they_tokenize_and_pad_as_before(published: dict[str, CLIPTokenizer], tmp_path: Path) -> None:
    write_tokenizers(published, tmp_path / "tokenizers.json")
    assert_same(read_tokenizers(tmp_path / "tokenizers.json"), published)


def test_tokens_that_a_base_adds_are_kept(published: dict[str, CLIPTokenizer], tmp_path: Path) -> None:
    published["tokenizer"].add_tokens(["<sks>", " zw"])
    published["tokenizer"].add_special_tokens({"additional_special_tokens": ["<me>"]})
    write_tokenizers(published, tmp_path / "tokenizers.json")
    assert_same(read_tokenizers(tmp_path / "tokenizers.json"), published)


def test_tokenizers_with_vocabularies_of_their_own(published: dict[str, CLIPTokenizer], tmp_path: Path) -> None:
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "m": 3, "an</w>": 4, "man</w>": 5}
    published["tokenizer_2"] = CLIPTokenizer(vocab=words, merges=[("m", "an</w>")], model_max_length=12)
    write_tokenizers(published, tmp_path / "tokenizers.json")
    assert_same(read_tokenizers(tmp_path / "tokenizers.json"), published)


def test_a_shared_vocabulary_is_written_once(published: dict[str, CLIPTokenizer], tmp_path: Path) -> None:
    write_tokenizers(published, tmp_path / "both.json")
    write_tokenizers({"tokenizer": published["tokenizer"]}, tmp_path / "one.json")
    assert (tmp_path / "both.json").stat().st_size < 1.5 * (tmp_path / "one.json").stat().st_size
