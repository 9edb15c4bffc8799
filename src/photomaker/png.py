"""Pictures as PNG, by the fastest encoder that the dependencies offer; benchmarks/request.py compares them."""

import cv2
import numpy as np
from PIL import Image

COMPRESSION = 1  # zlib's fastest level: as fal's own toolkit, size matters less than the wait


def encode_png(picture: Image.Image) -> bytes:
    """An RGB picture as PNG."""
    encoded, data = cv2.imencode(
        ".png", cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, COMPRESSION]
    )
    if not encoded:
        raise RuntimeError("the PNG encoder refused a picture")
    return data.tobytes()
