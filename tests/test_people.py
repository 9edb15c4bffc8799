"""A request over real photos with real face models: the person is found, and version 2 gets their embeddings."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from photomaker.deployment import Deployment
from photomaker.errors import FaceDetectionError
from photomaker.pipeline import PhotoMakerPipeline
from photomaker.service import Listener, Request, Service
from tests.archives import zipped
from tests.assets import PACK, face_root, photo

HERE = Path(__file__).parent
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
    return [picture.tobytes() for picture in service.generate(request, Listener(log=lines.append))]


LANDSCAPE = jpeg(Image.linear_gradient("L").convert("RGB").resize((800, 600)))


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


def test_version_2_with_whole_photos_keeps_faces_in_step() -> None:
    pipe = PhotoMakerPipeline.from_pretrained(GOLDEN / "base", GOLDEN / "photomaker-v2.bin")
    deployment = Deployment.read(HERE / "deployment.toml").model_copy(
        update={"face_pack": PACK, "face_root": str(face_root())}
    )
    service = Service(deployment, {"photomaker": pipe})
    given: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    embed = pipe.id_encoder.embed
    pipe.id_encoder.embed = lambda pixels, faces=None: given.append((pixels, faces)) or embed(pixels, faces)
    files = {"0.jpg": LANDSCAPE, "1.jpg": jpeg(photo("obama")), "2.jpg": jpeg(photo("obama2"))}
    pictures(service, files, [])
    ((pixels, faces),) = given
    assert faces is not None
    assert len(pixels) == len(faces) == 2
    whole = pipe.id_encoder.preprocess([Image.open(io.BytesIO(files["1.jpg"]))])
    assert (pixels[0] - whole[0]).abs().mean() < 0.1  # the photo itself, not a crop of it
    finder = service.faces
    assert finder is not None
    for index, name in enumerate(("1.jpg", "2.jpg")):
        image = Image.open(io.BytesIO(files[name])).convert("RGB")
        expected = finder.embedding(finder.faces(0, image)[0])
        torch.testing.assert_close(faces[index], torch.from_numpy(expected), atol=0.05, rtol=0)
