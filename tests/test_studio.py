"""/studio over its wire: the fields of fal's siblings, and "/"'s pictures."""

import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from photomaker.deployment import Deployment
from photomaker.request import Listener
from photomaker.studio_schema import PhotomakerStudioInput, PhotomakerStudioOutput
from tests.archives import PHOTOS, data_uri, photos, zipped
from tests.serving import Verdicts, content, picture

HERE = Path(__file__).parent
ROOT_REQUEST = {
    "image_archive_url": data_uri(photos()),
    "prompt": "portrait photo of a man img",
    "num_inference_steps": 20,
    "seed": 7,
}
STUDIO = ROOT_REQUEST | {"output_format": "png", "sync_mode": True}

# starlette's TestClient takes its anyio portal through a deprecated alias
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette")


def test_the_fields_are_those_of_fals_siblings() -> None:
    """Names, types and defaults as most of fal's picture endpoints have them."""
    fields = PhotomakerStudioInput.model_json_schema()["properties"]
    assert {name: (field.get("type"), field.get("default")) for name, field in fields.items()} == {
        "prompt": ("string", None),
        "image_urls": ("array", []),
        "image_archive_url": ("string", None),
        "style": ("string", "Photographic"),
        "base_pipeline": ("string", "photomaker"),
        "image_size": (None, "square_hd"),  # either of two
        "negative_prompt": ("string", ""),
        "style_strength": ("integer", 20),
        "num_inference_steps": ("integer", 50),
        "guidance_scale": ("number", 5),
        "num_images": ("integer", 1),
        "seed": ("integer", None),
        "initial_image_url": ("string", None),
        "initial_image_strength": ("number", 0.5),
        "output_format": ("string", "jpeg"),
        "sync_mode": ("boolean", False),
        "enable_safety_checker": ("boolean", True),
    }
    assert (fields["num_inference_steps"]["minimum"], fields["num_inference_steps"]["maximum"]) == (1, 100)
    assert fields["output_format"]["enum"] == ["jpeg", "png", "webp"]
    size = fields["image_size"]
    assert size["default"] == "square_hd"
    assert size["anyOf"][0] == {"$ref": "#/$defs/ImageSize"}
    assert size["anyOf"][1]["enum"][:2] == ["square_hd", "square"]
    assert size["x-fal"]["multiple_of"] == 8
    important = [name for name, field in fields.items() if field.get("ui", {}).get("important")]
    assert important == ["prompt", "image_urls", "image_archive_url", "style", "image_size"]
    output = PhotomakerStudioOutput.model_json_schema(mode="serialization")["properties"]
    assert list(output)[:5] == ["images", "timings", "seed", "has_nsfw_concepts", "prompt"]
    assert list(output)[5:] == ["photos", "likeness"]


def test_example_inputs_are_taken() -> None:
    fields = PhotomakerStudioInput.model_json_schema()["properties"]
    examples = {name: field["examples"][0] for name, field in fields.items() if "examples" in field}
    assert set(examples) == {"prompt", "image_urls", "image_archive_url", "negative_prompt", "seed"}
    assert PhotomakerStudioInput.model_validate(examples).model_dump(include=set(examples)) == examples


def test_the_about_text_names_every_endpoint(client: TestClient) -> None:
    """fal shows the root endpoint's own as Markdown."""
    document = client.get("/openapi.json").json()
    about = document["paths"]["/"]["post"]["description"]
    assert about.startswith("Customizing Realistic Human Photos via Stacked ID Embedding")
    for path in ("/", "/studio", "/studio/stream", "/inspect"):
        assert f"- **`{path}`**" in about
        assert document["paths"][path]["post"]["description"]


def test_every_model_has_its_order(client: TestClient) -> None:
    for name, schema in client.get("/openapi.json").json()["components"]["schemas"].items():
        if "properties" in schema:
            assert schema["x-fal-order-properties"] == list(schema["properties"]), name


def test_the_same_pixels_as_the_documented_endpoint(client: TestClient) -> None:
    root = client.post("/", json=ROOT_REQUEST | {"num_images": 2}).json()
    answer = client.post("/studio", json=STUDIO | {"num_images": 2})
    assert answer.status_code == 200, answer.text[:500]
    studio = answer.json()
    assert [content(image) for image in studio["images"]] == [content(image) for image in root["images"]]
    assert studio["seed"] == root["seed"] == 7
    assert studio["has_nsfw_concepts"] == [False, False]
    assert studio["prompt"].startswith("photograph, portrait photo of a man img,")
    assert studio["photos"] == [{"name": photo.name, "used": True, "reason": None} for photo in PHOTOS[:3]]
    assert studio["likeness"] == [None, None]  # this deployment looks for no faces
    assert list(studio["timings"]) == ["download", "faces", "encode", "denoise", "decode", "upload"]
    assert all(seconds >= 0 for seconds in studio["timings"].values())
    assert studio["timings"]["denoise"] > 0


def test_photos_one_by_one_are_the_archives(client: TestClient) -> None:
    single = [data_uri(photo.read_bytes(), "image/png") for photo in PHOTOS[:3]]
    several = client.post("/studio", json=STUDIO | {"image_urls": single, "image_archive_url": None}).json()
    archive = client.post("/studio", json=STUDIO).json()
    assert content(several["images"][0]) == content(archive["images"][0])
    assert [verdict["name"] for verdict in several["photos"]] == ["image_urls.0", "image_urls.1", "image_urls.2"]


def test_archives_and_photos_together(client: TestClient) -> None:
    torn = zipped({"a.png": PHOTOS[1].read_bytes(), "torn.png": PHOTOS[2].read_bytes()[:700]})
    urls = [data_uri(PHOTOS[0].read_bytes(), "image/png"), data_uri(torn)]
    answer = client.post("/studio", json=STUDIO | {"image_urls": urls, "image_archive_url": data_uri(photos(1))}).json()
    used = [(verdict["name"], verdict["used"]) for verdict in answer["photos"]]
    assert used[:3] == [
        ("image_urls.0", True),
        ("image_urls.1/a.png", True),
        (f"image_archive_url/{PHOTOS[0].name}", True),
    ]
    assert used[3] == ("image_urls.1/torn.png", False)
    assert answer["photos"][3]["reason"].startswith("torn.png cannot be read.")


@pytest.mark.parametrize(("form", "kind"), [("jpeg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")])
def test_formats(form: str, kind: str, client: TestClient) -> None:
    (image,) = client.post("/studio", json=STUDIO | {"output_format": form}).json()["images"]
    assert picture(image).format == kind
    assert image["content_type"] == f"image/{form}"
    assert (image["width"], image["height"], image["file_size"]) == (64, 64, len(content(image)))


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        ({"width": 64, "height": 96}, (64, 96)),
        ({"width": 96, "height": 64}, (96, 64)),
        ("square_hd", (64, 64)),
        ("portrait_4_3", (64, 96)),
        ("landscape_16_9", (96, 64)),
    ],
)
def test_sizes(wanted: Any, made: tuple[int, int], client: TestClient) -> None:
    initial = data_uri(PHOTOS[0].read_bytes(), "image/png")
    for change in ({}, {"initial_image_url": initial}):
        (image,) = client.post("/studio", json=STUDIO | {"image_size": wanted} | change).json()["images"]
        assert picture(image).size == (image["width"], image["height"]) == made


def test_few_steps(client: TestClient) -> None:
    assert client.post("/studio", json=STUDIO | {"num_inference_steps": 1}).status_code == 200


def test_the_project_s_own_deployment_serves_what_sdxl_was_trained_at() -> None:
    deployment = Deployment.read(HERE.parent / "fal.toml")
    assert deployment.served_sizes[0] == (1024, 1024)
    assert len(deployment.served_sizes) == 9
    assert all(0.9 < width * height / 1024**2 <= 1 for width, height in deployment.served_sizes)


def test_picture_2_of_3_withheld_leaves_the_others_where_they_were(client: TestClient, service: Any) -> None:
    unchecked = client.post("/studio", json=STUDIO | {"num_images": 3}).json()["images"]
    service.safety = Verdicts(False, True, False)
    try:
        answer = client.post("/studio", json=STUDIO | {"num_images": 3}).json()
    finally:
        service.safety = None
    first, second, third = answer["images"]
    assert [content(first), content(third)] == [content(unchecked[0]), content(unchecked[2])]
    assert picture(second).getextrema() == ((0, 0), (0, 0), (0, 0))
    assert picture(second).size == (64, 64)
    assert answer["has_nsfw_concepts"] == [False, True, False]
    assert answer["likeness"][1] is None


@pytest.mark.parametrize("path", ["/", "/studio"])
def test_a_withheld_picture_on_every_endpoint(path: str, client: TestClient, service: Any) -> None:
    body = (ROOT_REQUEST if path == "/" else STUDIO) | {"num_images": 2}
    service.safety = Verdicts(True, False, True, True)
    try:
        some = client.post(path, json=body)
        none = client.post(path, json=body)
    finally:
        service.safety = None
    assert some.headers["x-fal-billable-units"] == "2"
    assert picture(some.json()["images"][0]).getbbox() is None
    assert picture(some.json()["images"][1]).getbbox() is not None
    assert none.status_code == 422
    assert none.json()["detail"][0]["type"] == "content_policy_violation"


def test_the_safety_switch(client: TestClient, service: Any) -> None:
    service.safety = Verdicts(True)
    allowing = service.deployment
    off = STUDIO | {"enable_safety_checker": False}
    try:
        assert client.post("/studio", json=off).json()["has_nsfw_concepts"] == [False]
        service.deployment = allowing.model_copy(update={"safety_switch": False})
        refused = client.post("/studio", json=off)
    finally:
        service.safety, service.deployment = None, allowing
    assert refused.status_code == 422
    detail = refused.json()["detail"][0]
    assert (detail["loc"], detail["type"]) == (["body", "enable_safety_checker"], "feature_not_supported")


BROKEN = data_uri(PHOTOS[0].read_bytes()[:700], "image/png")
GOOD = data_uri(PHOTOS[0].read_bytes(), "image/png")
BAD: dict[str, tuple[dict[str, Any], list[str | int], str]] = {
    "no photos": ({"image_archive_url": None}, ["image_urls"], "archive_file_count_below_minimum"),
    "photos are a string": ({"image_urls": GOOD}, ["image_urls"], "list_type"),
    "51 photos": ({"image_urls": [GOOD] * 51}, ["image_urls"], "too_long"),
    "51 photos in all": ({"image_urls": [GOOD] * 50}, ["image_archive_url"], "archive_file_count_exceeds_maximum"),
    "the second photo is broken": ({"image_urls": [GOOD, BROKEN]}, ["image_urls", 1], "image_load_error"),
    "the second photo is private": (
        {"image_urls": [GOOD, "http://127.0.0.1/a.png"]},
        ["image_urls", 1],
        "file_download_error",
    ),
    "a size in between": ({"image_size": {"width": 72, "height": 64}}, ["image_size"], "feature_not_supported"),
    "an unknown shape": ({"image_size": "huge"}, ["image_size"], "one_of"),
    "a size without width": ({"image_size": {"width": 0, "height": 64}}, ["image_size", "width"], "greater_than"),
    "a size that is none": ({"image_size": 64}, ["image_size"], "model_type"),
    "no steps": ({"num_inference_steps": 0}, ["num_inference_steps"], "greater_than_equal"),
    "gif": ({"output_format": "gif"}, ["output_format"], "one_of"),
    "no trigger": ({"prompt": "a man"}, ["prompt"], "value_error"),
    "sync_mode is a word": ({"sync_mode": "perhaps"}, ["sync_mode"], "bool_parsing"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(name: str, client: TestClient) -> None:
    change, loc, kind = BAD[name]
    answer = client.post("/studio", json=STUDIO | change)
    assert answer.status_code == 422, answer.text[:500]
    assert answer.headers["x-fal-billable-units"] == "0"
    detail = answer.json()["detail"][0]
    assert (detail["loc"], detail["type"]) == (["body", *loc], kind)
    assert detail["msg"]


def test_a_size_in_between_is_told_the_nearest(client: TestClient) -> None:
    answer = client.post("/studio", json=STUDIO | {"image_size": {"width": 64, "height": 80}})
    assert "The nearest that it makes: 64 x 96, 64 x 64, 96 x 64." in answer.json()["detail"][0]["msg"]


def test_cancelling(client: TestClient) -> None:
    answers: list[Any] = []

    def ask() -> None:
        body = STUDIO | {"num_inference_steps": 100, "num_images": 4}
        answers.append(client.post("/studio", json=body, headers={"x-fal-request-id": "two"}))

    asking = threading.Thread(target=ask)
    asking.start()
    while not client.post("/studio/cancel", headers={"x-fal-request-id": "two"}).json()["cancelled"]:
        assert asking.is_alive()
    asking.join(timeout=60)
    assert (answers[0].status_code, answers[0].headers["x-fal-billable-units"]) == (499, "0")


@pytest.mark.parametrize("path", ["/cancel", "/studio/cancel", "/studio/stream/cancel", "/inspect/cancel"])
def test_cancelling_nothing_costs_nothing(path: str, client: TestClient) -> None:
    answer = client.post(path, headers={"x-fal-request-id": "nobody's"})
    assert (answer.json(), answer.headers["x-fal-billable-units"]) == ({"cancelled": False}, "0")


def test_health(client: TestClient, service: Any) -> None:
    """Well while idle and while a request moves on; not when the device is stuck."""
    device = service.device
    well = client.post("/healthy")
    assert (well.json(), well.headers["x-fal-billable-units"]) == ({"healthy": True}, "0")
    with device.held(Listener()):
        assert client.post("/healthy").status_code == 200
        device.moved_at -= 24 * 3600
        assert client.post("/healthy").status_code == 503
    assert client.post("/healthy").status_code == 200


def test_a_wedged_device_is_noticed(client: TestClient, service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that computes nothing any more, and one that computes it wrong; "/healthy" answers all the same."""
    answers = threading.Event()
    monkeypatch.setattr("photomaker_app.PROBE_SECONDS", 0.05)
    monkeypatch.setattr(service.device, "computes", lambda: answers.wait())
    try:
        for _ in range(3):  # as often as the platform asks before it replaces the runner
            stuck = client.post("/healthy")
            assert (stuck.status_code, stuck.headers["x-fal-billable-units"]) == (503, "0")
    finally:
        answers.set()
    with service.device.probing:  # until the probe that was stuck is over
        pass
    monkeypatch.setattr("photomaker_app.PROBE_SECONDS", 60)
    assert client.post("/healthy").status_code == 200
    monkeypatch.setattr(service.device, "computes", lambda: False)
    assert client.post("/healthy").status_code == 503

    def broken() -> bool:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(service.device, "computes", broken)
    assert client.post("/healthy").status_code == 503
