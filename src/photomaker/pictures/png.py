"""Pictures as PNG, by the fastest encoder that the dependencies offer; benchmarks/request.py compares them."""

import cv2
import numpy as np
from PIL import Image

# One filter for every row instead of trying all five, and of zlib's ways the one that looks for repeated bytes alone:
# on photographs less than the rest finds costs more time than it saves bytes.
OPTIONS = (
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
)


def encode_png(picture: Image.Image) -> bytes:
    """An RGB picture as PNG."""
    encoded, data = cv2.imencode(".png", cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR), OPTIONS)
    if not encoded:
        raise RuntimeError("the PNG encoder refused a picture")
    return data.tobytes()
