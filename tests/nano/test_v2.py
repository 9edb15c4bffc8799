"""Version 2 of the trained checkpoint: from an archive, by face embeddings, to pictures of its person."""

import io

import numpy as np
import pytest
from PIL import Image

from photomaker.deployment import Deployment, package_folder
from photomaker.errors import FaceDetectionError
from photomaker.photos.person import SAME_PERSON
from photomaker.service import Listener, Request, Service
from photomaker.weights.prepared import open_pipelines
from tests.archives import zipped
from training.avatar import render
from training.cases import SCENES, Case, cases, face_finder
from training.identity import draw_photo
from training.judge import load_judge
from training.scale import Scale

PHOTO_SIDE = 192


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    deployment = Deployment.read(package_folder() / "nano" / "v2.toml")
    deployment = deployment.model_copy(update={"cache_dir": str(tmp_path_factory.mktemp("cache"))})
    return Service(deployment, open_pipelines(deployment, log=print))


def photo(who: Case, number: int) -> Image.Image:
    return render(who.identity, draw_photo(who.number, number), size=PHOTO_SIDE)


def archive(**images: Image.Image) -> bytes:
    files = {}
    for name, image in images.items():
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        files[f"{name}.png"] = buffer.getvalue()
    return zipped(files)


def request(who: Case, photos: bytes) -> Request:
    prompt = who.scene.prompt.format(who.identity.gender)
    return Request(prompt=prompt, photos=photos, num_inference_steps=20, seed=who.seed)


@pytest.mark.slow
def test_pictures_look_like_the_person(service: Service) -> None:
    """Eight people in two scenes each: well above what the text alone gives."""
    chosen = [case for case in cases(8) if case.scene in SCENES[:2]]
    made = []
    for case in chosen:
        photos = archive(**{str(number): photo(case, number) for number in range(4)})
        made += [picture.image for picture in service.generate(request(case, photos), Listener())]
    found = Scale(load_judge()).accuracy(made, chosen)
    assert found["hair_colour"] > 0.7  # chance 0.13
    assert found["skin"] > 0.8  # chance 0.25
    assert found["hair_style"] > 0.6  # chance 0.17
    assert found["glasses"] > 0.7  # chance 0.4
    assert found["eyes"] > 0.7  # chance 0.3
    assert found["background"] > 0.8  # chance 0.1


def test_a_stranger_among_the_photos_is_left_out(service: Service) -> None:
    who, _, _, _, other, *_ = cases(2)
    photos = archive(first=photo(who, 0), second=photo(who, 1), stranger=photo(other, 2))
    said: list[str] = []
    list(service.generate(request(who, photos), Listener(log=said.append)))
    assert "using 2 of 3 photos" in said
    assert [line for line in said if "stranger.png" in line]


def test_photos_without_an_avatar_are_refused(service: Service) -> None:
    (who,) = list(cases(1))[:1]
    with pytest.raises(FaceDetectionError):
        list(service.generate(request(who, archive(wall=Image.new("RGB", (300, 200), "tan"))), Listener()))


def test_faces_are_found_and_told_apart() -> None:
    """As the product tells people apart: of 380 pairs of strangers a few look alike."""
    finder, people = face_finder(), list(cases(20))[::4]
    found = [finder.faces(photo(who, number)) for number in range(2) for who in people]
    assert [len(faces) for faces in found] == [1] * len(found)
    embeddings = np.stack([finder.embedding(face) for (face,) in found])
    first, second = np.split(embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True), 2)
    cosines = first @ second.T
    strangers = cosines[~np.eye(len(people), dtype=bool)]
    assert cosines.diagonal().min() >= SAME_PERSON
    assert (strangers >= SAME_PERSON).mean() < 0.05
