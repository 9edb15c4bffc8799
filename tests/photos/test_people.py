"""A request over real photos with real face models: the person is found, and version 2 gets their embeddings."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from photomaker.deployment import Deployment
from photomaker.errors import FaceDetectionError
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.photos.archive import Photo
from photomaker.photos.faces import FaceFinder
from photomaker.photos.images import read_image
from photomaker.service import Listener, Request, Service
from tests.archives import zipped
from tests.assets import PACK, face_root, photo

HERE = Path(__file__).parents[1]
GOLDEN = HERE / "golden"


def jpeg(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=92)
    return encoded.getvalue()


@pytest.fixture(scope="module", params=["v1", "v2"])
def service(request: pytest.FixtureRequest) -> Service:
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / f"photomaker-{request.param}.bin")
    deployment = Deployment.read(HERE / "deployment.toml").model_copy(
        update={"faces": "crop", "face_pack": PACK, "face_root": str(face_root())}
    )
    return Service(deployment, {"photomaker": pipe})


def pictures(service: Service, files: dict[str, bytes], lines: list[str]) -> list[bytes]:
    request = Request(prompt="a man img", photos=zipped(files), num_inference_steps=20, seed=4)
    return [picture.image.tobytes() for picture in service.generate(request, Listener(log=lines.append))]


LANDSCAPE = jpeg(Image.linear_gradient("L").convert("RGB").resize((800, 600)))


@pytest.mark.slow
def test_photos_without_the_person_are_left_out_and_named(service: Service) -> None:
    me, me_again = jpeg(photo("obama")), jpeg(photo("obama2"))
    lines: list[str] = []
    alone = pictures(service, {"me.jpg": me, "me again.jpg": me_again}, [])
    mixed = pictures(service, {"me.jpg": me, "me again.jpg": me_again, "sea.jpg": LANDSCAPE}, lines)
    assert mixed == alone
    assert any("sea.jpg" in line and "left out" in line for line in lines)
    assert "using 2 of 3 photos" in lines


def test_no_face_anywhere(service: Service) -> None:
    with pytest.raises(FaceDetectionError, match=r"sea\.jpg") as caught:
        pictures(service, {"sea.jpg": LANDSCAPE}, [])
    assert caught.value.as_detail()["loc"] == ["body", "image_archive_url"]
    assert caught.value.type == "face_detection_error"


def test_version_1_with_whole_photos_takes_all_of_them_beside_version_2_too() -> None:
    first, second = (
        PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / f"photomaker-{version}.bin")
        for version in ("v1", "v2")
    )
    deployment = Deployment.read(HERE / "deployment.toml").model_copy(
        update={"faces": "off", "face_pack": PACK, "face_root": str(face_root())}
    )
    files = {"me.jpg": jpeg(photo("obama")), "sea.jpg": LANDSCAPE}
    lines: list[str] = []
    beside = Service(deployment, {"photomaker": first, "photomaker-style": second})
    assert pictures(beside, files, lines) == pictures(Service(deployment, {"photomaker": first}), files, [])
    assert not any("left out" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("faces", ["off", "crop"])
def test_version_2_gets_every_picture_with_its_own_embedding(faces: str, finder: FaceFinder) -> None:
    """The photo itself, or the portrait cut out of it, and the embedding of the face in it, in the same place."""
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v2.bin")
    deployment = Deployment.read(HERE / "deployment.toml").model_copy(
        update={"faces": faces, "face_pack": PACK, "face_root": str(face_root())}
    )
    service = Service(deployment, {"photomaker": pipe})
    given: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    embed = pipe.id_encoder.embed
    pipe.id_encoder.embed = lambda pixels, faces=None: given.append((pixels, faces)) or embed(pixels, faces)
    me = {f"{index}.jpg": jpeg(photo(name)) for index, name in enumerate(("obama", "obama2", "obama3"), 1)}
    pictures(service, {"0.jpg": LANDSCAPE, **me, "4.jpg": jpeg(photo("ardern"))}, [])
    ((pixels, embeddings),) = given
    assert embeddings is not None
    assert len(pixels) == len(embeddings) == len(me)
    for got, embedding, content in zip(pixels, embeddings, me.values(), strict=True):
        sent = read_image(content)
        (portrait,) = finder.portraits([Photo("alone", sent)])
        (expected,) = pipe.id_encoder.preprocess([sent if faces == "off" else portrait.image])
        assert (got - expected).abs().mean() < 0.1
        torch.testing.assert_close(embedding, torch.from_numpy(portrait.embedding), atol=0.05, rtol=0)
