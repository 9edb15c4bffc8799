"""Which size a request's pictures get: one of those that the deployment serves, and has warmed up."""

import math
from collections.abc import Sequence

from photomaker.errors import FeatureNotSupportedError

Size = tuple[int, int]  # (width, height) in pixels

# fal's names for shapes. Its own sizes of them are below SDXL's megapixel.
PRESETS: dict[str, Size] = {
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
NAMED = 3  # sizes that a refusal names


def chosen(wanted: str | Size, served: Sequence[Size]) -> Size:
    """The size of a request's pictures: exactly the wanted one, or for a preset the served one nearest in shape.

    Raises:
        FeatureNotSupportedError: The deployment does not serve it; the message names the nearest that it does.
    """
    if isinstance(wanted, str):
        return nearest(PRESETS[wanted], served)[0]
    if wanted in served:
        return wanted
    named = ", ".join(f"{width} x {height}" for width, height in nearest(wanted, served)[:NAMED])
    raise FeatureNotSupportedError(
        "image_size",
        f"This deployment does not make pictures of {wanted[0]} x {wanted[1]} pixels. The nearest that it makes: "
        f"{named}.",
        input={"width": wanted[0], "height": wanted[1]},
    )


def nearest(wanted: Size, served: Sequence[Size]) -> list[Size]:
    """The served sizes, the nearest in shape first, and of equal shapes the nearest in area."""

    def distance(size: Size) -> tuple[float, float]:
        shape = math.log(size[0] / size[1]) - math.log(wanted[0] / wanted[1])
        area = math.log(size[0] * size[1]) - math.log(wanted[0] * wanted[1])
        return round(abs(shape), 6), abs(area)

    return sorted(served, key=distance)
