"""The wire contract of "/", which is ``fal-ai/photomaker``: names, order, defaults, ranges and texts as documented.

The other endpoints' is in studio_schema.py. Both travel to the runner by value, because ``fal`` itself is not installed
there; nothing else in the package may import them, and they may not postpone the evaluation of annotations.
"""

from typing import Annotated, Any, Literal, get_args

from fal.toolkit import Image
from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError, ValidationError

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
EXAMPLE_ARCHIVE = "https://storage.googleapis.com/falserverless/model_tests/photomaker/elon.zip"
EXAMPLE_PROMPT = (
    "instagram photo, portrait photo of a man img, colorful, perfect face, natural skin, hard shadows, film grain"
)
EXAMPLE_NEGATIVE_PROMPT = (
    "nsfw, lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, "
    "worst quality, low quality, normal quality, jpeg artifacts, signature, watermark, username, blurry"
)


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


# What numbers may be, on every endpoint that takes them.
Strength = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
StyleStrength = Annotated[int, Field(ge=15, le=50)]
ImageCount = Annotated[int, Field(ge=1, le=4)]
GuidanceScale = Annotated[float, Field(ge=0.1, le=10, allow_inf_nan=False)]


class PhotomakerInput(BaseModel):
    image_archive_url: str = Field(
        description="The URL of the image archive containing the images you want to use.",
        examples=[EXAMPLE_ARCHIVE],
    )
    prompt: str = Field(
        description="The prompt to use for generating the image. Be as descriptive as possible for best results.",
        examples=[EXAMPLE_PROMPT],
    )
    base_pipeline: Annotated[BasePipeline, one_of(*get_args(BasePipeline))] = Field(
        default="photomaker", description="The base pipeline to use for generating the image."
    )
    initial_image_url: str | None = Field(
        default=None, description="Optional initial image for img2img", json_schema_extra=optional
    )
    initial_image_strength: Strength = Field(
        default=0.5,
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
        examples=[EXAMPLE_NEGATIVE_PROMPT],
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
    style_strength: StyleStrength = 20
    num_images: ImageCount = Field(
        default=1,
        description=(
            "Number of images to generate in one request. Note that the higher the batch size,\n"
            "the longer it will take to generate the images."
        ),
    )
    guidance_scale: GuidanceScale = Field(
        default=5,
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


# The classes carry the names of the endpoint's OpenAPI components; these are the project's own spelling.
PhotoMakerInput = PhotomakerInput
PhotoMakerOutput = PhotomakerOutput
