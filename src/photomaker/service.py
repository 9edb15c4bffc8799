"""One request, from input to pictures.

download → archive → faces → ID tokens → prompt and style → denoising → decoding → safety. Each step takes
values and returns values; only the pipelines hold the device, for one request at a time.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

import torch
from PIL import Image

from photomaker import sizes
from photomaker.beside import Beside
from photomaker.deployment import Deployment
from photomaker.device import Device
from photomaker.errors import ContentPolicyError, FeatureNotSupportedError, PromptError
from photomaker.identities import Identities, Identity, read_identity
from photomaker.inspection import Faults, fetched, inspected
from photomaker.method.conditioning import Conditioning, IDPrompt, Prompts, start_merge_step
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.method.prompts import check_text
from photomaker.method.styles import NO_STYLE, styled
from photomaker.photos.archive import MAX_PHOTO_BYTES
from photomaker.photos.decoders import decoders, turn
from photomaker.photos.download import fetch
from photomaker.photos.face_models import face_models
from photomaker.photos.images import read_image
from photomaker.photos.sources import Room, Source, downloaded
from photomaker.pictures.likeness import likeness
from photomaker.pictures.previews import LatentColours
from photomaker.reports import Inspection
from photomaker.request import ARCHIVE_FIELD, SEVERAL_FIELD, Listener, Picture, Request, addresses, named
from photomaker.watching import latent_colours, previews
from photomaker.weights.inference import accelerate, warm_up
from photomaker.weights.prepared import open_pipelines
from photomaker.weights.threads import use_free_cores

if TYPE_CHECKING:
    from photomaker.photos.faces import FaceFinder
    from photomaker.pictures.safety import SafetyChecker

__all__ = ["Listener", "Picture", "Request", "Service", "draw_seed"]

INITIAL_IMAGE_FIELD = "initial_image_url"
DRAWN_SEEDS = 2**32  # exact in every client's numbers


class Service:
    """The deployment's pipelines, and the one road through them."""

    def __init__(self, deployment: Deployment, pipelines: Mapping[str, PhotoMakerPipeline]) -> None:
        self.deployment = deployment
        self.pipelines = pipelines
        self.allow = deployment.allowed_hosts()
        self.identities = Identities()
        self.device = Device(self.adds)
        self.colours: dict[str, LatentColours] = {}
        self.reader = threading.Lock()
        # A request that waits for its photos holds the device: nobody else may be waiting for that.
        self.early_steps = deployment.inference.early_steps and deployment.app.max_multiplexing == 1
        wants_faces = any(pipe.id_encoder.wants_faces for pipe in pipelines.values())
        self.faces = face_finder(deployment) if wants_faces or deployment.faces == "crop" else None
        self.safety = safety_checker() if deployment.safety == "check" else None

    @classmethod
    def start(cls, deployment: Deployment, log: Callable[[str], None]) -> Self:
        """Load and warm every pipeline of the deployment, and what finds faces and checks pictures."""
        decoders().warm()
        pipelines = open_pipelines(deployment, log=log)
        use_free_cores(pipe.text2img.unet for pipe in pipelines.values())
        colours = {name: latent_colours(deployment, pipe) for name, pipe in pipelines.items()}  # before compilation
        for pipe in pipelines.values():
            accelerate(pipe, deployment.inference)
            warm_up(pipe, deployment, log)
        service = cls(deployment, pipelines)
        service.colours |= colours
        return service

    def generate(self, request: Request, listener: Listener) -> Iterator[Picture]:
        """The request's pictures, one by one as they are decoded; ``listener.report`` fills on the way.

        Raises:
            RequestError: What the caller should change.
            Cancelled: The caller took the request back.
        """
        pipe = self.pipeline(request.base_pipeline)
        width, height = self.size(request)
        safety = self.safety_for(request)
        colours = self.colours.get(request.base_pipeline)
        prompts, negative_prompt = self.prompts(request, pipe, listener)

        def read(listener: Listener) -> Identity:
            with listener.timed("download"):
                sources = self.sources(request, listener)
            with turn(self.reader, listener.check):
                return self.identity(pipe, sources, prompts[1].room, listener)

        def id_prompt() -> IDPrompt:
            identity = photos.result()
            self.device.moved()
            with listener.timed("encode"):
                prompt = pipe.condition_on_identity(prompts, identity.tokens)
            if prompt.dropped:
                listener.log(f"the prompt is too long; dropped: {prompt.dropped}")
            return prompt

        def on_step(done: int, steps: int) -> None:
            self.device.moved()
            listener.check()
            photos.check()
            listener.on_step(done, steps)

        with Beside(read, listener) as photos, ExitStack() as stack:
            if not self.early_steps:
                photos.result()
            initial_image = self.initial_image(request, listener)
            stack.enter_context(self.device.held(listener))
            with listener.timed("encode"):
                text_only, negative = pipe.condition_on_text(prompts, negative_prompt)
            with listener.timed("denoise"), previews(pipe, colours, listener) as on_latents:
                latents = pipe.denoise(
                    Conditioning(text_only, negative, id_prompt if self.early_steps else id_prompt()),
                    num_inference_steps=request.num_inference_steps,
                    merge_step=start_merge_step(request.style_strength, request.num_inference_steps),
                    guidance_scale=request.guidance_scale,
                    num_images=request.num_images,
                    generator=generators(request.seed, request.num_images),
                    initial_image=initial_image,
                    initial_image_strength=request.initial_image_strength,
                    height=height,
                    width=width,
                    on_step=on_step,
                    on_latents=on_latents,
                )
                if latents.is_cuda:  # decoding would wait for it anyway, and have it counted as its own
                    torch.cuda.synchronize()
            identity = photos.result()  # of steps that all saw the text alone, nobody has asked for it yet
            yield from self.decoded(pipe.decode(latents), safety, self.comparison(identity), listener)

    def inspect(self, request: Request, listener: Listener) -> Inspection:
        """What would be used of a request's photos and prompt, and every fault of it; takes no time of the device."""
        faults = Faults()
        pipe = faults.attempt(lambda: self.pipeline(request.base_pipeline)) or next(iter(self.pipelines.values()))
        read = faults.attempt(lambda: self.prompts(request, pipe, listener))
        if request.photos is not None:
            sources = self.sources(request, listener)
        else:
            urls = faults.attempt(lambda: addresses(request)) or []
            files = fetched(urls, partial(self.download, listener), faults)
            sources = named(request, files)
        faces = self.faces if self.deployment.faces == "crop" or pipe.id_encoder.wants_faces else None
        prompt = None if read is None else read[0][1]
        return inspected(sources, prompt, listener.report.prompt, faces, faults, listener)

    def decoded(
        self,
        decoding: Iterator[Image.Image],
        safety: "SafetyChecker | None",
        compare: Callable[[Image.Image], float | None] | None,
        listener: Listener,
    ) -> Iterator[Picture]:
        """The pictures as they may be shown: in place of a withheld one a black one of its size.

        Raises:
            ContentPolicyError: All were withheld.
        """
        verdicts: list[bool] = []
        while True:
            with listener.timed("decode"):
                image = next(decoding, None)
                if image is None:
                    break
                listener.check()
                verdicts.append(safety is not None and safety.flags([image])[0])
            if verdicts[-1]:
                listener.log(f"picture {len(verdicts)} was withheld by the safety check")
                image = Image.new("RGB", image.size)
            yield Picture(image, verdicts[-1], compare)
        if all(verdicts):
            raise ContentPolicyError(
                "prompt", "The safety check withheld every picture. Change the prompt, the photos or the seed."
            )

    def pipeline(self, name: str) -> PhotoMakerPipeline:
        if name not in self.pipelines:
            raise FeatureNotSupportedError(
                "base_pipeline",
                f"This deployment does not serve {name!r}; it serves {', '.join(sorted(self.pipelines))}.",
                input=name,
            )
        return self.pipelines[name]

    def size(self, request: Request) -> tuple[int, int]:
        served = self.deployment.served_sizes
        return served[0] if request.image_size is None else sizes.chosen(request.image_size, served)

    def safety_for(self, request: Request) -> "SafetyChecker | None":
        if request.enable_safety_checker:
            return self.safety
        if self.safety is not None and not self.deployment.safety_switch:
            raise FeatureNotSupportedError(
                "enable_safety_checker",
                "This deployment checks every picture. Leave enable_safety_checker out, or set it to true.",
                input=False,
            )
        return None

    def prompts(self, request: Request, pipe: PhotoMakerPipeline, listener: Listener) -> tuple[Prompts, str]:
        """The styled prompt, read, and the styled negative prompt; all checked before any download."""
        check_text("prompt", request.prompt)
        check_text("negative_prompt", request.negative_prompt)
        own = pipe.read(request.prompt)  # the trigger word is the user's, not the style's
        prompt, negative_prompt = styled(request.style, request.prompt, request.negative_prompt)
        listener.report.prompt = prompt
        if prompt == request.prompt:
            return own, negative_prompt
        try:
            return pipe.read(prompt), negative_prompt
        except PromptError as error:
            hint = f'{error.message} Or take the style "{NO_STYLE}": "{request.style}" puts words of its own before it.'
            raise PromptError("prompt", hint, input=request.prompt) from None

    def sources(self, request: Request, listener: Listener) -> list[Source]:
        """The files that the photos are in, downloaded where they are not at hand."""
        if isinstance(request.photos, bytes):
            return [Source(ARCHIVE_FIELD, request.photos)]
        if request.photos is not None:
            several = enumerate(request.photos.items())
            return [Source(f"{SEVERAL_FIELD}.{number}", data, name) for number, (name, data) in several]
        urls = addresses(request)
        listener.log("downloading the photos")
        files = downloaded(urls, partial(self.download, listener))
        return named(request, [(field, data) for (field, _), data in zip(urls, files, strict=True)])

    def initial_image(self, request: Request, listener: Listener) -> Image.Image | None:
        data = request.initial_image
        if data is None and request.initial_image_url is not None:
            listener.log("downloading the initial image")
            data = self.download(listener, request.initial_image_url, INITIAL_IMAGE_FIELD, Room(MAX_PHOTO_BYTES))
        return None if data is None else read_image(data, field=INITIAL_IMAGE_FIELD, check=listener.check)

    def download(self, listener: Listener, url: str, field: str, room: Room) -> bytes:
        return fetch(
            url,
            field=field,
            max_bytes=room.most,
            allow=self.allow,
            cancelled=lambda: room.closed or listener.cancelled(),
            total_seconds=room.seconds(),
            take=lambda count: room.take(count, field),
        )

    def identity(self, pipe: PhotoMakerPipeline, sources: Sequence[Source], room: int, listener: Listener) -> Identity:
        """The photos' person as ID tokens, read now or remembered."""
        crop = self.deployment.faces == "crop"
        read: list[Identity] = []

        def make() -> Identity:
            faces = self.faces if crop or pipe.id_encoder.wants_faces else None
            read.append(read_identity(pipe, sources, faces=faces, crop=crop, room=room, listener=listener))
            return read[0]

        encoder = str(id(pipe.id_encoder))
        identity = self.identities.get(sources, encoder, room, pipe.id_encoder.tokens_per_photo, make)
        if not read:  # what was said when the photos were read
            for line in identity.log:
                listener.log(line)
        listener.report.photos = identity.verdicts
        return identity

    def comparison(self, identity: Identity) -> Callable[[Image.Image], float | None] | None:
        """What tells a picture's likeness to the photos; None where nobody looked at these for faces."""
        if self.faces is None or identity.direction is None:
            return None
        return partial(likeness, person=identity.direction, reader=self.faces)

    def adds(self) -> bool:
        """Whether the device can."""
        device = next(iter(self.pipelines.values())).text2img.unet.device
        return torch.ones(8, device=device).sum().item() == 8


def face_finder(deployment: Deployment) -> "FaceFinder":
    """InsightFace with the deployment's model pack."""
    from photomaker.photos.faces import FaceFinder  # a deployment without faces starts without InsightFace

    return FaceFinder(deployment.face_pack, face_models(deployment))


def safety_checker() -> "SafetyChecker":
    from photomaker.pictures.safety import SafetyChecker

    return SafetyChecker()


def draw_seed() -> int:
    """A seed for a request that names none."""
    return secrets.randbelow(DRAWN_SEEDS)


def generators(seed: int, num_images: int) -> list[torch.Generator]:
    """One an image: image i is made from seed + i alone, so it does not depend on how many there are.

    On the CPU, whose noise is the same whatever the device.
    """
    return [torch.Generator().manual_seed((seed + image) % 2**64) for image in range(num_images)]
