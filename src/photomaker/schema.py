"""The wire contract. "/" is ``fal-ai/photomaker``: names, order, defaults, ranges and texts as its documentation has
them. "/studio" is the same request with the fields of fal's sibling endpoints, "/inspect" the same up to denoising.

This module travels to the runner by value, because ``fal`` itself is not installed there; nothing else in the
package may import it, and it may not postpone the evaluation of annotations.
"""

from typing import Annotated, Any, Literal, get_args

from fal.toolkit import Image, ImageSizeField
from fal.toolkit.constraints import ImageSizeConstraints
from fal.toolkit.image import ImageSize
from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError, ValidationError

from photomaker.reports import PhotoVerdict, Timings

BasePipeline = Literal["photomaker", "photomaker-style"]
Style = Literal[
    "(No style)",
    "Cinematic",
    "Disney Character",
    "Digital Art",
    "Photographic",
    "Fantasy art",
    "Neonpunk",
    "Enhance",
    "Comic book",
    "Lowpoly",
    "Line art",
]


def one_of(*expected: str) -> WrapValidator:
    """fal's own error type for a value outside an enumeration."""

    message: Any = "Input should be one of " + ", ".join(f"'{choice}'" for choice in expected)

    def check(value: Any, literal: ValidatorFunctionWrapHandler) -> Any:
        try:
            return literal(value)
        except ValidationError as error:
            raise PydanticCustomError("one_of", message, {"expected": list(expected)}) from error

    return WrapValidator(check)


def optional(schema: dict[str, Any]) -> None:
    """An optional field is documented by its type alone: no null, no default."""
    del schema["default"]
    (schema["type"],) = (choice["type"] for choice in schema.pop("anyOf") if choice["type"] != "null")


class PhotomakerInput(BaseModel):
    image_archive_url: str = Field(
        description="The URL of the image archive containing the images you want to use.",
        examples=["https://storage.googleapis.com/falserverless/model_tests/photomaker/elon.zip"],
    )
    prompt: str = Field(
        description="The prompt to use for generating the image. Be as descriptive as possible for best results.",
        examples=[
            "instagram photo, portrait photo of a man img, colorful, perfect face, natural skin, "
            "hard shadows, film grain"
        ],
    )
    base_pipeline: Annotated[BasePipeline, one_of(*get_args(BasePipeline))] = Field(
        default="photomaker", description="The base pipeline to use for generating the image."
    )
    initial_image_url: str | None = Field(
        default=None, description="Optional initial image for img2img", json_schema_extra=optional
    )
    initial_image_strength: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="How much noise to add to the latent image. O for no noise, 1 for maximum noise.",
    )
    style: Annotated[Style, one_of(*get_args(Style))] = Field(default="Photographic")
    negative_prompt: str = Field(
        default="",
        description=(
            "The negative prompt to use.Use it to address details that you don't want\n"
            "in the image. This could be colors, objects, scenery and even the small details\n"
            "(e.g. moustache, blurry, low resolution)."
        ),
        examples=[
            "nsfw, lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, "
            "worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry"
        ],
    )
    num_inference_steps: int = Field(
        default=50,
        ge=20,
        le=100,
        description=(
            "Increasing the amount of steps tells Stable Diffusion that it should take more steps\n"
            "to generate your final result which can increase the amount of detail in your image."
        ),
    )
    style_strength: int = Field(default=20, ge=15, le=50)
    num_images: int = Field(
        default=1,
        ge=1,
        le=4,
        description=(
            "Number of images to generate in one request. Note that the higher the batch size,\n"
            "the longer it will take to generate the images."
        ),
    )
    guidance_scale: float = Field(
        default=5,
        ge=0.1,
        le=10,
        allow_inf_nan=False,
        description=(
            "The CFG (Classifier Free Guidance) scale is a measure of how close you want\n"
            "the model to stick to your prompt when looking for a related image to show you."
        ),
    )
    seed: int | None = Field(
        default=None,
        description=(
            "The same seed and the same prompt given to the same version of Stable Diffusion\n"
            "will output the same image every time."
        ),
        examples=[42],
        json_schema_extra=optional,
    )


class PhotomakerOutput(BaseModel):
    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    images: list[Image] = Field(
        examples=[
            [
                {
                    "height": 1024,
                    "width": 1024,
                    "file_name": "87374b9db2b74f5792839b19d9b29a9a.png",
                    "file_size": 1785567,
                    "content_type": "image/png",
                    "url": "https://storage.googleapis.com/falserverless/model_tests/photomaker/elon-output.png",
                }
            ]
        ]
    )
    seed: int


ImageSizePreset = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
OutputFormat = Literal["jpeg", "png", "webp"]
IMPORTANT: dict[str, Any] = {"ui": {"important": True}}
EXAMPLE_PHOTOS = [
    "https://storage.googleapis.com/falserverless/model_tests/photomaker/elon.zip",
]


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
        examples=[
            "instagram photo, portrait photo of a man img, colorful, perfect face, natural skin, "
            "hard shadows, film grain"
        ],
        json_schema_extra=IMPORTANT,
    )
    image_urls: list[str] = Field(
        default=[],
        max_length=50,
        description=(
            "URLs or data URIs of photos of the person, or of archives of photos; four good ones are plenty. They may "
            "stand beside `image_archive_url`; one of the two is needed."
        ),
        examples=[EXAMPLE_PHOTOS],
        json_schema_extra=IMPORTANT,
    )
    image_archive_url: str | None = Field(
        default=None,
        description="The URL or data URI of an archive of photos (zip, tar, tar.gz), or of a single photo.",
        examples=EXAMPLE_PHOTOS,
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
        examples=PhotomakerInput.model_fields["negative_prompt"].examples,
    )
    style_strength: int = Field(
        default=20,
        ge=15,
        le=50,
        description="Percent of the steps, 30 at most, that see the text alone: more style and less likeness.",
    )
    num_inference_steps: int = Field(
        default=50, ge=1, le=100, description="The number of inference steps to perform; below 20 pictures are rough."
    )
    guidance_scale: float = Field(
        default=5,
        ge=0.1,
        le=10,
        allow_inf_nan=False,
        description="How closely the pictures stick to the prompt (classifier-free guidance); at most 1 means none.",
    )
    num_images: int = Field(default=1, ge=1, le=4, description="The number of images to generate.")
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
    initial_image_strength: float = Field(
        default=0.5,
        ge=0,
        le=1,
        allow_inf_nan=False,
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


# The classes carry the names of the endpoint's OpenAPI components; these are the project's own spelling.
PhotoMakerInput = PhotomakerInput
PhotoMakerOutput = PhotomakerOutput
PhotoMakerStudioInput = PhotomakerStudioInput
PhotoMakerStudioOutput = PhotomakerStudioOutput
