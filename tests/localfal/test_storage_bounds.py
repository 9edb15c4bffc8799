"""What the storage takes, how much of it, and for how long."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from serving import KEY, Served, eventually
from starlette.requests import Request

from localfal.errors import BadRequestError, NotFoundError, StalledBodyError, StorageFullError, TooLargeError
from localfal.lifecycle import Lifecycle
from localfal.state import StateFolder
from localfal.storage import Storage
from localfal.storage_api import StorageApi


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture
def storage(tmp_path: Path):
    folder = StateFolder(tmp_path)
    database = folder.database()
    yield Storage(database, folder.files, keep=100, max_file_bytes=10, max_total_bytes=25)
    database.close()


def test_bounds(storage: Storage, tmp_path: Path) -> None:
    file = storage.create("a.bin", "application/octet-stream")
    with pytest.raises(TooLargeError):
        asyncio.run(storage.write(file, chunks(b"12345", b"678901")))
    assert list((tmp_path / "files").iterdir()) == []
    for _ in range(2):
        asyncio.run(storage.write(storage.create("a", "x/y"), chunks(b"1234567890")))
    with pytest.raises(StorageFullError):
        asyncio.run(storage.write(storage.create("a", "x/y"), chunks(b"123456")))
    with pytest.raises(NotFoundError):
        storage.content(file)


def test_unfinished_uploads_count_too(storage: Storage, tmp_path: Path) -> None:
    in_parts = storage.create("a", "x/y")
    for number in (1, 1, 2):  # a part sent again takes the place of the first
        asyncio.run(storage.write_part(in_parts, number, chunks(b"1234567890")))
    other = storage.create("a", "x/y")
    for _ in range(2):  # what was refused takes no place
        with pytest.raises(StorageFullError):
            asyncio.run(storage.write(other, chunks(b"1234", b"56")))
    asyncio.run(storage.write(other, chunks(b"12345")))
    restarted = Storage(storage._database, tmp_path / "files", 100, max_file_bytes=20, max_total_bytes=25)
    for store in (storage, restarted):
        with pytest.raises(StorageFullError):
            asyncio.run(store.write(store.create("a", "x/y"), chunks(b"1")))
    asyncio.run(restarted.join_parts(in_parts, [1]))
    asyncio.run(restarted.write(restarted.create("a", "x/y"), chunks(b"1234567890")))
    with pytest.raises(StorageFullError):
        asyncio.run(restarted.write(restarted.create("a", "x/y"), chunks(b"1")))


def test_an_upload_that_stops_coming_is_given_up(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localfal.buffer.STALL_SECONDS", 0.01)
    file = storage.create("a", "x/y")
    messages = [{"type": "http.request", "body": b"12345", "more_body": True}]
    scope = {"type": "http", "method": "PUT", "headers": [], "query_string": f"upload={file.upload_token}".encode()}

    async def receive():
        return messages.pop() if messages else await asyncio.Future()

    with pytest.raises(StalledBodyError):
        asyncio.run(StorageApi(storage).media(Request(scope, receive), file.path))
    assert list((tmp_path / "files").iterdir()) == []


@pytest.mark.slow
def test_keep(tmp_path: Path, client: httpx.Client) -> None:
    platform = Served(tmp_path / "state", "--keep", "3s")
    try:
        headers = {"authorization": "Bearer local"}
        uploaded = client.post(f"{platform.origin}/files/upload", content=b"x", headers=headers).json()
        url = platform.here(uploaded["access_url"])
        assert client.get(url).status_code == 200
        request_id = platform.submit(client)
        status = f"{platform.queue}/requests/{request_id}/status"
        eventually(lambda: client.get(status, headers=KEY).json().get("status") in ("COMPLETED", None))
        eventually(lambda: client.get(status, headers=KEY).status_code == 404)
        eventually(lambda: client.get(url).status_code == 404)
        eventually(lambda: not list((platform.state / "files").iterdir()))
    finally:
        platform.stop()


def test_parts(storage: Storage) -> None:
    file = storage.create("a", "x/y")
    for number, data in [(2, b"cd"), (1, b"ab"), (3, b"e")]:
        asyncio.run(storage.write_part(file, number, chunks(data)))
    with pytest.raises(BadRequestError):
        asyncio.run(storage.join_parts(file, [1, 2, 3, 4]))
    with pytest.raises(BadRequestError):
        asyncio.run(storage.write_part(file, 0, chunks(b"x")))
    asyncio.run(storage.join_parts(file, [3, 1, 2]))
    file = storage.find(file.id)
    assert storage.content(file).read_bytes() == b"abcde"
    asyncio.run(storage.join_parts(file, [3, 1, 2]))  # a client that asks again
    large = storage.create("a", "x/y")
    for number in (1, 2):
        asyncio.run(storage.write_part(large, number, chunks(b"1234567")))
    with pytest.raises(TooLargeError):
        asyncio.run(storage.join_parts(large, [1, 2]))


def test_files_expire(storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = storage.create("kept", "x/y", Lifecycle(expiration_duration_seconds=100_000))
    short = storage.create("short", "x/y", Lifecycle(expiration_duration_seconds=60))
    for file in (kept, short):
        asyncio.run(storage.write(file, chunks(b"x")))
    now = time.time()
    monkeypatch.setattr("localfal.storage.time.time", lambda: now + 61)
    storage.forget()
    assert [path.name for path in (tmp_path / "files").iterdir()] == [kept.id]
    with pytest.raises(NotFoundError):
        storage.find(short.id)
    monkeypatch.setattr("localfal.storage.time.time", lambda: now + 101)
    with pytest.raises(NotFoundError):
        storage.find(kept.id)
    with pytest.raises(BadRequestError):
        Lifecycle.of({"x-fal-object-lifecycle": "nonsense"})


def test_names_are_made_safe(storage: Storage) -> None:
    assert storage.create("../../etc/passwd", "x/y").name == "etc_passwd"
    assert storage.create("a b\n<c>.png", "x/y").name == "a_b_c_.png"
    assert storage.create("", "x/y").name == "file"


def test_downloads(served: Served, client: httpx.Client) -> None:
    def upload(content: bytes, content_type: str) -> str:
        headers = {"authorization": "Bearer local", "content-type": content_type, "x-fal-file-name": "f"}
        uploaded = client.post(f"{served.origin}/files/upload", content=content, headers=headers).json()
        return served.here(uploaded["access_url"])

    url = upload(b"0123456789", "application/zip")
    assert client.get(url).content == b"0123456789"
    part = client.get(url, headers={"range": "bytes=2-4"})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert client.get(url, headers={"range": "bytes=20-"}).status_code == 416
    head = client.head(url)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")
    assert head.headers["content-type"] == "application/zip"
    assert head.headers["x-content-type-options"] == "nosniff"
    assert client.get(url).headers["content-disposition"].startswith("inline")
    for active in (
        "text/html",
        "image/svg+xml",
        "application/x1+xml",
        "image/png, text/html",
        "multipart/x-mixed-replace;boundary=a",
        "text/plain;x=y, text/html",
        "unheard/of",
    ):
        page = client.get(upload(b"<script>", active))
        assert page.headers["content-disposition"].startswith("attachment"), active
        assert page.headers["content-security-policy"] == "sandbox"


def test_only_the_uploader_may_write(served: Served, client: httpx.Client) -> None:
    started = client.post(
        f"{served.origin}/storage/upload/initiate?storage_type=fal-cdn-v3",
        json={"file_name": "a.txt", "content_type": "text/plain"},
        headers=KEY,
    ).json()
    url = served.here(started["file_url"])
    assert client.get(url).status_code == 404
    assert client.put(url, content=b"x").status_code == 404
    assert client.put(url + "?upload=guess", content=b"x").status_code == 404
    assert client.put(started["upload_url"], content=b"mine").status_code == 200
    assert client.get(url).text == "mine"
    assert client.delete(url).status_code == 405


def test_malformed_uploads(served: Served, client: httpx.Client) -> None:
    url = f"{served.origin}/storage/upload/initiate"
    for content in (b"", b"[]", b"{", b'{"file_name": 1, "content_type": "x/y"}'):
        assert client.post(url, content=content, headers=KEY).status_code == 400
    assert client.post(url, content=b"x" * (1024 * 1024 + 1), headers=KEY).status_code == 400


def test_each_part_with_its_own_url(served: Served, client: httpx.Client) -> None:
    """The form in which fal's SDK uploads large files to its older store."""
    started = client.post(
        f"{served.origin}/storage/upload/initiate-multipart?storage_type=gcs",
        json={"file_name": "a.bin", "content_type": "application/octet-stream"},
        headers=KEY,
    ).json()
    parts = []
    for number, data in [(1, b"first "), (2, b"second")]:
        url = client.post(f"{started['upload_url']}/{number}", headers=KEY).json()["upload_url"]
        parts.append({"part_number": number, "etag": client.put(url, content=data).headers["etag"]})
    done = client.post(started["upload_url"] + "/complete", json={"parts": parts}, headers=KEY)
    assert done.status_code == 200
    assert client.get(served.here(started["file_url"])).content == b"first second"
