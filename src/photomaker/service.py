"""One request, from input to pictures.

download → archive → faces → ID tokens → prompt and style → denoising → decoding → safety. Each step takes
values and returns values; only the pipelines hold the device, for one request at a time.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from PIL import Image

from photomaker.deployment import Deployment
from photomaker.errors import Cancelled, ContentPolicyError, FeatureNotSupportedError, PromptError
from photomaker.identities import Identities, Identity
from photomaker.method.conditioning import Prompts, start_merge_step
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.method.prompts import check_room, check_text
from photomaker.method.styles import DEFAULT_STYLE, NO_STYLE, styled
from photomaker.photos.archive import MAX_PHOTO_BYTES, read_photos
from photomaker.photos.decoders import decoders
from photomaker.photos.download import MAX_ARCHIVE_BYTES, fetch
from photomaker.photos.face_models import face_models
from photomaker.photos.images import read_image
from photomaker.weights.inference import accelerate, warm_up
from photomaker.weights.prepared import open_pipelines

if TYPE_CHECKING:
    from photomaker.photos.faces import FaceFinder
    from photomaker.pictures.safety import SafetyChecker

ARCHIVE_FIELD = "image_archive_url"
INITIAL_IMAGE_FIELD = "initial_image_url"
DRAWN_SEEDS = 2**32  # exact in every client's numbers


@dataclass(frozen=True)
class Request:
    """What a caller asks for, by the endpoint's own names.

    ``photos`` and ``initial_image`` stand in for their URLs where the bytes are at hand already.
    """

    prompt: str
    image_archive_url: str = ""
    base_pipeline: str = "photomaker"
    initial_image_url: str | None = None
    initial_image_strength: float = 0.5
    style: str = DEFAULT_STYLE
    negative_prompt: str = ""
    num_inference_steps: int = 50
    style_strength: int = 20
    num_images: int = 1
    guidance_scale: float = 5.0
    seed: int = 0
    photos: bytes | None = field(default=None, repr=False)
    initial_image: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Listener:
    """Whom a running request tells, and asks."""

    log: Callable[[str], None] = lambda line: None
    on_step: Callable[[int, int], None] = lambda done, steps: None
    cancelled: Callable[[], bool] = lambda: False

    def check(self) -> None:
        """Raises Cancelled once the caller has taken the request back."""
        if self.cancelled():
            raise Cancelled


class Service:
    """The deployment's pipelines, and the one road through them."""

    def __init__(self, deployment: Deployment, pipelines: Mapping[str, PhotoMakerPipeline]) -> None:
        self.deployment = deployment
        self.pipelines = pipelines
        self.allow = deployment.allowed_hosts()
        self.identities = Identities()
        self.device = threading.Lock()
        wants_faces = any(pipe.id_encoder.wants_faces for pipe in pipelines.values())
        self.faces = face_finder(deployment) if wants_faces or deployment.faces == "crop" else None
        self.safety = safety_checker() if deployment.safety == "check" else None

    @classmethod
    def start(cls, deployment: Deployment, log: Callable[[str], None]) -> Self:
        """Load and warm every pipeline of the deployment, and what finds faces and checks pictures."""
        decoders().warm()
        pipelines = open_pipelines(deployment, log=log)
        for pipe in pipelines.values():
            accelerate(pipe, deployment.inference)
            warm_up(pipe, deployment, log)
        return cls(deployment, pipelines)

    def generate(self, request: Request, listener: Listener) -> Iterator[Image.Image]:
        """The request's pictures, one by one as they are decoded.

        Raises:
            RequestError: What the caller should change.
            Cancelled: The caller took the request back.
        """
        pipe = self.pipeline(request.base_pipeline)
        prompts, negative_prompt = self.prompts(request, pipe)
        archive = self.archive(request, listener)
        initial_image = self.initial_image(request, listener)

        def on_step(done: int, steps: int) -> None:
            listener.check()
            listener.on_step(done, steps)

        returned = 0
        with self.device_for(listener):
            identity = self.identity(pipe, archive, prompts[1].room, listener)
            conditioning = pipe.condition(prompts, negative_prompt, identity.tokens)
            if conditioning.dropped:
                listener.log(f"the prompt is too long; dropped: {conditioning.dropped}")
            listener.check()
            latents = pipe.denoise(
                conditioning,
                num_inference_steps=request.num_inference_steps,
                merge_step=start_merge_step(request.style_strength, request.num_inference_steps),
                guidance_scale=request.guidance_scale,
                num_images=request.num_images,
                generator=generators(request.seed, request.num_images),
                initial_image=initial_image,
                initial_image_strength=request.initial_image_strength,
                height=self.deployment.height,
                width=self.deployment.width,
                on_step=on_step,
            )
            for picture in pipe.decode(latents):
                listener.check()
                if self.safety is not None and self.safety.flags([picture])[0]:
                    listener.log("a picture was withheld by the safety check")
                    continue
                returned += 1
                yield picture
        if not returned:
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

    def prompts(self, request: Request, pipe: PhotoMakerPipeline) -> tuple[Prompts, str]:
        """The styled prompt, read, and the styled negative prompt; all checked before any download."""
        check_text("prompt", request.prompt)
        check_text("negative_prompt", request.negative_prompt)
        own = pipe.read(request.prompt)  # the trigger word is the user's, not the style's
        prompt, negative_prompt = styled(request.style, request.prompt, request.negative_prompt)
        if prompt == request.prompt:
            return own, negative_prompt
        try:
            return pipe.read(prompt), negative_prompt
        except PromptError as error:
            hint = f'{error.message} Or take the style "{NO_STYLE}": "{request.style}" puts words of its own before it.'
            raise PromptError("prompt", hint, input=request.prompt) from None

    def archive(self, request: Request, listener: Listener) -> bytes:
        if request.photos is not None:
            return request.photos
        listener.log("downloading the photos")
        return self.download(request.image_archive_url, ARCHIVE_FIELD, MAX_ARCHIVE_BYTES, listener)

    def initial_image(self, request: Request, listener: Listener) -> Image.Image | None:
        data = request.initial_image
        if data is None and request.initial_image_url is not None:
            listener.log("downloading the initial image")
            data = self.download(request.initial_image_url, INITIAL_IMAGE_FIELD, MAX_PHOTO_BYTES, listener)
        return None if data is None else read_image(data, field=INITIAL_IMAGE_FIELD, check=listener.check)

    def download(self, url: str, field: str, max_bytes: int, listener: Listener) -> bytes:
        return fetch(url, field=field, max_bytes=max_bytes, allow=self.allow, cancelled=listener.cancelled)

    def identity(self, pipe: PhotoMakerPipeline, archive: bytes, room: int, listener: Listener) -> Identity:
        """The archive's person as ID tokens."""
        crop = self.deployment.faces == "crop"
        said: list[str] = []

        def log(line: str) -> None:
            said.append(line)
            listener.log(line)

        def make() -> Identity:
            photos = read_photos(archive, field=ARCHIVE_FIELD, on_skipped=log, check=listener.check)
            if self.faces is None or not (crop or pipe.id_encoder.wants_faces):
                check_room(len(photos), room)  # the authors' way: every photo as it is
                return Identity(pipe.identify([photo.image for photo in photos]), limited=False, log=tuple(said))
            portraits = self.faces.portraits(photos, field=ARCHIVE_FIELD, limit=room, log=log, check=listener.check)
            log(f"using {len(portraits)} of {len(photos)} photos")
            embeddings = torch.from_numpy(np.stack([portrait.embedding for portrait in portraits]))
            images = [portrait.image if crop else photos[portrait.photo].image for portrait in portraits]
            return Identity(pipe.identify(images, embeddings), limited=len(portraits) == room, log=tuple(said))

        encoder = str(id(pipe.id_encoder))
        identity = self.identities.get(archive, encoder, room, pipe.id_encoder.tokens_per_photo, make)
        for line in identity.log[len(said) :]:  # of a known archive, what was said when it was read
            listener.log(line)
        return identity

    @contextmanager
    def device_for(self, listener: Listener) -> Iterator[None]:
        """The device, for this request alone; a request that waits for it can still be cancelled."""
        while not self.device.acquire(timeout=0.1):
            listener.check()
        try:
            yield
        finally:
            self.device.release()


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
