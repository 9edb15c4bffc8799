"""What a caller is told about a body that is none, and what the log says of a failure of ours."""

import gzip
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from tests.archives import data_uri, photos

HERE = Path(__file__).parent
JSON = {"content-type": "application/json"}
GOOD = {"image_archive_url": data_uri(photos()), "prompt": "portrait photo of a man img", "num_inference_steps": 20}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IS_ISOLATE_AGENT", "1")
        patch.setenv("PHOTOMAKER_DEPLOYMENT", str(HERE / "deployment.toml"))
        for account in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET"):
            patch.delenv(account, raising=False)
        patch.setenv("FAL_HOME_DIR", str(tmp_path_factory.mktemp("no-account")))
        patch.syspath_prepend(str(HERE.parent))
        from fal.ref import set_current_app

        from photomaker_app import PhotoMaker

        patch.setattr("fal.ref.current_app", None)  # which other tests' app may be
        app = PhotoMaker()
        set_current_app(app)
        with TestClient(app._build_app(), raise_server_exceptions=True) as client:
            yield client


def refused(client: TestClient, body: Any, headers: dict[str, str] = JSON) -> list[dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/", content=content, headers=headers)
    assert answer.status_code == 422, answer.text[:500]
    assert answer.headers["x-fal-billable-units"] == "0"
    assert len(answer.content) < 20_000
    detail: list[dict[str, Any]] = answer.json()["detail"]
    for entry in detail:
        assert entry["url"] == f"https://docs.fal.ai/errors#{entry['type']}"
    return detail


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": None},
        {"style": "photographic"},
        {"style": "x" * 100_000},
        {"num_inference_steps": 101},
        {"num_images": 0},
        {"guidance_scale": "much"},
        {"seed": 1.5},
        {"seed": "9" * 5000},
        {"prompt": {"text": "a man img", "more": {"and": {"more": 1}}}},
        {"prompt": ["a man img"] * 100_000},
        {"image_archive_url": {f"key {index}" * 100: "x" * 1000 for index in range(1000)}},
    ],
    ids=lambda change: f"{change}"[:40],
)
def test_every_entry_names_its_documentation_and_repeats_little(change: dict[str, Any], client: TestClient) -> None:
    [entry] = refused(client, GOOD | change)
    assert entry["loc"] == ["body", *change]


def test_fields_under_input_are_asked_for_themselves(client: TestClient) -> None:
    detail = refused(client, {"input": GOOD | {"image_archive_url": data_uri(bytes(2_000_000))}})
    assert [entry["type"] for entry in detail] == ["missing", "missing"]
    assert {entry["msg"] for entry in detail} == {'Field required. Send the fields themselves, not under "input".'}
    assert refused(client, {"input": {"prompt": "a man img"}})[0]["msg"] == "Field required"


@pytest.mark.parametrize("depth", [60, 965, 970, 975, 980, 5000, 200_000])
def test_values_nested_however_deep(depth: int, client: TestClient) -> None:
    body = b'{"image_archive_url": "x", "prompt": ' + b"[" * depth + b"]" * depth + b"}"
    [entry] = refused(client, body)
    assert entry["type"] in ("string_type", "json_invalid")


@pytest.mark.parametrize(
    ("body", "headers", "words"),
    [
        (json.dumps(GOOD).encode(), {"content-type": "text/plain"}, "application/json"),
        (json.dumps(GOOD).encode(), {}, "application/json"),
        (b"prompt=a+man", {"content-type": "application/x-www-form-urlencoded"}, "application/json"),
        (
            gzip.compress(json.dumps(GOOD).encode(), mtime=0),
            JSON | {"content-encoding": "gzip"},
            "Content-Encoding: gzip",
        ),
        (b'{"prompt": "a man img \xff"}', JSON, "UTF-8"),
        (b"[" * 5000, JSON, "nested too deeply"),
        (b'{"seed": ' + b"9" * 5000 + b"}", JSON, "cannot be read"),
        (b'{"prompt": ', JSON, "JSON decode error"),
        (b'{"image_archive_url": "x", "prompt": "y", "seed": 1e300}', JSON, "without a decimal point or an exponent"),
    ],
    ids=["text", "no type", "form", "gzip", "bytes", "nested", "digits", "cut", "exponent"],
)
def test_bodies_are_refused_in_words_that_help(
    body: bytes, headers: dict[str, str], words: str, client: TestClient
) -> None:
    [entry] = refused(client, body, headers)
    assert words in entry["msg"]


@pytest.mark.parametrize("field", ["image_archive_url", "initial_image_url"])
def test_an_address_that_only_looks_international(field: str, client: TestClient) -> None:
    [entry] = refused(client, GOOD | {field: "http://xn--/"})
    assert (entry["type"], entry["loc"]) == ("file_download_error", ["body", field])


def test_a_failure_of_ours_says_where_without_a_path_of_this_machine(
    client: TestClient, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fal.ref import get_current_app

    def fail(*_: Any) -> None:
        Path("/srv/somebody/photomaker/weights.bin").read_bytes()

    service = get_current_app().service
    monkeypatch.setattr(service, "prompts", fail)
    answer = client.post("/", json=GOOD)
    assert (answer.status_code, answer.json()) == (500, {"detail": "Internal Server Error"})
    assert answer.headers["x-fal-billable-units"] == "0"
    said = "".join(capfd.readouterr())
    assert "FileNotFoundError: [Errno 2] No such file or directory: 'weights.bin'" in said
    assert "photomaker/service.py" in said
    assert "somebody" not in said
    assert str(HERE.parent) not in said


def test_the_log_says_what_a_library_tripped_over(client: TestClient, capfd: pytest.CaptureFixture[str]) -> None:
    refused(client, GOOD | {"image_archive_url": "http://xn--/"})
    [line] = [line for line in capfd.readouterr().out.splitlines() if line.startswith("file_download_error")]
    assert "IDNAError" in line
    assert "/" not in line.partition("(")[2]


def test_a_picture_that_takes_for_ever_can_be_cancelled(client: TestClient) -> None:
    photo = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(photo, "JPEG")
    segment = b"\xff\xe1" + (1302).to_bytes(2, "big") + b"Exif\0\0" + bytes(1294)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("a.jpg", photo.getvalue()[:2] + segment * 49_000 + photo.getvalue()[2:])
    answers: list[Any] = []

    def ask() -> None:
        body = GOOD | {"image_archive_url": data_uri(archive.getvalue())}
        answers.append(client.post("/", json=body, headers={"x-fal-request-id": "endless"}))

    asking = threading.Thread(target=ask)
    asking.start()
    while not client.post("/cancel", headers={"x-fal-request-id": "endless"}).json()["cancelled"]:
        assert asking.is_alive()
    asking.join(timeout=60)
    [answer] = answers
    assert (answer.status_code, answer.headers["x-fal-billable-units"]) == (499, "0")
    assert answer.json() == {"detail": "Request cancelled by the client."}
    assert client.post("/", json=GOOD).status_code == 200
