"""The prompt: its trigger word, its class word, and its 77 tokens.

"a photo of a man img": ``img`` is the trigger word, ``man`` before it the class word. The trigger leaves the
prompt; the class word is repeated once for every ID token, and these repetitions carry the person.

``img</w>`` is one token of CLIP's own vocabulary, so the tokenizers stay as they are, the trigger is found in
any case and before any punctuation, and never inside a longer word.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from photomaker.errors import PromptError, TextTooLongError, TooManyPhotosError

TRIGGER = "img"
TRIGGER_TOKEN = "img</w>"  # noqa: S105
LONGEST_TEXT = 10_000  # characters
EXAMPLE = 'Write the word "img" once, directly after the class word, as in "portrait photo of a man img, smiling".'


@dataclass(frozen=True)
class TokenizedPrompt:
    """A prompt with room for its photos.

    Attributes:
        id_prompt: ``model_max_length`` ids, without the trigger word, the class word repeated for every ID token.
        class_tokens: Where those repetitions stand in ``id_prompt``.
        dropped: The words for which there was no room in ``id_prompt``.
    """

    id_prompt: list[int]
    class_tokens: slice
    dropped: str


@dataclass(frozen=True)
class Prompt:
    """A prompt as one tokenizer reads it, once, before anything is known of the photos.

    Attributes:
        ids: All of its ids, from the begin-of-text to the end-of-text, however many.
        class_word: Where the class word stands among them; the trigger word is the next.
        tokens_per_photo: Of the ID encoder that the prompt is for.
        room: How many photos it has room for between its class word and the last token: at least one.
    """

    ids: tuple[int, ...]
    class_word: int
    tokens_per_photo: int
    room: int
    tokenizer: PreTrainedTokenizerBase = field(repr=False)

    def text_only(self) -> list[int]:
        """The prompt's 77 tokens without its trigger word, the class word standing once."""
        without = [*self.ids[: self.class_word + 1], *self.ids[self.class_word + 2 :]]
        return padded(cut(without, self.tokenizer.model_max_length), self.tokenizer)

    def tokens(self, photos: int) -> TokenizedPrompt:
        """The prompt's 77 tokens with ``photos`` photos.

        Words that do not fit are cut as the authors' code cuts them: version 1 (one token a photo) expands, then
        cuts; version 2 cuts to the tokenizer's length, then expands and cuts again.

        Raises:
            TooManyPhotosError: The ID tokens of so many photos do not fit behind the words before them.
        """
        check_room(photos, self.room)
        longest, start = self.tokenizer.model_max_length, self.class_word
        repeats = photos * self.tokens_per_photo

        def expanded(ids: Sequence[int]) -> list[int]:
            return [*ids[:start], *[ids[start]] * repeats, *ids[start + 2 :]]

        whole = expanded(self.ids)
        shown = expanded(cut(self.ids, longest)) if self.tokens_per_photo > 1 else whole
        id_prompt = padded(shown[:longest], self.tokenizer)
        kept = next((i for i, (a, b) in enumerate(zip(whole, id_prompt, strict=False)) if a != b), longest)
        return TokenizedPrompt(
            id_prompt=id_prompt,
            class_tokens=slice(start, start + repeats),
            dropped=self.tokenizer.decode(whole[kept:], skip_special_tokens=True).strip(),
        )


def check_text(field: str, text: str) -> None:
    """Refuse a text that no tokenizer should be given.

    Raises:
        TextTooLongError: It is far longer than 77 tokens could hold.
        PromptError: It is no valid Unicode.
    """
    if len(text) > LONGEST_TEXT:
        raise TextTooLongError(
            field,
            f"The text has {len(text)} characters; at most {LONGEST_TEXT} are read.",
            max_length=LONGEST_TEXT,
            input=text,
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(field, "The text has half a surrogate pair; send valid Unicode.", input=text) from error


def read_prompt(prompt: str, tokenizer: PreTrainedTokenizerBase, *, tokens_per_photo: int = 1) -> Prompt:
    """Read a prompt, and check all that can be checked without photos.

    Raises:
        PromptError: The trigger word is missing, doubled, or has no class word directly before it; or the class
            word stands too late for one photo.
    """
    encoded = tokenizer(prompt, return_offsets_mapping=True, verbose=False)
    trigger = trigger_id(tokenizer)
    found = [index for index, token in enumerate(encoded["input_ids"]) if token == trigger]
    if not found:
        raise PromptError("prompt", f'The prompt has no trigger word "{TRIGGER}". {EXAMPLE}', input=prompt)
    if len(found) > 1:
        raise PromptError(
            "prompt",
            f'The prompt has the trigger word "{TRIGGER}" {len(found)} times. {EXAMPLE}',
            input=prompt,
        )
    if found[0] == 1:
        raise PromptError(
            "prompt", f'The trigger word "{TRIGGER}" has no class word before it. {EXAMPLE}', input=prompt
        )
    start, end = encoded["offset_mapping"][found[0] - 1]
    possessive = re.search(r"(?<=\w)['\u2019]s$", prompt[:end], re.IGNORECASE)
    word = prompt[:end]
    while word and unicodedata.category(word[-1]).startswith("M"):  # vowel signs are tokens apart from their letters
        word = word[:-1]
    if possessive or not word[-1:].isalnum():
        mark = possessive[0] if possessive else prompt[start:end]  # as written: a token may be a byte of a character
        raise PromptError(
            "prompt",
            f'"{mark}" stands between the class word and the trigger word "{TRIGGER}". {EXAMPLE}',
            input=prompt,
        )
    class_word = found[0] - 1
    room = max(0, int(tokenizer.model_max_length) - class_word) // tokens_per_photo
    if room == 0:
        raise PromptError(
            "prompt",
            f"The class word comes too late: {class_word - 1} tokens stand before it and only "
            f"{tokenizer.model_max_length} fit. "
            "Move it, with the trigger word behind it, nearer to the beginning of the prompt.",
            input=prompt,
        )
    return Prompt(tuple(encoded["input_ids"]), class_word, tokens_per_photo, room, tokenizer)


def check_room(photos: int, room: int) -> None:
    """Raise TooManyPhotosError when a prompt with room for ``room`` photos is to take more of them."""
    if photos > room:
        raise TooManyPhotosError(
            "image_archive_url",
            f"{photos} photos do not fit into this prompt: at most {room} do. "
            "Send fewer photos, or move the class word nearer to the beginning of the prompt.",
            max_count=room,
            provided_count=photos,
        )


def plain(text: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of an ordinary text, such as the negative prompt, cut and padded."""
    return padded(cut(tokenizer.encode(text, verbose=False), tokenizer.model_max_length), tokenizer)


def cut(ids: Sequence[int], longest: int) -> list[int]:
    """At most ``longest`` ids, the last of them still the end of text."""
    return list(ids) if len(ids) <= longest else [*ids[: longest - 1], ids[-1]]


def padded(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    return [*ids, *[tokenizer.pad_token_id] * (tokenizer.model_max_length - len(ids))]


def trigger_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The trigger word's id in the tokenizer's own vocabulary.

    Raises:
        ValueError: The vocabulary has no such token, so this is not a CLIP tokenizer.
    """
    token = tokenizer.get_vocab().get(TRIGGER_TOKEN)
    if token is None:
        raise ValueError(f'the tokenizer has no token "{TRIGGER_TOKEN}": PhotoMaker needs a CLIP tokenizer')
    return int(token)
