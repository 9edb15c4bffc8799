"""How long nano is trained, and how: from nothing, or further from what ships.

`NANO_FURTHER=1` in the environment chooses the latter: the stage `warm` comes before `latents` then, and brings the
autoencoder, the base and the ID encoder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Lengths:
    """How many pictures a stage sees, with noise.

    `rate` is the multiple of the base's learning rates, and `reading_weight` what the reader's verdicts count in the
    loss: the more while there is much to read wrongly. `decoder_share` is how much of the decoder's weights is new.
    """

    base_samples: int
    adapter_samples: int
    style_samples: int
    decoder_samples: int
    decoder_share: float
    rate: float
    reading_weight: float


FROM_NOTHING = Lengths(
    base_samples=1_440_000,
    adapter_samples=96_000,
    style_samples=24_000,
    decoder_samples=64_000,
    decoder_share=1.0,
    rate=1.0,
    reading_weight=0.01,
)
FURTHER = Lengths(
    base_samples=294_400,
    adapter_samples=22_400,
    style_samples=12_800,
    decoder_samples=8_800,
    decoder_share=0.3,
    rate=0.6,
    reading_weight=0.003,
)
LENGTHS = FURTHER if os.environ.get("NANO_FURTHER") else FROM_NOTHING
