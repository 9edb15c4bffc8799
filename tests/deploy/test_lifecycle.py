"""Requests that end before they are done: the caller hangs up, cancels, or the runner is told to go."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.archives import data_uri, photos

from .local_run import LocalRun
from .waiting import eventually

pytestmark = pytest.mark.slow

SHORT = {"image_archive_url": data_uri(photos()), "prompt": "portrait photo of a man img", "num_inference_steps": 20}
LONG = {**SHORT, "num_inference_steps": 100, "num_images": 4}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalRun]:
    """One that the last of its tests ends."""
    with LocalRun(tmp_path_factory.mktemp("app"), grace_seconds=120) as app:
        yield app


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[LocalRun]:
    with LocalRun(tmp_path, grace_seconds=3) as app:
        yield app


@pytest.fixture
def callers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as callers:
        yield callers


def post(app: LocalRun, body: dict[str, Any], path: str = "/", **headers: str) -> httpx.Response:
    return httpx.post(f"{app.url}{path}", json=body, headers=headers, timeout=120, trust_env=False)


def running(app: LocalRun, callers: ThreadPoolExecutor, body: dict[str, Any], **headers: str) -> Future[httpx.Response]:
    """A request that is being denoised."""
    before = len(app.lines)
    answer = callers.submit(post, app, body, **headers)
    eventually(lambda: any(line.startswith("step 3/") for line in app.lines[before:]) or answer.done())
    assert not answer.done(), answer.result().text
    return answer


def test_a_caller_that_hangs_up_stops_the_work(app: LocalRun) -> None:
    before = len(app.lines)
    caller = HTTPConnection(app.url.removeprefix("http://"))
    caller.request("POST", "/", json.dumps(LONG), {"content-type": "application/json"})
    eventually(lambda: any(line.startswith("step 3/") for line in app.lines[before:]))
    caller.close()
    # The device makes one request's pictures at a time, so this one gets an answer after the other has ended.
    assert post(app, SHORT).status_code == 200
    steps = [line for line in app.lines[before:] if line.startswith("step ")]
    assert not any(line.startswith("step 100/100") for line in steps)


def test_cancel_stops_the_request_it_names(app: LocalRun, callers: ThreadPoolExecutor) -> None:
    answer = running(app, callers, LONG, **{"x-fal-request-id": "this"})
    assert post(app, {}, "/cancel", **{"x-fal-request-id": "another"}).json() == {"cancelled": False}
    assert not answer.done()
    assert post(app, {}, "/cancel", **{"x-fal-request-id": "this"}).json() == {"cancelled": True}
    assert answer.result().status_code == 499
    assert answer.result().json()["detail"]
    assert post(app, SHORT).status_code == 200


def test_sigterm_lets_a_request_finish_that_can(app: LocalRun, callers: ThreadPoolExecutor) -> None:
    answer = running(app, callers, SHORT)
    app.process.send_signal(signal.SIGTERM)
    assert answer.result().status_code == 200
    assert len(answer.result().json()["images"]) == 1
    output = app.ended()
    assert "Application shutdown complete" in output
    assert "Traceback" not in output


def test_sigterm_hands_on_a_request_that_cannot_finish(impatient: LocalRun, callers: ThreadPoolExecutor) -> None:
    answer = running(impatient, callers, LONG)
    impatient.process.send_signal(signal.SIGTERM)
    assert answer.result().status_code == 503  # fal's queue gives it to another runner
    assert answer.result().headers["x-fal-billable-units"] == "0"
    output = impatient.ended()
    assert "step 100/100" not in output
    assert "Application shutdown complete" in output
    assert "Traceback" not in output
