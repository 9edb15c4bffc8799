"""/inspect over its wire, and on real photos: what would be used, and every fault at once."""

import io
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageFilter

from photomaker.deployment import Deployment
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.photos import sources
from photomaker.request import Listener, Request
from photomaker.service import Service
from tests.archives import PHOTOS, data_uri, photos, zipped
from tests.assets import PACK, face_root, photo

HERE = Path(__file__).parent
GOOD = {"image_archive_url": data_uri(photos()), "prompt": "portrait photo of a man img"}

# starlette's TestClient takes its anyio portal through a deprecated alias
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette")


@pytest.fixture(scope="module")
def service() -> Service:
    """With the real detector and recogniser."""
    pipe = PhotoMakerPipeline.from_pretrained(HERE / "golden" / "base", HERE / "golden" / "photomaker-v1.bin")
    deployment = Deployment.read(HERE / "deployment.toml").model_copy(
        update={"faces": "crop", "face_pack": PACK, "face_root": str(face_root())}
    )
    return Service(deployment, {"photomaker": pipe})


def jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def test_nothing_to_find_fault_with(client: TestClient) -> None:
    answer = client.post("/inspect", json=GOOD)
    assert answer.status_code == 200, answer.text[:500]
    assert answer.headers["x-fal-billable-units"] == "0"
    report = answer.json()
    assert (report["ok"], report["faults"], report["person"]) == (True, [], None)
    assert [entry["name"] for entry in report["photos"]] == [path.name for path in PHOTOS[:3]]
    assert all(entry["used"] and entry["width"] and entry["face"] is None for entry in report["photos"])
    prompt = report["prompt"]
    assert prompt["text"].startswith("photograph, portrait photo of a man img,")
    assert prompt["class_word"] == "man"
    assert (prompt["tokens_dropped"], prompt["dropped"]) == (0, "")
    assert 3 < prompt["room"] < 77


def test_every_fault_at_once(client: TestClient) -> None:
    urls = ["http://127.0.0.1/a.png", data_uri(PHOTOS[0].read_bytes(), "image/png"), data_uri(b"hello", "image/png")]
    report = client.post("/inspect", json={"prompt": "a man", "image_urls": urls}).json()
    faults = {tuple(fault["loc"]): fault["type"] for fault in report["faults"]}
    assert faults == {
        ("body", "prompt"): "value_error",
        ("body", "image_urls", 0): "file_download_error",
        ("body", "image_urls", 2): "invalid_archive",
    }
    assert not report["ok"]
    assert report["prompt"] is None
    assert [entry["name"] for entry in report["photos"]] == ["image_urls.1"]


def test_too_much_together_is_one_fault(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_ARCHIVE_BYTES", 2 * PHOTOS[0].stat().st_size)
    urls = [data_uri(PHOTOS[0].read_bytes(), "image/png")] * 6
    report = client.post("/inspect", json={"prompt": GOOD["prompt"], "image_urls": urls}).json()
    assert [fault["type"] for fault in report["faults"]] == ["file_too_large"]
    assert len(report["photos"]) == 2


@pytest.mark.parametrize(
    "prompt", ["", "photo of a man", "a man img and a woman img", "img man", "a man, img", "very " * 80 + "old man img"]
)
def test_faulty_prompts(prompt: str, client: TestClient) -> None:
    report = client.post("/inspect", json=GOOD | {"prompt": prompt}).json()
    (fault,) = report["faults"]
    refused = client.post("/studio", json=GOOD | {"prompt": prompt}).json()["detail"][0]
    assert (fault["loc"], fault["msg"], fault["type"]) == (refused["loc"], refused["msg"], refused["type"])
    assert len(report["photos"]) == 3


def test_what_does_not_fit_into_the_prompt(client: TestClient) -> None:
    prompt = "a man img, " + "red " * 60 + "hat and an hourglass"
    found = client.post("/inspect", json=GOOD | {"prompt": prompt}).json()["prompt"]
    assert found["tokens_used"] == 77
    assert found["tokens_dropped"] > 0
    assert "hourglass" in found["dropped"]


def test_no_photos_and_a_body_that_is_none(client: TestClient) -> None:
    report = client.post("/inspect", json={"prompt": "a man img"}).json()
    assert [(fault["loc"], fault["type"]) for fault in report["faults"]] == [
        (["body", "image_urls"], "archive_file_count_below_minimum")
    ]
    assert client.post("/inspect", json={}).status_code == 422


def inspect(service: Service, photos: bytes | dict[str, bytes], prompt: str = "portrait photo of a man img") -> Any:
    return service.inspect(Request(prompt=prompt, photos=photos), Listener())


@pytest.mark.slow
def test_a_mixed_archive_of_real_photos(service: Service) -> None:
    files = {f"{name}.jpg": jpeg(photo(name)) for name in ("ardern", "obama", "obama2", "obama3", "rocket")}
    files["blurred.jpg"] = jpeg(photo("obama4").filter(ImageFilter.GaussianBlur(12)))
    files["notes.txt"] = b"hello"
    report = inspect(service, zipped(files))
    by_name = {entry.name: entry for entry in report.photos}
    assert report.ok
    assert {name for name, entry in by_name.items() if entry.used} >= {"obama.jpg", "obama2.jpg", "obama3.jpg"}
    assert (by_name["ardern.jpg"].whose, by_name["ardern.jpg"].used) == ("somebody else", False)
    assert by_name["ardern.jpg"].similarity < 0.3 < by_name["obama.jpg"].similarity
    assert (by_name["rocket.jpg"].face, by_name["rocket.jpg"].whose) == (False, None)
    assert by_name["rocket.jpg"].reason == "no face was found"
    assert "not an image" in by_name["notes.txt"].reason
    assert (by_name["notes.txt"].used, by_name["notes.txt"].width) == (False, None)
    assert by_name["blurred.jpg"].sharpness < by_name["obama.jpg"].sharpness
    assert report.person.photos >= 3
    assert report.person.agreement > 0.5
    assert report.person.others == 1


@pytest.mark.slow
def test_photos_without_faces(service: Service) -> None:
    report = inspect(service, {"a": jpeg(photo("rocket")), "b": jpeg(photo("coffee"))}, prompt="a man")
    assert {fault.type for fault in report.faults} == {"value_error", "face_detection_error"}
    assert report.person is None
    assert [entry.name for entry in report.photos] == ["a", "b"]


def test_the_device_is_not_needed(service: Service) -> None:
    with service.device.held(Listener()):
        assert inspect(service, zipped({"a.jpg": jpeg(photo("obama"))})).ok


def test_a_likeness_is_told_from_the_photos_faces(service: Service) -> None:
    """The photos' own person is recognised in another photo; a stranger is not."""
    request = Request(
        prompt="a man img",
        photos={name: jpeg(photo(name)) for name in ("obama", "obama2", "obama3")},
        num_inference_steps=1,
    )
    listener = Listener()
    (picture,) = service.generate(request, listener)
    assert picture.likeness is None  # a random network draws no face
    assert picture.compare is not None
    assert picture.compare(photo("obama4")) > 0.5
    assert picture.compare(photo("ardern")) < 0.2
    assert [(verdict.name, verdict.reason) for verdict in listener.report.photos] == [
        ("obama", None),
        ("obama2", None),
        ("obama3", None),
    ]
