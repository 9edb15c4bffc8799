"""A look at pictures while they form: latents to colours by one small matrix, no further network.

Each latent "pixel" becomes one RGB pixel, so a preview shows the latents' own size (128 x 128 for 1024 x 1024). The
matrix is fitted by least squares to what the deployment's own VAE makes of pictures with the spectrum of photographs.

What is shown is not the noisy latents but where the last step was heading: between two steps of a probability-flow
sampler the latents move along a line from the noise to the picture (Karras et al., arXiv 2206.00364, equation 1; DDIM
is the same in other units), and its end is the picture as the model sees it at that step. Samplers that add fresh
noise (euler-a, ddpm) leave that line a little; their previews stay noisier.
"""

import io
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

SAMPLES = 8  # pictures that the matrix is fitted to
GRID = 16  # latent pixels a side, of each
ENLARGED = 2  # times the latents' size: small enough for every event, large enough to recognise
QUALITY = 80  # of the JPEGs
EVERY = 5  # steps


class Codec(Protocol):
    """Pictures to latents and back; :class:`photomaker.method.pipeline.PhotoMakerPipeline` is one."""

    def encode(self, picture: Image.Image) -> Any: ...

    def scaled(self, latents: Tensor) -> Tensor: ...

    def decode(self, latents: Tensor) -> Any: ...


@dataclass(frozen=True)
class LatentColours:
    """A linear map from latents to RGB.

    Attributes:
        rows: [channels + 1][3]: what each channel adds to red, green and blue (0 to 255); last, what they begin with.
    """

    rows: tuple[tuple[float, ...], ...]

    def __call__(self, latents: Tensor) -> Tensor:
        """uint8 [n, h, w, 3] of latents [n, channels, h, w], on their device."""
        rows = torch.tensor(self.rows, dtype=torch.float32).to(latents.device, non_blocking=True)
        colours = torch.einsum("nchw,cr->nhwr", latents.float(), rows[:-1]) + rows[-1]
        return colours.clamp(0, 255).to(torch.uint8)


def fit(codec: Codec, side: int) -> LatentColours:
    """The map that comes nearest to what a VAE makes of its latents.

    Args:
        codec: The VAE, on its device.
        side: Pixels of one latent pixel (8 with SDXL).
    """
    samples, colours = [], []
    for number in range(SAMPLES):
        latents = codec.scaled(codec.encode(photographic(GRID * side, number)).mode())
        (picture,) = codec.decode(latents)
        width, height = latents.shape[-1], latents.shape[-2]
        small = picture.resize((width, height), Image.Resampling.BOX)
        samples.append(latents[0].float().flatten(1).T.cpu().numpy())
        colours.append(np.asarray(small, dtype=np.float64).reshape(-1, 3))
    inputs = np.concatenate(samples).astype(np.float64)
    inputs = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    rows, *_ = np.linalg.lstsq(inputs, np.concatenate(colours), rcond=None)
    return LatentColours(tuple(tuple(float(value) for value in row) for row in rows))


def photographic(side: int, seed: int) -> Image.Image:
    """Coloured noise with amplitudes as 1 / frequency, like photographs, around a colour of its own."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.rfftfreq(side), indexing="ij"))
    frequency[0, 0] = np.inf
    planes = []
    for _ in range(3):
        phase = np.exp(2j * np.pi * random.random(frequency.shape))
        plane = np.fft.irfft2(phase / frequency, s=(side, side))
        planes.append(plane / plane.std())
    grey = planes[0]  # the colours of photographs go up and down together
    mixed = np.stack([0.8 * grey + 0.6 * plane for plane in planes], axis=-1)
    pixels = random.uniform(40, 215, 3) + mixed * random.uniform(25, 60)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def noise_levels(scheduler: Any) -> list[float]:
    """How much noise a run's latents hold before each step and after the last: sigma of x = picture + sigma · noise."""
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) == len(scheduler.timesteps) + 1:
        return [float(sigma) for sigma in sigmas]
    kept = [float(scheduler.alphas_cumprod[int(step)]) for step in scheduler.timesteps]
    return [((1 - share) / share) ** 0.5 for share in kept] + [0.0]


class Previews:
    """The previews of one run: every few steps JPEGs of where its pictures are heading.

    The device gets two small operations and a copy for each; waiting for the copy and encoding happen in a thread, so
    that the next step is not held up.

    Args:
        colours: Of the run's VAE.
        scheduler: The run's, as it steps.
        show: Given (steps done, steps in all, a JPEG for each picture), in a thread.
        every: Steps between two.
    """

    def __init__(
        self,
        colours: LatentColours,
        scheduler: Any,
        show: Callable[[int, int, list[bytes]], None],
        every: int = EVERY,
    ) -> None:
        self.colours, self.scheduler, self.show, self.every = colours, scheduler, show, every
        self.levels: list[float] = []
        self.before: Tensor | None = None
        self.encoder = ThreadPoolExecutor(1, "previews")
        self.encoding: list[Future[None]] = []

    def on_latents(self, done: int, steps: int, latents: Tensor) -> None:
        """Take a step's latents; the last ones are the pictures, and are not previewed."""
        if done % self.every == 0 and done < steps:
            small = self.colours(self.heading(done, steps, latents))
            copied = None
            if small.is_cuda:
                small, copied = small.to("cpu", non_blocking=True), torch.cuda.Event()
                copied.record()
            self.encoding.append(self.encoder.submit(copy_context().run, self.encode, done, steps, small, copied))
        self.before = latents

    def heading(self, done: int, steps: int, latents: Tensor) -> Tensor:
        """The end of the line on which the last step moved, as the VAE takes latents."""
        if not self.levels:
            self.levels = noise_levels(self.scheduler)
        first = len(self.levels) - 1 - steps  # image-to-image skips the first steps
        now = self.levels[first + done]
        unit = float(self.scheduler.init_noise_sigma) == 1.0  # latents of unit variance, x / sqrt(1 + sigma²)
        x: Tensor = latents * math.sqrt(1 + now**2) if unit else latents
        if self.before is None:
            return x / math.sqrt(1 + now**2)
        was = self.levels[first + done - 1]
        x_before = self.before * math.sqrt(1 + was**2) if unit else self.before
        return (x * was - x_before * now) / (was - now)

    def encode(self, done: int, steps: int, small: Tensor, copied: Any) -> None:
        if copied is not None:
            copied.synchronize()
        self.show(done, steps, [jpeg(pixels) for pixels in small.numpy()])

    def finish(self) -> None:
        """Wait for the last one to be shown."""
        self.encoder.shutdown()
        for each in self.encoding:
            each.result()


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A preview [h, w, 3] as a file."""
    picture = Image.fromarray(pixels)
    size = (picture.width * ENLARGED, picture.height * ENLARGED)
    file = io.BytesIO()
    picture.resize(size, Image.Resampling.BILINEAR).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
