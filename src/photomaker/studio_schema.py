"""The wire contract of the endpoints beside "/": "/studio" is the same request with the fields of fal's siblings,
"/studio/stream" the same watched, "/inspect" the same up to denoising.

It travels to the runner as schema.py does.
"""

from typing import Annotated, Any, Literal, get_args

from fal.toolkit import Image, ImageSizeField
from fal.toolkit.constraints import ImageSizeConstraints
from fal.toolkit.image import ImageSize
from pydantic import BaseModel, Field, ValidatorFunctionWrapHandler, WrapValidator

from photomaker.reports import PhotoVerdict, Timings
from photomaker.schema import (
    EXAMPLE_ARCHIVE,
    EXAMPLE_NEGATIVE_PROMPT,
    EXAMPLE_PROMPT,
    BasePipeline,
    GuidanceScale,
    ImageCount,
    Strength,
    Style,
    StyleStrength,
    one_of,
    optional,
)

ImageSizePreset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
OutputFormat = Literal["jpeg", "png", "webp"]
IMPORTANT: dict[str, Any] = {"ui": {"important": True}}


def exact_or_shape(value: Any, union: ValidatorFunctionWrapHandler) -> Any:
    """One error about what was meant, instead of one for each of the two forms."""
    if not isinstance(value, str):
        return ImageSize.model_validate(value)
    presets = get_args(ImageSizePreset)
    return one_of(*presets).func(value, union) if value not in presets else value  # type: ignore[call-arg]


def optional_important(schema: dict[str, Any]) -> None:
    optional(schema)
    schema.update(IMPORTANT)


class PhotosAndPrompt(BaseModel):
    """What every endpoint beside "/" begins with."""

    prompt: str = Field(
        description=(
            "What the pictures show, with the word `img` once, directly after the class word (man, woman, boy, girl, "
            "person ...): `portrait photo of a woman img, film grain`."
        ),
        examples=[EXAMPLE_PROMPT],
        json_schema_extra=IMPORTANT,
    )
    image_urls: list[str] = Field(
        default=[],
        max_length=50,
        description=(
            "URLs or data URIs of photos of the person, or of archives of photos; four good ones are plenty. They may "
            "stand beside `image_archive_url`; one of the two is needed."
        ),
        examples=[[EXAMPLE_ARCHIVE]],
        json_schema_extra=IMPORTANT,
    )
    image_archive_url: str | None = Field(
        default=None,
        description="The URL or data URI of an archive of photos (zip, tar, tar.gz), or of a single photo.",
        examples=[EXAMPLE_ARCHIVE],
        json_schema_extra=optional_important,
    )
    style: Annotated[Style, one_of(*get_args(Style))] = Field(
        default="Photographic",
        description="Words around the prompt; `(No style)` for none.",
        json_schema_extra=IMPORTANT,
    )
    base_pipeline: Annotated[BasePipeline, one_of(*get_args(BasePipeline))] = Field(
        default="photomaker", description="The base pipeline to use for generating the images."
    )


class PhotomakerStudioInput(PhotosAndPrompt):
    image_size: Annotated[ImageSize | ImageSizePreset, WrapValidator(exact_or_shape)] = ImageSizeField(
        default="square_hd",
        constraints=ImageSizeConstraints(min_width=64, min_height=64, max_width=2048, max_height=2048, multiple_of=8),
        ui=IMPORTANT["ui"],
        description=(
            "The size of the generated images: width and height, exactly as the deployment serves them, or the name "
            "of a shape, for which the deployment's size nearest in shape is taken."
        ),
    )
    negative_prompt: str = Field(
        default="",
        description="What the pictures should not show.",
        examples=[EXAMPLE_NEGATIVE_PROMPT],
    )
    style_strength: StyleStrength = Field(
        default=20,
        description="Percent of the steps, 30 at most, that see the text alone: more style and less likeness.",
    )
    num_inference_steps: int = Field(
        default=50, ge=1, le=100, description="The number of inference steps to perform; below 20 pictures are rough."
    )
    guidance_scale: GuidanceScale = Field(
        default=5,
        description="How closely the pictures stick to the prompt (classifier-free guidance); at most 1 means none.",
    )
    num_images: ImageCount = Field(default=1, description="The number of images to generate.")
    seed: int | None = Field(
        default=None,
        description="The same seed and the same input give the same image. Image i is made from seed + i alone.",
        examples=[42],
        json_schema_extra=optional,
    )
    initial_image_url: str | None = Field(
        default=None,
        description="Start from this image instead of noise; it is scaled to cover `image_size` and cropped to it "
        "around its centre.",
        json_schema_extra=optional,
    )
    initial_image_strength: Strength = Field(
        default=0.5,
        description="How much noise to add to the initial image: 0 returns it, 1 forgets it.",
    )
    output_format: Annotated[OutputFormat, one_of(*get_args(OutputFormat))] = Field(
        default="jpeg", description="The format of the generated images; png keeps every pixel."
    )
    sync_mode: bool = Field(
        default=False, description="If set to true, the images are returned as data URIs and not stored."
    )
    enable_safety_checker: bool = Field(default=True, description="If set to true, the safety checker will be enabled.")


class PhotomakerInspectInput(PhotosAndPrompt):
    """What "/studio" would be sent; its other fields are ignored."""


class PhotomakerStudioOutput(BaseModel):
    images: list[Image] = Field(
        description="The generated images; a black one of the same size in place of one that was withheld."
    )
    timings: Timings
    seed: int = Field(description="Of the first image.")
    has_nsfw_concepts: list[bool] = Field(description="Whether each image was withheld.")
    prompt: str = Field(description="The prompt used for generating the images, with the style's words.")
    photos: list[PhotoVerdict] = Field(description="What became of each photo.")
    likeness: list[float | None] = Field(
        description=(
            "For each image how much its face is the photos', a cosine from -1 to 1: different photos of one person "
            "lie mostly above 0.5, strangers below 0.2. null where no face is found, or the deployment looks for none."
        )
    )


class PhotomakerStudioEvent(BaseModel):
    """An event of "/studio/stream" before the last, which is exactly "/studio"'s answer."""

    step: int = Field(description="Steps done.")
    steps: int = Field(description="Steps in all.")
    previews: list[Image] = Field(
        description="How the images look so far, every few steps; small JPEGs as data URIs. Empty between."
    )


PhotoMakerStudioInput = PhotomakerStudioInput
PhotoMakerStudioOutput = PhotomakerStudioOutput
