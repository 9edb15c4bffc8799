"""The app over its wire: good requests, every kind of bad one, and good ones again."""

import io
import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from photomaker.schema import PhotomakerInput
from tests.archives import PHOTOS, data_uri, photos, zipped
from tests.serving import content, picture

HERE = Path(__file__).parent
GOOD = {"image_archive_url": data_uri(photos()), "prompt": "portrait photo of a man img", "num_inference_steps": 20}

# starlette's TestClient takes its anyio portal through a deprecated alias
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette")


def png(width: int = 64, height: int = 64) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(encoded, "PNG")
    return encoded.getvalue()


def test_the_two_required_fields_are_enough(client: TestClient) -> None:
    answer = client.post("/", json={name: GOOD[name] for name in ("image_archive_url", "prompt")})
    assert answer.status_code == 200
    assert answer.headers["x-fal-billable-units"] == "1"
    (image,) = answer.json()["images"]
    encoded = content(image)
    assert image["content_type"] == "image/png"
    assert image["file_name"].endswith(".png")
    assert image["file_size"] == len(encoded)
    assert (image["width"], image["height"]) == picture(image).size == (64, 64)
    assert picture(image).format == "PNG"
    assert isinstance(answer.json()["seed"], int)


def test_the_same_seed_gives_the_same_bytes(client: TestClient) -> None:
    first, second = (client.post("/", json=GOOD | {"seed": 42}).json() for _ in range(2))
    assert first["images"][0]["url"] == second["images"][0]["url"]
    assert first["seed"] == 42


def test_a_drawn_seed_can_be_asked_for_again(client: TestClient) -> None:
    drawn = client.post("/", json=GOOD).json()
    again = client.post("/", json=GOOD | {"seed": drawn["seed"]}).json()
    assert drawn["images"][0]["url"] == again["images"][0]["url"]


def test_image_i_is_made_from_seed_plus_i(client: TestClient) -> None:
    two = client.post("/", json=GOOD | {"seed": 7, "num_images": 2}).json()["images"]
    one = client.post("/", json=GOOD | {"seed": 8}).json()["images"]
    difference = [abs(a - b) for a, b in zip(picture(two[1]).tobytes(), picture(one[0]).tobytes(), strict=True)]
    assert max(difference) <= 1


@pytest.mark.parametrize(
    "change",
    [
        {"base_pipeline": "photomaker-style"},
        {"style": "(No style)"},
        {"style": "Line art"},
        {"num_images": 4},
        {"guidance_scale": 0.1},
        {"guidance_scale": 10},
        {"style_strength": 50},
        {"negative_prompt": "img, a man img"},
        {"initial_image_url": data_uri(png(50, 90), "image/png")},
        {"initial_image_url": data_uri(png(), "image/png"), "initial_image_strength": 0},
        {"initial_image_url": data_uri(png(), "image/png"), "initial_image_strength": 0.01},
        {"initial_image_url": data_uri(png(), "image/png"), "initial_image_strength": 1},
        {"initial_image_url": None, "seed": None},
        {"seed": -1},
        {"seed": 2**64},
        {"seed": 10**40},
        {"unknown_field": "is ignored"},
        {"image_archive_url": data_uri(PHOTOS[0].read_bytes(), "image/png")},
        {"image_archive_url": data_uri(PHOTOS[0].read_bytes())},
    ],
    ids=lambda change: next(iter(f"{key}={value}"[:40] for key, value in change.items())),
)
def test_good_requests(change: dict[str, Any], client: TestClient) -> None:
    answer = client.post("/", json=GOOD | change)
    assert answer.status_code == 200, answer.text[:500]
    assert len(answer.json()["images"]) == (GOOD | change).get("num_images", 1)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in GOOD.items() if key != name}


ARCHIVE, PROMPT, INITIAL = "image_archive_url", "prompt", "initial_image_url"

BAD: dict[str, tuple[Any, str | None, str]] = {
    # name: body, field, type
    "no body": ({}, ARCHIVE, "missing"),
    "a list": ([], None, "model_attributes_type"),
    "a string": ("photos", None, "model_attributes_type"),
    "null": (None, None, "missing"),
    "no archive": (without(ARCHIVE), ARCHIVE, "missing"),
    "no prompt": (without(PROMPT), PROMPT, "missing"),
    "archive is null": (GOOD | {ARCHIVE: None}, ARCHIVE, "string_type"),
    "archive is a number": (GOOD | {ARCHIVE: 7}, ARCHIVE, "string_type"),
    "archive is a list": (GOOD | {ARCHIVE: ["https://example.com/a.zip"]}, ARCHIVE, "string_type"),
    "prompt is null": (GOOD | {PROMPT: None}, PROMPT, "string_type"),
    "prompt is an object": (GOOD | {PROMPT: {}}, PROMPT, "string_type"),
    "unknown pipeline": (GOOD | {"base_pipeline": "sdxl"}, "base_pipeline", "one_of"),
    "pipeline is null": (GOOD | {"base_pipeline": None}, "base_pipeline", "one_of"),
    "unknown style": (GOOD | {"style": "photographic"}, "style", "one_of"),
    "style is a number": (GOOD | {"style": 1}, "style", "one_of"),
    "strength below 0": (GOOD | {"initial_image_strength": -0.1}, "initial_image_strength", "greater_than_equal"),
    "strength above 1": (GOOD | {"initial_image_strength": 1.1}, "initial_image_strength", "less_than_equal"),
    "strength is a word": (GOOD | {"initial_image_strength": "half"}, "initial_image_strength", "float_parsing"),
    "too few steps": (GOOD | {"num_inference_steps": 19}, "num_inference_steps", "greater_than_equal"),
    "too many steps": (GOOD | {"num_inference_steps": 101}, "num_inference_steps", "less_than_equal"),
    "half a step": (GOOD | {"num_inference_steps": 20.5}, "num_inference_steps", "int_from_float"),
    "steps are null": (GOOD | {"num_inference_steps": None}, "num_inference_steps", "int_type"),
    "style strength below 15": (GOOD | {"style_strength": 14}, "style_strength", "greater_than_equal"),
    "style strength above 50": (GOOD | {"style_strength": 51}, "style_strength", "less_than_equal"),
    "no images": (GOOD | {"num_images": 0}, "num_images", "greater_than_equal"),
    "five images": (GOOD | {"num_images": 5}, "num_images", "less_than_equal"),
    "no guidance": (GOOD | {"guidance_scale": 0}, "guidance_scale", "greater_than_equal"),
    "too much guidance": (GOOD | {"guidance_scale": 10.01}, "guidance_scale", "less_than_equal"),
    "seed is a word": (GOOD | {"seed": "lucky"}, "seed", "int_parsing"),
    "seed is a fraction": (GOOD | {"seed": 1.5}, "seed", "int_from_float"),
    "negative prompt is null": (GOOD | {"negative_prompt": None}, "negative_prompt", "string_type"),
    "initial image is a number": (GOOD | {INITIAL: 1}, INITIAL, "string_type"),
    # the prompt
    "empty prompt": (GOOD | {PROMPT: ""}, PROMPT, "value_error"),
    "no trigger": (GOOD | {PROMPT: "photo of a man"}, PROMPT, "value_error"),
    "trigger within a word": (GOOD | {PROMPT: "an imgur photo"}, PROMPT, "value_error"),
    "two triggers": (GOOD | {PROMPT: "a man img and a woman img"}, PROMPT, "value_error"),
    "trigger first": (GOOD | {PROMPT: "img man"}, PROMPT, "value_error"),
    "trigger alone": (GOOD | {PROMPT: "img"}, PROMPT, "value_error"),
    "trigger after a comma": (GOOD | {PROMPT: "a man, img"}, PROMPT, "value_error"),
    "class word too late": (GOOD | {PROMPT: "very " * 80 + "old man img"}, PROMPT, "value_error"),
    "a prompt of megabytes": (GOOD | {PROMPT: "a man img " * 300_000}, PROMPT, "sequence_too_long"),
    "a long negative prompt": (GOOD | {"negative_prompt": "x " * 9000}, "negative_prompt", "sequence_too_long"),
    # addresses
    "empty url": (GOOD | {ARCHIVE: ""}, ARCHIVE, "file_download_error"),
    "no url": (GOOD | {ARCHIVE: "photos.zip"}, ARCHIVE, "file_download_error"),
    "a file url": (GOOD | {ARCHIVE: "file:///etc/passwd"}, ARCHIVE, "file_download_error"),
    "an ftp url": (GOOD | {ARCHIVE: "ftp://example.com/a.zip"}, ARCHIVE, "file_download_error"),
    "loopback": (GOOD | {ARCHIVE: "http://127.0.0.1/a.zip"}, ARCHIVE, "file_download_error"),
    "loopback by name": (GOOD | {ARCHIVE: "http://localhost:22/a.zip"}, ARCHIVE, "file_download_error"),
    "loopback in decimal": (GOOD | {ARCHIVE: "http://2130706433/a.zip"}, ARCHIVE, "file_download_error"),
    "loopback in IPv6": (GOOD | {ARCHIVE: "http://[::1]/a.zip"}, ARCHIVE, "file_download_error"),
    "loopback mapped": (GOOD | {ARCHIVE: "http://[::ffff:127.0.0.1]/a.zip"}, ARCHIVE, "file_download_error"),
    "metadata": (GOOD | {ARCHIVE: "http://169.254.169.254/latest/"}, ARCHIVE, "file_download_error"),
    "private": (GOOD | {ARCHIVE: "https://10.0.0.1/a.zip"}, ARCHIVE, "file_download_error"),
    "a bad port": (GOOD | {ARCHIVE: "https://example.com:99999/a.zip"}, ARCHIVE, "file_download_error"),
    "a long url": (GOOD | {ARCHIVE: "https://example.com/" + "a" * 20_000}, ARCHIVE, "file_download_error"),
    "a broken data uri": (GOOD | {ARCHIVE: "data:application/zip;base64,@@@"}, ARCHIVE, "file_download_error"),
    "an unfinished data uri": (GOOD | {ARCHIVE: "data:application/zip;base64"}, ARCHIVE, "file_download_error"),
    "initial image at loopback": (GOOD | {INITIAL: "http://127.0.0.1/"}, INITIAL, "file_download_error"),
    "initial image is empty": (GOOD | {INITIAL: ""}, INITIAL, "file_download_error"),
    # archives
    "nothing": (GOOD | {ARCHIVE: data_uri(b"")}, ARCHIVE, "invalid_archive"),
    "a web page": (GOOD | {ARCHIVE: data_uri(b"<html>Not found</html>")}, ARCHIVE, "invalid_archive"),
    "a document": (GOOD | {ARCHIVE: data_uri(b"%PDF-1.7\n")}, ARCHIVE, "invalid_archive"),
    "half a zip": (GOOD | {ARCHIVE: data_uri(photos()[:2000])}, ARCHIVE, "invalid_archive"),
    "an empty zip": (GOOD | {ARCHIVE: data_uri(zipped({}))}, ARCHIVE, "archive_file_count_below_minimum"),
    "a zip of texts": (
        GOOD | {ARCHIVE: data_uri(zipped({"a.txt": b"a", "b.jpg": b"b"}))},
        ARCHIVE,
        "archive_file_count_below_minimum",
    ),
    "a zip in a zip": (
        GOOD | {ARCHIVE: data_uri(zipped({"a.zip": photos()}))},
        ARCHIVE,
        "archive_file_count_below_minimum",
    ),
    "a broken photo": (GOOD | {ARCHIVE: data_uri(PHOTOS[0].read_bytes()[:600])}, ARCHIVE, "image_load_error"),
    "a broken photo in a zip": (
        GOOD | {ARCHIVE: data_uri(zipped({"a.png": PHOTOS[0].read_bytes()[:600]}))},
        ARCHIVE,
        "image_load_error",
    ),
    "a tiny photo": (GOOD | {ARCHIVE: data_uri(png(4, 4))}, ARCHIVE, "image_too_small"),
    "a huge photo": (GOOD | {ARCHIVE: data_uri(png(16000, 10))}, ARCHIVE, "image_too_small"),
    "a hundred photos": (
        GOOD | {ARCHIVE: data_uri(zipped({f"{i}.png": png() for i in range(100)}))},
        ARCHIVE,
        "archive_file_count_exceeds_maximum",
    ),
    "more photos than the prompt holds": (
        GOOD
        | {PROMPT: "very " * 50 + "old man img", ARCHIVE: data_uri(zipped({f"{i}.png": png() for i in range(40)}))},
        ARCHIVE,
        "archive_file_count_exceeds_maximum",
    ),
    "initial image is a text": (GOOD | {INITIAL: data_uri(b"hello")}, INITIAL, "unsupported_image_format"),
    "initial image is a zip": (GOOD | {INITIAL: data_uri(photos())}, INITIAL, "unsupported_image_format"),
    "initial image is broken": (GOOD | {INITIAL: data_uri(png()[:60])}, INITIAL, "image_load_error"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests(name: str, client: TestClient) -> None:
    body, field, kind = BAD[name]
    answer = client.post("/", json=body)
    assert answer.status_code == 422, answer.text[:500]
    assert answer.headers["x-fal-billable-units"] == "0"
    detail = answer.json()["detail"][0]
    assert detail["type"] == kind
    assert detail["loc"] == (["body", field] if field else ["body"])
    assert detail["msg"]
    assert len(answer.content) < 20_000 or kind in ("missing", "string_type")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"prompt": NaN}', b"[" * 5000, b'{"seed": ' + b"9" * 5000 + b"}"],
    ids=["empty", "cut", "bytes", "nan", "nested", "digits"],
)
def test_bodies_that_are_no_json_object(body: bytes, client: TestClient) -> None:
    answer = client.post("/", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text[:300]


@pytest.mark.parametrize(
    ("field", "escaped"), [("prompt", r"a man img \ud800"), ("negative_prompt", r"\udc00"), (ARCHIVE, r"\ud800")]
)
def test_half_a_surrogate_pair(field: str, escaped: str, client: TestClient) -> None:
    body = json.dumps(GOOD | {field: "@"}).replace('"@"', f'"{escaped}"')
    answer = client.post("/", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text[:300]
    assert answer.json()["detail"][0]["loc"] == ["body", field]


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("field", ["guidance_scale", "initial_image_strength"])
def test_numbers_that_are_none(field: str, constant: str, client: TestClient) -> None:
    body = json.dumps(GOOD | {field: 1}).replace(f'"{field}": 1', f'"{field}": {constant}')
    answer = client.post("/", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text[:300]
    assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_an_error_names_its_documentation_and_what_was_sent(client: TestClient) -> None:
    detail = client.post("/", json=GOOD | {"prompt": "a man"}).json()["detail"][0]
    assert detail["url"] == "https://docs.fal.ai/errors#value_error"
    assert detail["input"] == "a man"
    assert 'Write the word "img" once' in detail["msg"]


def test_a_pipeline_that_is_not_served(client: TestClient) -> None:
    from photomaker.deployment import Deployment
    from photomaker.errors import FeatureNotSupportedError
    from photomaker.service import Listener, Request, Service

    service = Service(Deployment.read(HERE / "deployment.toml"), {})
    with pytest.raises(FeatureNotSupportedError, match="does not serve"):
        next(service.generate(Request(prompt="a man img"), Listener()))


def test_the_log_shows_steps_and_what_was_left_out(client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    archive = zipped({"me.png": PHOTOS[0].read_bytes(), "notes.txt": b"hello", "torn.png": b"\x89PNG\r\n\x1a\n"})
    prompt = "a man img, " + "red " * 60 + "hat and an hourglass"
    client.post("/", json=GOOD | {"image_archive_url": data_uri(archive), "prompt": prompt})
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("step ")] == [f"step {i}/20" for i in range(1, 21)]
    assert any("notes.txt" in line for line in lines)
    assert any("torn.png" in line for line in lines)
    assert any("hourglass" in line and "dropped" in line for line in lines)


def test_a_device_without_memory_asks_for_another_runner(client: TestClient) -> None:
    """For that request alone: the next one is answered."""
    from fal.ref import get_current_app

    def refuse(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    (unet, *_) = {pipe.text2img.unet for pipe in get_current_app().service.pipelines.values()}
    hook = unet.conv_out.register_forward_pre_hook(refuse)
    assert client.post("/", json=GOOD).status_code == 503
    hook.remove()
    assert client.post("/", json=GOOD).status_code == 200


def test_cancelling_a_running_request(client: TestClient) -> None:
    answers: list[Any] = []

    def ask() -> None:
        body = GOOD | {"num_inference_steps": 100, "num_images": 4}
        answers.append(client.post("/", json=body, headers={"x-fal-request-id": "one"}))

    asking = threading.Thread(target=ask)
    asking.start()
    while not client.post("/cancel", headers={"x-fal-request-id": "one"}).json()["cancelled"]:
        assert asking.is_alive()
    asking.join(timeout=60)
    (answer,) = answers
    assert (answer.status_code, answer.headers["x-fal-billable-units"]) == (499, "0")
    assert answer.json() == {"detail": "Request cancelled by the client."}
    assert client.post("/cancel", headers={"x-fal-request-id": "one"}).json() == {"cancelled": False}


def test_requests_at_once_are_served_one_after_the_other(client: TestClient) -> None:
    alone = client.post("/", json=GOOD | {"seed": 3}).json()["images"][0]["url"]
    answers: list[str] = []

    def ask() -> None:
        answers.append(client.post("/", json=GOOD | {"seed": 3}).json()["images"][0]["url"])

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join(timeout=120)
    assert answers == [alone] * 4


def test_openapi(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    served = document["components"]["schemas"]
    order = [
        "image_archive_url",
        "prompt",
        "base_pipeline",
        "initial_image_url",
        "initial_image_strength",
        "style",
        "negative_prompt",
        "num_inference_steps",
        "style_strength",
        "num_images",
        "guidance_scale",
        "seed",
    ]
    assert served["PhotomakerInput"]["x-fal-order-properties"] == order
    assert served["PhotomakerInput"]["properties"] == PhotomakerInput.model_json_schema()["properties"]
    assert served["PhotomakerOutput"]["x-fal-order-properties"] == ["images", "seed"]
    assert served["PhotomakerOutput"]["required"] == ["images", "seed"]
    body = document["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/PhotomakerInput"}


def test_a_good_request_after_all_of_them(client: TestClient) -> None:
    assert client.post("/", json=GOOD).status_code == 200
