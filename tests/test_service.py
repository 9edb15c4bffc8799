"""One request from input to pictures: what is remembered, what is withheld, what is said."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from photomaker.deployment import Deployment
from photomaker.errors import Cancelled, ContentPolicyError, PromptError
from photomaker.identities import Identities, Identity
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.photos.sources import Source
from photomaker.pictures.safety import SafetyChecker
from photomaker.service import Listener, Request, Service
from tests.archives import PHOTOS, photos, zipped

HERE = Path(__file__).parent
REQUEST = Request(prompt="a man img", photos=photos(2), num_inference_steps=20, seed=1)


@pytest.fixture(scope="module")
def pipe() -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(HERE / "golden" / "base", HERE / "golden" / "photomaker-v1.bin")


@pytest.fixture
def embeddings(pipe: PhotoMakerPipeline, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many photos each call of the ID encoder was given."""
    calls: list[int] = []
    embed = pipe.id_encoder.embed

    def counted(pixels: torch.Tensor, faces: torch.Tensor | None = None) -> torch.Tensor:
        calls.append(len(pixels))
        return embed(pixels, faces)

    monkeypatch.setattr(pipe.id_encoder, "embed", counted)
    return calls


@pytest.fixture
def service(pipe: PhotoMakerPipeline) -> Service:
    return Service(Deployment.read(HERE / "deployment.toml"), {"photomaker": pipe})


def pictures(service: Service, **changes: Any) -> list[bytes]:
    request = Request(**{**vars(REQUEST), **changes})
    return [picture.image.tobytes() for picture in service.generate(request, Listener())]


def test_a_known_archive_is_not_encoded_again(service: Service, embeddings: list[int]) -> None:
    first, second = pictures(service), pictures(service)
    assert embeddings == [2]
    assert first == second


def test_a_known_archive_serves_other_prompts(service: Service, embeddings: list[int]) -> None:
    pictures(service)
    pictures(service, prompt="a rather long photo of a tall old man img, on the beach")
    assert embeddings == [2]


def test_a_known_archive_is_spoken_of_again(service: Service) -> None:
    archive = zipped({PHOTOS[0].name: PHOTOS[0].read_bytes(), "torn.png": PHOTOS[1].read_bytes()[:900]})
    spoken: list[list[str]] = []
    for _ in range(2):
        lines: list[str] = []
        list(service.generate(Request(**{**vars(REQUEST), "photos": archive}), Listener(log=lines.append)))
        spoken.append(lines)
    assert [line for line in spoken[0] if "torn.png" in line]
    assert spoken[0] == spoken[1]


def test_another_archive_is_another_person(service: Service, embeddings: list[int]) -> None:
    assert pictures(service) != pictures(service, photos=photos(1))
    assert embeddings == [2, 1]


def test_only_so_many_identities_are_remembered() -> None:
    identities = Identities(remembered=2)
    made: list[bytes] = []

    def ask(archive: bytes, *, room: int = 9, limited: bool = False) -> None:
        def make() -> Identity:
            made.append(archive)
            return Identity(torch.zeros(3, 4), limited)

        identities.get([Source("image_archive_url", archive)], "encoder", room, 1, make)

    for archive in (b"a", b"b", b"a", b"c", b"a", b"b"):
        ask(archive)
    assert made == [b"a", b"b", b"c", b"b"]


def test_an_identity_that_left_photos_out_serves_the_same_room_only() -> None:
    identities = Identities()
    made: list[int] = []

    def ask(room: int, *, limited: bool) -> None:
        def make() -> Identity:
            made.append(room)
            return Identity(torch.zeros(min(room, 5), 4), limited)

        identities.get([Source("image_archive_url", b"archive")], "encoder", room, 1, make)

    ask(3, limited=True)
    ask(3, limited=True)
    ask(9, limited=False)
    ask(8, limited=False)
    ask(3, limited=True)
    assert made == [3, 9]


class Verdicts:
    """A checker that gives these verdicts, one a picture."""

    def __init__(self, *verdicts: bool) -> None:
        self.verdicts: Iterator[bool] = iter(verdicts)

    def flags(self, images: Sequence[Image.Image]) -> list[bool]:
        return [next(self.verdicts) for _ in images]


def test_a_withheld_picture_keeps_its_place_and_the_log_says_which(service: Service) -> None:
    unchecked = pictures(service, num_images=3)
    service.safety = Verdicts(False, True, False)  # type: ignore[assignment]
    lines: list[str] = []
    request = Request(**{**vars(REQUEST), "num_images": 3})
    returned = list(service.generate(request, Listener(log=lines.append)))
    black = Image.new("RGB", (64, 64))
    assert [picture.image.tobytes() for picture in returned] == [unchecked[0], black.tobytes(), unchecked[2]]
    assert [picture.withheld for picture in returned] == [False, True, False]
    assert [line for line in lines if "withheld" in line] == ["picture 2 was withheld by the safety check"]


def test_all_pictures_flagged_is_an_error(service: Service) -> None:
    service.safety = SafetyChecker(threshold=1e-9)  # so strict that every picture is flagged
    with pytest.raises(ContentPolicyError) as caught:
        pictures(service, num_images=2)
    assert caught.value.type == "content_policy_violation"


def test_the_deployment_chooses_the_safety_check(pipe: PhotoMakerPipeline) -> None:
    checked = Deployment.read(HERE / "deployment.toml").model_copy(update={"safety": "check"})
    service = Service(checked, {"photomaker": pipe})
    assert isinstance(service.safety, SafetyChecker)
    assert len(pictures(service)) == 1


def test_a_class_word_that_the_style_moves_too_far_back(service: Service) -> None:
    prompt = "red " * 71 + "man img"
    assert pictures(service, prompt=prompt, photos=photos(1), style="(No style)")
    with pytest.raises(PromptError, match=r'"Neonpunk" puts words of its own before it') as caught:
        pictures(service, prompt=prompt, style="Neonpunk")
    assert "(No style)" in caught.value.message
    assert caught.value.input == prompt


def test_the_device_is_free_after_a_cancelled_request(service: Service) -> None:
    told: list[int] = []
    listener = Listener(on_step=lambda done, steps: told.append(done), cancelled=lambda: len(told) >= 5)
    with pytest.raises(Cancelled):
        list(service.generate(REQUEST, listener))
    assert told == [1, 2, 3, 4, 5]
    assert len(pictures(service)) == 1


def test_the_device_is_free_after_a_caller_loses_interest(service: Service) -> None:
    drawing = service.generate(Request(**{**vars(REQUEST), "num_images": 4}), Listener())
    next(drawing)
    drawing.close()
    assert len(pictures(service)) == 1
