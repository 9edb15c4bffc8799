"""Pictures shown while they form: which colours a pipeline's latents have, and who is shown them."""

from collections.abc import Iterator
from contextlib import contextmanager

from photomaker.deployment import Deployment
from photomaker.method.conditioning import OnLatents
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.pictures.previews import LatentColours, Previews, fit
from photomaker.request import Listener
from photomaker.weights.kept import kept
from photomaker.weights.prepared import cache_root


@contextmanager
def previews(pipe: PhotoMakerPipeline, colours: LatentColours | None, listener: Listener) -> Iterator[OnLatents | None]:
    """What shows the listener previews, where it looks at them.

    Args:
        pipe: Whose latents they are of.
        colours: Of its VAE; None: fitted now.
        listener: Whom to show them.
    """
    if listener.on_preview is None:
        yield None
        return
    shown = Previews(colours or fitted(pipe), pipe.text2img.scheduler, listener.on_preview)
    try:
        yield shown.on_latents
    finally:
        shown.finish()


def latent_colours(deployment: Deployment, pipe: PhotoMakerPipeline) -> LatentColours:
    """How previews colour this pipeline's latents; fitted once to its VAE, and kept with the prepared weights."""
    if not deployment.inference.prepared:
        return fitted(pipe)
    folder = cache_root(deployment) / "previews"
    return LatentColours(tuple(map(tuple, kept(folder, pipe.text2img.vae, lambda: fitted(pipe).rows))))


def fitted(pipe: PhotoMakerPipeline) -> LatentColours:
    return fit(pipe, pipe.text2img.vae_scale_factor)
