"""PhotoMakerPipeline: the method on stock, unmodified diffusers SDXL pipelines.

photos → ID tokens (id_encoder) → ID prompt (conditioning) → denoising, the ID prompt swapped in on the way
→ pictures. Method: PhotoMaker, arXiv 2312.04461.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
from diffusers import StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline
from diffusers.callbacks import MultiPipelineCallbacks
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image, ImageOps
from torch import Tensor

from photomaker.method.conditioning import (
    Conditioning,
    DelayedMerge,
    Embedding,
    GuidanceStop,
    IDPrompt,
    OnLatents,
    OnStep,
    Prompts,
    condition_on_identity,
    condition_on_text,
    settled,
)
from photomaker.method.conditioning import start_merge_step as merge_step_of
from photomaker.method.id_encoder import IDEncoder
from photomaker.method.prompts import read_prompt
from photomaker.method.schedulers import without_waits

if TYPE_CHECKING:
    from photomaker.weights.checkpoints import LoRA

logger = logging.getLogger(__name__)

STOCK_LATENT_CHANNELS = 4  # SDXL's own; anything else stock image-to-image takes for a picture

Generators = torch.Generator | Sequence[torch.Generator] | None


class PhotoMakerPipeline:
    """Text-to-image and image-to-image pictures of the person in a few photos.

    Args:
        sdxl: A Stable Diffusion XL pipeline with the adapter's LoRA in its UNet.
        id_encoder: The adapter's ID encoder, on the same device and of the same dtype.
        guidance_stop: The part of the steps that see the person, 0 to 1, after which guidance stops; 1: never, as
            published.
    """

    def __init__(self, sdxl: StableDiffusionXLPipeline, id_encoder: IDEncoder, *, guidance_stop: float = 1.0) -> None:
        if id_encoder.width != sdxl.unet.config.cross_attention_dim:
            raise ValueError(
                f"the adapter's ID tokens are {id_encoder.width} wide, "
                f"the base's cross-attention {sdxl.unet.config.cross_attention_dim}"
            )
        sdxl.scheduler = without_waits(sdxl.scheduler)
        self.text2img = sdxl
        self.img2img = StableDiffusionXLImg2ImgPipeline(**sdxl.components, add_watermarker=False)
        self.id_encoder = id_encoder
        self.guidance_stop = guidance_stop
        for pipe in (self.text2img, self.img2img):
            pipe.set_progress_bar_config(disable=True)

    @classmethod
    def from_pretrained(
        cls,
        base: str | Path,
        adapter: str | Path,
        *,
        config: str | Path | None = None,
        loras: "Sequence[LoRA | tuple[str | Path, float]]" = (),
        scheduler: str | None = None,
        guidance_stop: float = 1.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """Load a base and an adapter as they are published, their LoRAs fused into the UNet.

        Args:
            base: A diffusers folder, a hub id, or a single-file checkpoint.
            adapter: A ``.bin`` or ``.safetensors`` path, or "owner/repository/file" on the hub; version 1 or
                2 is read off the file, and so is every size.
            config: How a single-file base is configured: a diffusers folder, which needs no weights, or a hub
                id; None: SDXL base 1.0 on the hub.
            loras: Further LoRAs with their weights.
            scheduler: A name of :data:`photomaker.weights.checkpoints.SCHEDULERS`; None keeps the base's own.
            guidance_stop: The part of the steps that see the person after which guidance stops.
            dtype: Of all weights.
            device: Where they go.

        Raises:
            photomaker.weights.checkpoints.CheckpointError: Something is missing, or is not what it should be.
        """
        from photomaker.weights import checkpoints  # a way in for callers: nothing else here knows files

        sdxl, id_encoder = checkpoints.load(
            base, adapter, config=config, loras=loras, scheduler=scheduler, dtype=dtype, device=device
        )
        return cls(sdxl, id_encoder, guidance_stop=guidance_stop)

    @torch.inference_mode()
    def __call__(
        self,
        prompt: str,
        photos: Sequence[Image.Image],
        *,
        negative_prompt: str = "",
        num_inference_steps: int = 50,
        style_strength: int = 20,
        start_merge_step: int | None = None,
        guidance_scale: float = 5.0,
        num_images: int = 1,
        generator: Generators = None,
        initial_image: Image.Image | None = None,
        initial_image_strength: float = 0.5,
        height: int | None = None,
        width: int | None = None,
        face_embeddings: Tensor | None = None,
        output_type: Literal["pil", "latent"] = "pil",
        on_step: OnStep | None = None,
    ) -> list[Image.Image] | Tensor:
        """Make pictures of the person in the photos.

        Args:
            prompt: With the trigger word directly after the class word: "portrait photo of a man img".
            photos: At least one photo of the person, any size.
            negative_prompt: What the pictures should not show.
            num_inference_steps: Steps of the schedule; image-to-image runs the last ``strength`` part of them.
            style_strength: Percent of the steps that see the text alone, 30 steps at most.
            start_merge_step: The last step that sees the text alone; overrides ``style_strength``. It counts
                the schedule's own steps, also where image-to-image skips the first of them.
            guidance_scale: Classifier-free guidance; at most 1 means none.
            num_images: Images in the one batch.
            generator: One for the batch, or a list with one an image.
            initial_image: Start from this picture instead of noise.
            initial_image_strength: How much noise to add to it, 0 (it stays as it is) to 1.
            height, width: Of the pictures, in pixels. Default: the base's size, or the initial image's.
            face_embeddings: [n, 512] un-normalised recognition embeddings, one a photo; version 2 only.
            output_type: "pil", or "latent" for the final latents [num_images, channels, h, w].
            on_step: Told (steps done, steps in all) after each step; what it raises ends the run.

        Returns:
            The pictures, or the latents.

        Raises:
            photomaker.errors.PromptError, photomaker.errors.TooManyPhotosError: What to write instead.
        """
        conditioning = self.condition(self.read(prompt), negative_prompt, self.identify(photos, face_embeddings))
        if conditioning.dropped:
            logger.warning("the prompt is too long; dropped: %s", conditioning.dropped)
        latents = self.denoise(
            conditioning,
            num_inference_steps=num_inference_steps,
            merge_step=(
                merge_step_of(style_strength, num_inference_steps) if start_merge_step is None else start_merge_step
            ),
            guidance_scale=guidance_scale,
            num_images=num_images,
            generator=generator,
            initial_image=initial_image,
            initial_image_strength=initial_image_strength,
            height=height,
            width=width,
            on_step=on_step,
        )
        return latents if output_type == "latent" else list(self.decode(latents))

    @torch.inference_mode()
    def identify(self, photos: Sequence[Image.Image], face_embeddings: Tensor | None = None) -> Tensor:
        """ID tokens [n · tokens per photo, width] of the photos: all that the method keeps of them."""
        if not photos:
            raise ValueError("at least one photo is needed")
        return self.id_encoder.embed(self.id_encoder.preprocess(photos), face_embeddings)

    def read(self, prompt: str) -> Prompts:
        """A prompt as the two text encoders' tokenizers read it; :func:`photomaker.method.prompts.read_prompt`."""
        tokens = self.id_encoder.tokens_per_photo
        first, second = self.text2img.tokenizer, self.text2img.tokenizer_2
        return read_prompt(prompt, first, tokens_per_photo=tokens), read_prompt(prompt, second, tokens_per_photo=tokens)

    def condition(self, prompts: Prompts, negative_prompt: str, id_tokens: Tensor) -> Conditioning:
        """All prompts of a request whose photos have been read."""
        identity = self.condition_on_identity(prompts, id_tokens)  # first: it may refuse
        text_only, negative = self.condition_on_text(prompts, negative_prompt)
        return Conditioning(text_only, negative, identity)

    def condition_on_text(self, prompts: Prompts, negative_prompt: str) -> list[Embedding]:
        """The text-only and the negative prompt, encoded."""
        return condition_on_text(self.text2img, prompts, negative_prompt)

    def condition_on_identity(self, prompts: Prompts, id_tokens: Tensor) -> IDPrompt:
        """The ID prompt; see :func:`photomaker.method.conditioning.condition_on_identity`."""
        return condition_on_identity(self.text2img, self.id_encoder, prompts, id_tokens)

    @torch.inference_mode()
    def denoise(
        self,
        conditioning: Conditioning,
        *,
        num_inference_steps: int,
        merge_step: int,
        guidance_scale: float,
        num_images: int,
        generator: Generators,
        initial_image: Image.Image | None = None,
        initial_image_strength: float = 0.5,
        height: int | None = None,
        width: int | None = None,
        on_step: OnStep | None = None,
        on_latents: OnLatents | None = None,
    ) -> Tensor:
        """Final latents [num_images, channels, h, w]; the arguments are :meth:`__call__`'s.

        A late ID prompt is asked for in this thread, at the end of the last step that sees the text alone: photos can
        be downloaded and read meanwhile. What it raises ends the run. Where no step sees the person it is not asked.
        ``on_latents`` is shown (steps done, steps in all, latents) after each step, as the scheduler has them.
        """
        generators = list(generator) if isinstance(generator, Sequence) else generator
        arguments: dict[str, Any] = {
            "num_inference_steps": num_inference_steps,
            "num_images_per_prompt": num_images,
            "generator": generators,
            "output_type": "latent",
        }
        steps = num_inference_steps
        pipe = self.text2img
        if initial_image is None:
            arguments |= {"height": height, "width": width}
        else:
            pipe = self.img2img
            picture = initial_image if height is None or width is None else fitted(initial_image, width, height)
            steps = min(int(num_inference_steps * initial_image_strength), num_inference_steps)
            if steps == 0:  # stock img2img would run on an empty schedule
                return self.scaled(self.encode(picture).mode()).expand(num_images, -1, -1, -1)
            arguments |= {"image": picture, "strength": initial_image_strength}
            if self.text2img.vae.config.latent_channels == STOCK_LATENT_CHANNELS:
                arguments["image"] = self.sample(self.encode(picture), generators, num_images)

        first_step = num_inference_steps - steps
        text_only_steps = min(max(0, merge_step + 1 - first_step), steps)
        guided_steps = text_only_steps + round(self.guidance_stop * (steps - text_only_steps))
        if guidance_scale <= 1 or guided_steps == 0:
            guidance_scale = 0.0

        merged_from_the_start = text_only_steps == 0
        positive = settled(conditioning.identity) if merged_from_the_start else conditioning.text_only
        merge = DelayedMerge(
            conditioning.identity,
            None if merged_from_the_start else merge_step - first_step,
            num_images,
            on_step,
            on_latents,
        )
        return cast(
            Tensor,
            pipe(
                prompt_embeds=positive.sequence,
                pooled_prompt_embeds=positive.pooled,
                negative_prompt_embeds=conditioning.negative.sequence,
                negative_pooled_prompt_embeds=conditioning.negative.pooled,
                guidance_scale=guidance_scale,
                callback_on_step_end=MultiPipelineCallbacks([merge, GuidanceStop(guided_steps - 1)]),
                **arguments,
            ).images,
        )

    @torch.inference_mode()
    def encode(self, picture: Image.Image) -> DiagonalGaussianDistribution:
        """The distribution, in float32, of a picture's own latents: encoded once, however many images start from it.

        The encoder runs in its weights' dtype. (Stock image-to-image casts it to float32 and back for each request, and
        encodes the same picture for each image.)
        """
        pixels = self.img2img.image_processor.preprocess(picture)
        with self.vae_that_does_not_overflow() as vae:
            parameters = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.parameters
        return DiagonalGaussianDistribution(parameters.float())

    def sample(self, latents: DiagonalGaussianDistribution, generator: Generators, num_images: int) -> Tensor:
        """Latents [num_images, channels, h, w] for image-to-image to add noise to, drawn as its stock pipeline does."""
        if isinstance(generator, list):
            drawn = torch.cat([latents.sample(one) for one in generator])
        else:
            drawn = latents.sample(cast(Any, generator)).expand(num_images, -1, -1, -1)
        return self.scaled(drawn)

    def scaled(self, latents: Tensor) -> Tensor:
        """The VAE's own latents as the UNet takes them."""
        return latents.to(self.text2img.unet.dtype) * float(self.text2img.vae.config.scaling_factor)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Iterator[Image.Image]:
        """Pictures one by one, so that memory stays that of one, and each can be sent while the next is made."""
        with self.vae_that_does_not_overflow() as vae:
            for latent in latents.to(vae.dtype)[:, None]:
                pixels = vae.decode(latent / vae.config.scaling_factor, return_dict=False)[0]
                # In float32: of bfloat16's steps around 1, a quarter would miss their level.
                yield self.text2img.image_processor.postprocess(pixels.float(), output_type="pil")[0]

    @contextmanager
    def vae_that_does_not_overflow(self) -> Iterator[Any]:
        """The VAE, as float32 where it is in float16, in which SDXL's own overflows."""
        vae = self.text2img.vae
        upcast = vae.dtype == torch.float16 and vae.config.force_upcast
        if upcast:
            vae.to(torch.float32)
        try:
            yield vae
        finally:
            if upcast:
                vae.to(torch.float16)


def fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The picture at exactly this size: scaled to cover it, cropped around its centre."""
    return ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
