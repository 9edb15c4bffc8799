"""The safety check: the real classifier."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from photomaker.pictures.safety import SafetyChecker
from tests.assets import photo

HARMLESS = ("obama", "ardern", "friends", "solvay", "astronaut", "chelsea", "coffee", "rocket")


@pytest.fixture(scope="module")
def checker() -> SafetyChecker:
    return SafetyChecker()


def test_photos_of_people_and_things_pass(checker: SafetyChecker) -> None:
    images = [photo(name) for name in HARMLESS]
    assert checker.flags(images) == [False] * len(images)
    assert checker.classifier.score_images(images).max() < 0.2  # Yahoo's "safe"


def test_the_threshold_decides_picture_by_picture(checker: SafetyChecker) -> None:
    images = [photo(name) for name in ("astronaut", "ardern", "chelsea")]
    scores = checker.classifier.score_images(images)
    assert len(set(scores.tolist())) == 3
    strict = SafetyChecker(threshold=float(np.median(scores)))
    assert strict.flags(images) == [bool(score >= np.median(scores)) for score in scores]
    assert sum(strict.flags(images)) == 2


def test_no_pictures_no_flags(checker: SafetyChecker) -> None:
    assert checker.flags([]) == []


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_any_mode_and_shape_is_scored(checker: SafetyChecker, mode: str) -> None:
    assert checker.flags([Image.new(mode, (1, 1)), Image.new(mode, (2000, 30))]) == [False, False]


def test_pictures_are_left_as_they_were(checker: SafetyChecker) -> None:
    picture = Image.new("RGB", (64, 64))
    ImageDraw.Draw(picture).ellipse((8, 8, 56, 56), fill="red")
    before = picture.tobytes()
    checker.flags([picture])
    assert picture.tobytes() == before


@pytest.mark.parametrize("threshold", [0, -1, 1.1])
def test_a_threshold_is_a_probability(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        SafetyChecker(threshold=threshold)


def test_a_missing_model_is_named(tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.onnx"):
        SafetyChecker(f"{tmp_path}/nothing.onnx")
