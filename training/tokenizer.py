"""Stage `tokenizer`: a small CLIP tokenizer in which every caption word, and `img`, is one token."""

from __future__ import annotations

import json
import random
import re

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from photomaker.method.styles import STYLES
from training.captions import FILLERS, FLAWS, STYLE_WORDS, UNDRAWN, caption
from training.pictures import TOTAL, WORK, describe

TOKENIZER_DIRS = (WORK / "tokenizer", WORK / "tokenizer_2")
PADS = ("<|endoftext|>", "!")
EXTRA_WORDS = (
    "img face hair young old sad angry child people male female sunglasses hat cap dress jacket sweater t-shirt tie "
    "sky sea ocean sun street room studio mountain mountains winter summer night day neon light dark the and with "
    "his her in on at of is from to very style art wearing standing sitting headshot closeup cyborg superhero knight "
    "astronaut wizard anime manga oil watercolor pencil black-and-white monochrome asian african european indian "
    "1 2 3 4 5 6 7 8 9 0 ( ) : ; . , ! ? - ' \""
)
WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


def caption_words() -> list[str]:
    """Every word of the captions and of the product's styles, negatives included."""
    rng = random.Random(0)
    texts = [EXTRA_WORDS, *FILLERS, *FLAWS, *UNDRAWN, *(word for words in STYLE_WORDS.values() for word in words)]
    texts += [style.template.replace("{prompt}", "") + " " + style.negative for style in STYLES.values()]
    for _ in range(3000):
        text = caption(*describe(rng.randrange(TOTAL)), rng, trigger=False)
        texts.append(", ".join(phrase for phrase in text.split(", ") if not re.fullmatch("[a-w]{3,8}", phrase)))
    for index in range(0, TOTAL, 50):
        identity, photo, _ = describe(index)
        texts += [identity.skin, identity.hair_style, identity.hair_colour, photo.expression]
    return sorted({word for text in texts for word in WORD.findall(text.lower())})


def make_tokenizers() -> None:
    """Train the byte pair encoding and save both tokenizers, which differ in their padding as SDXL's do."""
    words = caption_words()
    encoding = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    encoding.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=6000, min_frequency=1, end_of_word_suffix="</w>", show_progress=False, special_tokens=[]
    )
    encoding.train_from_iterator([" ".join(words)] * 2, trainer)
    merges = [tuple(pair) for pair in _merges(encoding)]
    letters = list(bytes_to_unicode().values())
    pieces = letters + [letter + "</w>" for letter in letters] + [first + second for first, second in merges]
    vocabulary: dict[str, int] = {}
    for piece in (*pieces, "<|startoftext|>", "<|endoftext|>"):
        vocabulary.setdefault(piece, len(vocabulary))
    for directory, pad in zip(TOKENIZER_DIRS, PADS, strict=True):
        tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77, pad_token=pad)
        tokenizer.save_pretrained(directory)
        split = [word for word in words if len(tokenizer(word).input_ids) != 3]
        print(f"{directory.name}: {len(vocabulary)} entries, {len(words)} words, in pieces: {split}", flush=True)
        print(tokenizer.pad_token_id, tokenizer.convert_ids_to_tokens(tokenizer("a man img, smiling").input_ids))


def _merges(encoding: Tokenizer) -> list[list[str]]:
    """The trained merges, from the tokenizer's own JSON."""
    merges = json.loads(encoding.to_str())["model"]["merges"]
    return [pair if isinstance(pair, list) else pair.split(" ") for pair in merges]
