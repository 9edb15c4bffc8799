"""What a prompt may look like, and what a prompt that cannot work is told."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from photomaker.errors import PromptError, TextTooLongError, TooManyPhotosError
from photomaker.method.prompts import check_text, read_prompt
from photomaker.method.styles import STYLES, styled
from tests.assets import clip_tokenizer

GOLDEN = Path(__file__).parents[1] / "golden" / "base"


@pytest.fixture(scope="module", params=["small", "CLIP's own"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(GOLDEN / "tokenizer") if request.param == "small" else clip_tokenizer()


def words(ids: list[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_the_class_word_is_repeated_for_each_photo(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = read_prompt("a photo of a man img on the beach", tokenizer).tokens(3)
    class_words = tokens.id_prompt[tokens.class_tokens]
    assert len(class_words) == 3
    assert words(class_words, tokenizer).split() == ["man"] * 3
    text_only = read_prompt("a photo of a man img on the beach", tokenizer).text_only()
    assert words(text_only, tokenizer) == "a photo of a man on the beach"
    assert len(tokens.id_prompt) == len(text_only) == 77
    assert tokens.dropped == ""


def test_version_2_repeats_it_twice_for_each_photo(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = read_prompt("a man img", tokenizer, tokens_per_photo=2).tokens(3)
    assert words(tokens.id_prompt[tokens.class_tokens], tokenizer).split() == ["man"] * 6


@pytest.mark.parametrize(
    "prompt",
    ["a man IMG", "a MAN Img, smiling", "a man img.", "(a man img)", "a man\timg!", "  a man   img  ", 'a "man img"'],
)
def test_case_and_punctuation_around_the_trigger(prompt: str, tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = read_prompt(prompt, tokenizer).tokens(2)
    assert words(tokens.id_prompt[tokens.class_tokens], tokenizer).split() == ["man", "man"]


@pytest.mark.parametrize(
    "word", ["niño", "男人", "мужчина", "महिला", "লড়কি", "แม่", "பெண்", "رجلٌ", "woman2", "e\u0301le\u0300ve"]
)
def test_class_words_of_any_script(word: str, tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = f"photo of a {word} img, smiling"
    tokens = read_prompt(prompt, tokenizer).tokens(2)
    (token,) = set(tokens.id_prompt[tokens.class_tokens])  # of a word of several tokens, the last
    assert token == tokenizer.encode(f"photo of a {word}")[-2]


def test_the_trigger_inside_a_longer_word_is_not_the_trigger(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = read_prompt("an imgur photo of a man img", tokenizer).tokens(1)
    assert words(tokens.id_prompt[tokens.class_tokens], tokenizer) == "man"


@pytest.mark.parametrize(
    ("prompt", "hint"),
    [
        ("a photo of a man", "no trigger word"),
        ("", "no trigger word"),
        ("an imgur photo", "no trigger word"),
        ("a man img and a woman img", "2 times"),
        ("a man img img", "2 times"),
        ("img", "no class word"),
        ("img man", "no class word"),
        ("a man, img", '"," stands between'),
        ("a man (img)", '"(" stands between'),
        ("a man — img", '"—" stands between'),
        ("a “man” img", '"”" stands between'),
        ("a man\uff0cimg", '"\uff0c" stands between'),
        ("a man\u200b img", "stands between"),
        ("a 😀 img", '"😀" stands between'),
        ("a man's img", "stands between"),
        ("a man ❤\ufe0f img", "stands between"),
        ("a பெண், img", '"," stands between'),
        ("a <|startoftext|> img", "stands between"),
        ("a <|endoftext|> img", "stands between"),
        ("photo " * 80 + "of a man img", "too late"),
    ],
)
def test_a_prompt_that_cannot_work(prompt: str, hint: str, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(PromptError, match="trigger word") as caught:
        read_prompt(prompt, tokenizer)
    assert hint in caught.value.message
    assert caught.value.field == "prompt"


def test_more_photos_than_the_prompt_has_room_for(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = read_prompt("a man img", tokenizer, tokens_per_photo=2)
    assert prompt.tokens(prompt.room)
    with pytest.raises(TooManyPhotosError) as caught:
        prompt.tokens(prompt.room + 1)
    assert caught.value.context["max_count"] == prompt.room


def test_what_does_not_fit_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt = read_prompt("a man img, " + "red " * 60 + "and an hourglass", tokenizer)
    tokens = prompt.tokens(20)
    assert len(tokens.id_prompt[tokens.class_tokens]) == 20
    assert tokens.dropped.endswith("and an hourglass")
    assert words(prompt.text_only(), tokenizer).endswith("and an hourglass")


@pytest.mark.parametrize("text", ["\ud800", "half a pair \udc00 here"])
def test_invalid_unicode(text: str) -> None:
    with pytest.raises(PromptError, match="surrogate") as caught:
        check_text("negative_prompt", text)
    assert str(caught.value.as_detail()).encode()


def test_a_text_of_megabytes() -> None:
    with pytest.raises(TextTooLongError) as caught:
        check_text("prompt", "a man img " * 1_000_000)
    assert caught.value.type == "sequence_too_long"
    assert len(str(caught.value.as_detail())) < 2000


@pytest.mark.parametrize("name", STYLES)
def test_a_style_keeps_the_trigger_and_the_users_words_first(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    prompt, negative = styled(name, "a man img, juggling", "hats")
    assert "a man img, juggling" in prompt
    assert negative.startswith("hats")
    tokens = read_prompt(prompt, tokenizer).tokens(4)
    assert words(tokens.id_prompt[tokens.class_tokens], tokenizer).split() == ["man"] * 4


@pytest.mark.parametrize("name", STYLES)
def test_a_style_costs_few_of_clip_s_own_tokens(name: str) -> None:
    users = ["a man img, juggling", "hats"]
    clip = clip_tokenizer()
    assert clip.encode("img")[1:-1] == [24157]  # as published
    for before, after, most in zip(users, styled(name, *users), (25, 16), strict=True):
        assert len(clip.encode(after)) - len(clip.encode(before)) <= most


def test_braces_in_a_prompt_are_the_users(tokenizer: PreTrainedTokenizerBase) -> None:
    prompt, _ = styled("Cinematic", "a man img {prompt} {0}", "")
    assert "{prompt} {0}" in prompt
