"""/studio/stream over its wire: progress, previews, and last what /studio answers."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.archives import data_uri, photos
from tests.serving import Verdicts, picture

HERE = Path(__file__).parent
BODY = {
    "image_urls": [data_uri(photos())],
    "prompt": "portrait photo of a man img",
    "num_inference_steps": 12,
    "seed": 7,
    "sync_mode": True,
    "output_format": "png",
    "num_images": 2,
}

# starlette's TestClient takes its anyio portal through a deprecated alias
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:starlette")


def events(text: str) -> list[tuple[str, Any]]:
    """(event, data) pairs of a stream."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines())
        found.append((lines.get("event", "message"), json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("change", [{}, {"base_pipeline": "photomaker-style"}], ids=["euler", "ddim"])
def test_progress_previews_and_the_answer(change: dict[str, Any], client: TestClient) -> None:
    answer = client.post("/studio/stream", json=BODY | change)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-fal-billable-units"] == "2"
    *underway, (_, last) = events(answer.text)
    progress = [data for _, data in underway if not data["previews"]]
    previews = [data for _, data in underway if data["previews"]]
    assert [(data["step"], data["steps"]) for data in progress] == [(step, 12) for step in range(1, 13)]
    assert [data["step"] for data in previews] == [5, 10]
    for data in previews:
        assert [image["content_type"] for image in data["previews"]] == ["image/jpeg"] * 2
        assert {picture(image).size for image in data["previews"]} == {(32, 32)}
    whole = client.post("/studio", json=BODY | change).json()
    del last["timings"], whole["timings"]
    for image in (*last["images"], *whole["images"]):
        del image["file_name"]
    assert last == whole


def test_bad_input_is_answered_with_its_status(client: TestClient) -> None:
    for change, field in (({"prompt": "a man"}, "prompt"), ({"image_urls": []}, "image_urls")):
        answer = client.post("/studio/stream", json=BODY | change)
        assert answer.status_code == 422
        assert answer.headers["x-fal-billable-units"] == "0"
        assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_what_fails_on_the_way_is_the_last_event(client: TestClient, service: Any) -> None:
    service.safety = Verdicts(True, True)
    try:
        answer = client.post("/studio/stream", json=BODY)
    finally:
        service.safety = None
    name, data = events(answer.text)[-1]
    assert (name, data["status"], data["detail"][0]["type"]) == ("error", 422, "content_policy_violation")


def test_cancelling_a_stream(client: TestClient) -> None:
    answers: list[Any] = []

    def ask() -> None:
        body = BODY | {"num_inference_steps": 100, "num_images": 4}
        answers.append(client.post("/studio/stream", json=body, headers={"x-fal-request-id": "three"}))

    asking = threading.Thread(target=ask)
    asking.start()
    while not client.post("/studio/stream/cancel", headers={"x-fal-request-id": "three"}).json()["cancelled"]:
        assert asking.is_alive()
    asking.join(timeout=60)
    (answer,) = answers
    if answer.status_code == 200:  # it had begun
        assert events(answer.text)[-1][1]["status"] == 499
    else:
        assert answer.status_code == 499
    assert client.post("/studio", json=BODY | {"num_inference_steps": 1}).status_code == 200
