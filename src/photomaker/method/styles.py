"""The named styles: a few words around the user's prompt, and a few behind the user's negative prompt.

Each costs the prompt at most 25 tokens, and its key phrase stands in front, where CLIP weighs it most. The
user's negative prompt comes first, so that it is the style's words that are cut when both do not fit.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    """A template with one place for the user's prompt, and what to avoid."""

    template: str
    negative: str = ""


NO_STYLE = "(No style)"

STYLES: dict[str, Style] = {
    NO_STYLE: Style("{prompt}"),
    "Cinematic": Style(
        "cinematic still, {prompt}, dramatic light, shallow depth of field, anamorphic bokeh, color graded, film grain",
        "flat lighting, drawing, cartoon, snapshot",
    ),
    "Disney Character": Style(
        "disney character, {prompt}, animated feature film, soft rounded shapes, big expressive eyes, warm light",
        "photo, realistic skin, grim, sketch",
    ),
    "Digital Art": Style(
        "digital art, {prompt}, concept illustration, painterly brushwork, vivid palette, intricate",
        "photo, film grain, dull colors",
    ),
    "Photographic": Style(
        "photograph, {prompt}, 35mm film, natural light, bokeh, professional, highly detailed",
        "drawing, painting, render, cartoon, deformed",
    ),
    "Fantasy art": Style(
        "fantasy art, {prompt}, ethereal glow, enchanted atmosphere, ornate, epic matte painting",
        "modern, plain background, photo, dull",
    ),
    "Neonpunk": Style(
        "neonpunk, {prompt}, neon rim light, magenta and cyan glow, night, cyberpunk city, glossy",
        "daylight, pastel, sepia, painting",
    ),
    "Enhance": Style(
        "enhance, {prompt}, crisp focus, rich tones, fine detail",
        "blurry, low quality, noisy, overexposed",
    ),
    "Comic book": Style(
        "comic book, {prompt}, bold ink outlines, halftone dots, flat colors, graphic novel panel",
        "photo, 3d render, soft gradients, blurry",
    ),
    "Lowpoly": Style(
        "lowpoly, {prompt}, faceted polygons, flat shading, simple geometry, isometric render",
        "photo, smooth skin, noisy texture",
    ),
    "Line art": Style(
        "line art, {prompt}, clean black ink lines on white paper, minimal shading",
        "photo, colors, shadows, 3d, texture",
    ),
}

DEFAULT_STYLE = "Photographic"


def styled(name: str, prompt: str, negative_prompt: str) -> tuple[str, str]:
    """The prompt and the negative prompt with a style's words around them."""
    style = STYLES[name]
    negatives = [text for text in (negative_prompt.strip(), style.negative) if text]
    return style.template.replace("{prompt}", prompt), ", ".join(negatives)
