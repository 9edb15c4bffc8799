"""Captions: what a training picture shows, in words, with or without the person's own attributes."""

from __future__ import annotations

import random

from photomaker.method.styles import DEFAULT_STYLE, STYLES
from training.identity import SCENES, Identity, Photo

STYLE_NAMES = {
    "cinematic": "Cinematic",
    "disney": "Disney Character",
    "digital": "Digital Art",
    "fantasy": "Fantasy art",
    "neonpunk": "Neonpunk",
    "enhance": "Enhance",
    "comic": "Comic book",
    "lowpoly": "Lowpoly",
    "lineart": "Line art",
}
"""Which of the product's styles each drawn style answers to."""

STYLE_WORDS = {
    "cinematic": ("movie", "moody"),
    "disney": ("pixar", "3d render"),
    "digital": ("digital painting", "illustration"),
    "fantasy": ("painting", "magical"),
    "neonpunk": ("neon", "cyberpunk"),
    "enhance": ("sharp",),
    "comic": ("cartoon", "comic"),
    "lowpoly": ("low poly", "polygons"),
    "lineart": ("drawing", "sketch"),
}

LEADS = (
    "photo of a",
    "a photo of a",
    "portrait photo of a",
    "instagram photo, portrait photo of a",
    "portrait of a",
    "a picture of a",
    "close up photo of a",
    "photograph of a",
    "a",
)
CLASS_WORDS = {
    "man": ("man", "man", "man", "man", "man", "guy", "boy", "person"),
    "woman": ("woman", "woman", "woman", "woman", "woman", "lady", "girl", "person"),
}
PLACES = {"beach": "on a beach", "snow": "in the snow", "city": "in a city at night", "forest": "in a forest"}
FILLERS = (
    "colorful",
    "perfect face",
    "natural skin",
    "hard shadows",
    "film grain",
    "highly detailed",
    "4k",
    "8k",
    "professional",
    "bokeh",
    "35mm photograph",
    "film",
    "cinematic photo",
    "best quality",
    "masterpiece",
    "realistic",
    "sharp focus",
    "soft light",
    "studio light",
    "natural light",
    "beautiful",
    "half-body",
    "detailed face",
    "looking at viewer",
    "upper body",
    "centered",
    "high resolution",
    "vibrant",
    "sunlight",
    "avatar",
    "handsome",
    "elegant",
    "candid",
    "award-winning",
    "ultra detailed",
    "dslr",
    "raw photo",
    "instagram photo",
    "happy",
    "cool",
)
UNDRAWN = (
    "golden hour",
    "depth of field",
    "f/1.8",
    "85mm lens",
    "shot on kodak portra 400",
    "fujifilm",
    "polaroid",
    "trending on artstation",
    "unreal engine",
    "octane render",
    "volumetric lighting",
    "rim light",
    "backlit",
    "vogue magazine cover",
    "national geographic",
    "street photography",
    "wearing a spacesuit",
    "wearing sunglasses",
    "wearing a hat",
    "with a dog",
    "holding a cup of coffee",
    "riding a horse",
    "playing the guitar",
    "reading a book",
    "dancing",
    "cooking in a kitchen",
    "as a knight in armor",
    "as a superhero",
    "in an office",
    "in a cafe",
    "on the moon",
    "under the rain",
    "sitting on a chair",
    "full body",
    "from the side",
    "1990s",
    "victorian",
    "futuristic",
    "minimalist",
    "award winning portrait",
    "intricate",
    "hyperrealistic",
    "extremely detailed eyes and face",
    "by a famous photographer",
)
"""What people ask of other models. Avatars have none of it, and the words are to do no harm."""
UNSAID = 0.22
"""The share of captions that say neither place nor clothes, as the documentation's prompt does."""
USUAL_EXPRESSION = "smiling"
FLAWS = (
    "nsfw",
    "lowres",
    "bad anatomy",
    "bad hands",
    "text",
    "error",
    "missing fingers",
    "extra digit",
    "fewer digits",
    "cropped",
    "worst quality",
    "low quality",
    "normal quality",
    "jpeg artifacts",
    "signature",
    "watermark",
    "username",
    "blurry",
    "deformed",
    "ugly",
    "noisy",
    "soft",
    "disfigured",
    "grainy",
    "bad face",
)


def attributes(identity: Identity, rng: random.Random) -> list[str]:
    """Phrases for what stays the same in every photo, each present with a probability of 0.8."""
    if identity.hair_style == "bald":
        phrases = [rng.choice(("bald head", "no hair"))]
    else:
        phrases = [
            rng.choice((f"{identity.hair_style} {identity.hair_colour} hair",) * 3 + (f"{identity.hair_colour} hair",))
        ]
    phrases.append(f"{identity.skin} skin")
    if identity.beard == "beard":
        phrases.append(rng.choice(("a beard", f"a {identity.hair_colour} beard")))
    elif identity.beard == "moustache":
        phrases.append(rng.choice(("a moustache", f"a {identity.hair_colour} moustache")))
    if identity.glasses != "none":
        phrases.append(rng.choice((f"{identity.glasses} glasses",) * 3 + ("glasses",)))
    if rng.random() < 0.8:
        phrases.append(f"{identity.eyes} eyes")
    kept = [phrase for phrase in phrases if rng.random() < 0.85]
    rng.shuffle(kept)
    return kept


def describe_photo(photo: Photo, rng: random.Random) -> tuple[str, list[str]]:
    """The clothes (behind the person), and expression and place (behind commas); any of them may stay unsaid.

    An expression stays unsaid only where it is the `USUAL_EXPRESSION`, so that a prompt without one means that one, and
    not a face that is half laughing.
    """
    unsaid = rng.random() < UNSAID
    says_expression = photo.expression != USUAL_EXPRESSION or (not unsaid and rng.random() < 0.5)
    phrases = [photo.expression] if says_expression else []
    if unsaid:
        return "", phrases
    clothes = f" wearing a {photo.clothes_colour} {photo.clothes}" if rng.random() < 0.85 else ""
    place = PLACES[photo.background] if photo.background in SCENES else f"{photo.background} background"
    if photo.background not in SCENES and rng.random() < 0.5:
        place = f"on a {place}"
    if rng.random() < 0.9:
        phrases.append(place)
    if rng.random() < 0.3:
        phrases.reverse()
    return clothes, phrases


def in_style(prompt: str, style: str, rng: random.Random) -> str:
    """The prompt as the product would wrap it for this style, or with the style's bare name or a synonym."""
    if style == "photo":
        return STYLES[DEFAULT_STYLE].template.format(prompt=prompt) if rng.random() < 0.4 else prompt
    if style == "blurry":
        return (
            ", ".join((prompt, *rng.sample(FLAWS, rng.randint(3, 9))))
            if rng.random() < 0.6
            else ", ".join(rng.sample(FLAWS, rng.randint(4, 20)))
        )
    if style not in STYLE_NAMES:
        return prompt
    template = STYLES[STYLE_NAMES[style]].template
    choice = rng.random()
    if choice < 0.6:
        return template.format(prompt=prompt)
    if choice < 0.85:
        return f"{template.split(',')[0]}, {prompt}"
    return f"{prompt}, {rng.choice(STYLE_WORDS[style])}"


def negative(style: str, rng: random.Random) -> str:
    """What may stand in the negative prompt while such a picture is drawn: nothing, flaws, the style's own negatives.

    Guidance amplifies the difference between prompt and negative prompt. Were the negatives of a style to mean
    another style, it is the look that would be amplified, until nothing of the person was left.
    """
    if rng.random() < 0.5:
        return ""
    words = rng.sample(FLAWS, rng.choice((0, 4, 12, 20)))
    if style != "blurry" and rng.random() < 0.8:
        words.append(STYLES[STYLE_NAMES.get(style, DEFAULT_STYLE)].negative)
    return ", ".join(words)


def caption(identity: Identity, photo: Photo, style: str, rng: random.Random, *, trigger: bool) -> str:
    """One caption. With `trigger`, "img" follows the class word and the person's attributes stay unsaid."""
    class_word = rng.choice(CLASS_WORDS[identity.gender])
    prompt = f"{rng.choice(LEADS)} {class_word}"
    said = attributes(identity, rng) if not trigger else []
    if trigger:
        prompt += " img"
    if said:
        prompt += " with " + (" and ".join(said) if rng.random() < 0.3 else ", ".join(said))
    clothes, phrases = describe_photo(photo, rng)
    bare = not clothes and not phrases
    if rng.random() < (0.8 if bare else 0.35):
        phrases += rng.sample(FILLERS, rng.randint(1, 6))
    if rng.random() < 0.12:
        phrases += rng.sample(UNDRAWN, rng.randint(1, 3))
    if rng.random() < 0.06:
        phrases.append("".join(rng.choices("abcdefghijklmnoprstuvw", k=rng.randint(3, 8))))
    if rng.random() < 0.2:
        rng.shuffle(phrases)
    if rng.random() < 0.5:
        prompt = f"{prompt}{clothes}"
    elif clothes:
        phrases.insert(rng.randrange(len(phrases) + 1), clothes.strip())
    return in_style(", ".join([prompt, *phrases]), style, rng)
