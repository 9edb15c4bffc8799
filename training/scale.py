"""What pictures show: an independent network reads them, and says which are as they should be."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image

from training.attributes import ALL_CLASSES, UNSEEN, labels, predictions
from training.cases import Case
from training.judge import Judge
from training.photos import photo_pixels

Right = dict[str, torch.Tensor]
"""Of each attribute, which pictures show it: booleans [pictures in which it can be seen]."""


class Scale:
    """Reads pictures and says which of them show their case's attributes."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge

    @torch.no_grad()
    def right(self, pictures: Sequence[Image.Image], people: Sequence[Case]) -> Right:
        scores = self.judge(photo_pixels(np.stack([np.asarray(picture) for picture in pictures])))
        wanted = torch.tensor([labels(case.identity, case.scene.photo, ALL_CLASSES) for case in people])
        found = {}
        for column, (name, guess) in enumerate(predictions(scores, ALL_CLASSES).items()):
            seen = wanted[:, column] != UNSEEN
            found[name] = (guess == wanted[:, column])[seen]
        return found

    def accuracy(self, pictures: Sequence[Image.Image], people: Sequence[Case]) -> dict[str, float]:
        """The share of pictures that show each attribute; what cannot be seen does not count."""
        return shares(self.right(pictures, people))


def shares(right: Right) -> dict[str, float]:
    return {name: found.float().mean().item() for name, found in right.items()}
