"""fal_client against the platform: the public API of the package, unchanged."""

import asyncio
import gc
import os
from collections.abc import Iterator
from pathlib import Path

import fal_client
import httpx
import pytest
from PIL import Image
from serving import APP_ID, Served

from localfal.environment import client_environment

# fal_client does not close the connections of its uploads; gc.collect() below keeps that within its own test.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def environment(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in client_environment(served.addresses).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def client(environment: None) -> Iterator[fal_client.SyncClient]:
    client = fal_client.SyncClient()
    yield client
    client._client.close()
    del client
    gc.collect()


def test_run(client: fal_client.SyncClient) -> None:
    result = client.run(APP_ID, {"prompt": "run", "seed": 42})
    assert (result["prompt"], result["seed"]) == ("run", 42)
    assert client.run(APP_ID, {"prompt": "deeper"}, path="/quick") == {"prompt": "deeper"}


def test_the_apps_own_uploads_are_in_the_storage(client: fal_client.SyncClient, served: Served) -> None:
    image = client.run(APP_ID, {"prompt": "picture"})["images"][0]
    assert image["url"].startswith("https://v3.fal.media/files/")
    response = httpx.get(image["url"])
    assert response.headers["content-type"] == "image/png"
    assert len(response.content) == image["file_size"]
    # For a page, which cannot be led: the same path at the plain address.
    assert httpx.get(image["url"].replace("https://v3.fal.media", served.origin)).content == response.content


def test_an_app_reads_uploads_with_fals_own_guards(client: fal_client.SyncClient) -> None:
    url = client.upload_image(Image.new("RGB", (1, 1), (7, 8, 9)), format="png")
    assert url.startswith("https://v3.fal.media/files/")
    seen = client.run("owner/reading", {"url": url})
    assert (seen["read"], seen["colors"]) == (["89504e47"] * 3, ["(7, 8, 9)"] * 2)
    (uploaded,) = seen["uploaded"]  # by a client in the runner
    assert httpx.get(uploaded).content == b"from inside"


def test_submit_status_result(client: fal_client.SyncClient) -> None:
    handle = client.submit(APP_ID, {"prompt": "submitted", "lines": 3}, priority="low", hint="anything")
    assert handle.get()["prompt"] == "submitted"
    status = client.status(APP_ID, handle.request_id, with_logs=True)
    assert isinstance(status, fal_client.Completed)
    assert [log["message"] for log in status.logs or []] == [f"submitted: step {n} of 3" for n in (1, 2, 3)]
    assert status.metrics["inference_time"] >= 0
    assert client.result(APP_ID, handle.request_id)["prompt"] == "submitted"


def test_iter_events(client: fal_client.SyncClient, tmp_path: Path) -> None:
    gates = [tmp_path / "first", tmp_path / "second"]
    first, second = (client.submit(APP_ID, {"prompt": gate.name, "gate": str(gate)}) for gate in gates)
    events = []
    for event in second.iter_events(with_logs=True, interval=0.02):
        events.append(event)
        if isinstance(event, fal_client.Queued):
            assert event.position == 0
            gates[0].touch()
        elif isinstance(event, fal_client.InProgress) and event.logs:
            gates[1].touch()
    assert list(dict.fromkeys(map(type, events))) == [fal_client.Queued, fal_client.InProgress, fal_client.Completed]
    assert first.get()["prompt"] == "first"


def test_cancel_in_the_queue_and_in_progress(client: fal_client.SyncClient) -> None:
    running = client.submit(APP_ID, {"prompt": "running", "seconds": 600})
    waiting = client.submit(APP_ID, {"prompt": "waiting"})
    waiting.cancel()
    assert isinstance(waiting.status(), fal_client.Completed)
    running.cancel()
    for handle in (waiting, running):
        with pytest.raises(fal_client.FalClientHTTPError) as caught:
            handle.get()
        assert (caught.value.status_code, caught.value.error_type) == (499, "client_cancelled")
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        running.cancel()
    assert caught.value.status_code == 400
    assert caught.value.response.json() == {"status": "ALREADY_COMPLETED"}


def test_subscribe(client: fal_client.SyncClient) -> None:
    enqueued: list[str] = []
    updates: list[fal_client.Status] = []
    result = client.subscribe(
        APP_ID,
        {"prompt": "subscribed"},
        with_logs=True,
        on_enqueue=enqueued.append,
        on_queue_update=updates.append,
    )
    assert result["prompt"] == "subscribed"
    assert len(enqueued) == 1
    assert isinstance(updates[-1], fal_client.Completed)


def test_async(environment: None) -> None:
    async def scenario() -> None:
        client = fal_client.AsyncClient()
        updates: list[fal_client.Status] = []
        result = await client.subscribe(APP_ID, {"prompt": "async"}, on_queue_update=updates.append)
        assert result["prompt"] == "async"
        assert (await client.run(APP_ID, {"prompt": "run"}))["prompt"] == "run"
        handle = await client.submit(APP_ID, {"prompt": "slow", "seconds": 600})
        await handle.cancel()
        with pytest.raises(fal_client.FalClientHTTPError):
            await handle.get()
        url = await client.upload(b"bytes", "text/plain", "name.txt")
        async with httpx.AsyncClient() as downloads:
            assert (await downloads.get(url)).content == b"bytes"
        assert [event async for event in client.stream(APP_ID, {"prompt": "s"})] == [{"step": n} for n in range(3)]
        await (await client._client).aclose()

    asyncio.run(scenario())


def test_stream(client: fal_client.SyncClient) -> None:
    assert list(client.stream(APP_ID, {"prompt": "s"})) == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_events_come_one_by_one(client: fal_client.SyncClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    events = client.stream("owner/listening", {"gate": str(gate)})
    for number in range(3):
        assert next(events) == {"number": number}  # the app sends the next when this one has come
        Path(f"{gate}{number}").touch()
    events.close()
    # The caller has left, and the runner is free again.
    assert client.run("owner/listening", {"name": "next"}, path="/deaf") == {"name": "next"}


def test_upload(client: fal_client.SyncClient, tmp_path: Path) -> None:
    url = client.upload(b"plain text", "text/plain", "note.txt")
    response = httpx.get(url, headers={"range": "bytes=0-4"})
    assert (response.status_code, response.text) == (206, "plain")
    assert response.headers["content-type"].startswith("text/plain")
    assert url.endswith("/note.txt")

    (tmp_path / "photos.zip").write_bytes(b"PK")
    url = client.upload_file(tmp_path / "photos.zip")
    assert httpx.get(url).headers["content-type"] == "application/zip"

    url = client.upload_image(Image.new("RGB", (4, 4)), "png")
    assert httpx.get(url).headers["content-type"] == "image/png"

    url = client.upload(b"other way", "text/plain", repository="fal")
    assert httpx.get(url).content == b"other way"


def test_who_may_read_an_upload(client: fal_client.SyncClient) -> None:
    rules = [fal_client.StorageACLRule(user="nobody", decision="allow")]
    hidden = fal_client.StorageACL(default="hide", rules=rules)
    url = client.upload(b"mine", "text/plain", lifecycle=fal_client.StorageSettings(initial_acl=hidden))
    assert httpx.get(url).status_code == 404
    key = {"authorization": f"Key {os.environ['FAL_KEY']}"}
    tokens = "https://rest.fal.ai/storage/auth/token?storage_type=fal-cdn-v3"
    token = httpx.post(tokens, headers=key, json={}).json()["token"]
    assert httpx.get(url, headers={"authorization": f"Bearer {token}"}).content == b"mine"


def test_upload_in_parts(client: fal_client.SyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fal_client.client.MULTIPART_THRESHOLD", 1000)
    monkeypatch.setattr("fal_client.client.MULTIPART_CHUNK_SIZE", 1000)
    content = os.urandom(4567)
    (tmp_path / "large.bin").write_bytes(content)
    assert httpx.get(client.upload_file(tmp_path / "large.bin")).content == content


def test_client_timeout_cancels(client: fal_client.SyncClient) -> None:
    with pytest.raises(fal_client.FalClientTimeoutError) as caught:
        client.subscribe(APP_ID, {"prompt": "slow", "seconds": 600}, client_timeout=4)
    with pytest.raises(fal_client.FalClientHTTPError) as gone:
        client.result(APP_ID, caught.value.request_id or "")
    assert gone.value.error_type == "client_cancelled"


def test_start_timeout(client: fal_client.SyncClient) -> None:
    busy = client.submit(APP_ID, {"prompt": "busy", "seconds": 600})
    late = client.submit(APP_ID, {"prompt": "late"}, start_timeout=1.1)
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        late.get()
    with pytest.raises(fal_client.FalClientHTTPError) as direct:
        client.run(APP_ID, {"prompt": "late"}, start_timeout=1.1)
    busy.cancel()
    for error in (caught.value, direct.value):
        assert (error.status_code, error.error_type) == (504, "request_timeout")
        assert error.response_headers["x-fal-request-timeout-type"] == "user"
    with pytest.raises(fal_client.FalClientHTTPError):
        busy.get()


@pytest.mark.parametrize("queued", [False, True])
@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ({"prompt": ""}, 422, "string_too_short"),
        ({"prompt": "x", "fail": "field"}, 422, "this prompt will not do"),
        ({"prompt": "x", "fail": "typed"}, 422, "invalid_archive"),
        ({"prompt": "x", "fail": "app"}, 418, "the app says no"),
        ({"prompt": "x", "fail": "boom"}, 500, "Internal Server Error"),
    ],
)
def test_the_apps_errors(
    client: fal_client.SyncClient, arguments: dict[str, str], status: int, message: str, queued: bool
) -> None:
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.submit(APP_ID, arguments).get() if queued else client.run(APP_ID, arguments)
    assert caught.value.status_code == status
    assert message in caught.value.response.text
    assert caught.value.response_headers["x-fal-request-id"]


def test_the_platforms_errors(client: fal_client.SyncClient) -> None:
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.run("fal-ai/another", {"prompt": "x"})
    assert caught.value.status_code == 404
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        client.status(APP_ID, "00000000-0000-0000-0000-000000000000")
    assert caught.value.status_code == 404
