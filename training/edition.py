"""Which nano is trained: the second edition, from nothing, or the first one, which ships, further.

`NANO_EDITION=1` in the environment chooses the latter. Both go through the same stages; the first one's start from what
ships (`warm`), so it needs no autoencoder of its own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Edition:
    """Pixels of a side, the autoencoder's latent channels, and how many noisy pictures base, adapter and style see.

    `rate` is the multiple of the base's learning rates: lower where much is known. `other_shapes`: whether pictures are
    cropped to upright and lying ones now and then.
    """

    side: int
    latent_channels: int
    base_samples: int
    adapter_samples: int
    style_samples: int
    rate: float
    other_shapes: bool


EDITION = {
    "1": Edition(
        side=96,
        latent_channels=8,
        base_samples=64_800,
        adapter_samples=28_800,
        style_samples=14_400,
        rate=0.6,
        other_shapes=False,
    ),
    "2": Edition(
        side=128,
        latent_channels=16,
        base_samples=1_440_000,
        adapter_samples=96_000,
        style_samples=24_000,
        rate=1.0,
        other_shapes=True,
    ),
}[os.environ.get("NANO_EDITION", "2")]
