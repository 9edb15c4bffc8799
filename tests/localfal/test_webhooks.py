"""Webhooks, as their receiver sees them."""

import asyncio
import base64
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from serving import Served, eventually

from localfal import webhooks
from localfal.jobs import Answer, Submission
from localfal.queue import Queue
from localfal.state import StateFolder
from localfal.webhooks import RETRY_DELAYS, Webhooks, payload, signing_key

pytestmark = pytest.mark.slow


@dataclass
class Receiver:
    """Somebody's web server: notes what it gets, and answers as told."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    deliveries: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    noted = Receiver()
    noted.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            noted.hold.wait()
            body = self.rfile.read(int(self.headers["content-length"]))
            noted.deliveries.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(noted.answers.pop(0) if noted.answers else 200)
            self.send_header("content-length", "0")
            self.send_header("location", "/elsewhere")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    noted.url = f"http://127.0.0.1:{server.server_port}/hook?mine=1"
    yield noted
    noted.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


def verify(headers: dict[str, str], body: bytes, keys: dict) -> None:
    """The check that fal's documentation gives to receivers."""
    assert abs(time.time() - int(headers["x-fal-webhook-timestamp"])) < 300
    message = "\n".join(
        [
            headers["x-fal-webhook-request-id"],
            headers["x-fal-webhook-user-id"],
            headers["x-fal-webhook-timestamp"],
            hashlib.sha256(body).hexdigest(),
        ]
    ).encode()
    signature = bytes.fromhex(headers["x-fal-webhook-signature"])
    x = keys["keys"][0]["x"]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
    public.verify(signature, message)


def test_a_receiver_can_trust_what_it_gets(served: Served, client: httpx.Client, receiver: Receiver) -> None:
    query = "?fal_webhook=" + receiver.url.replace("?", "%3F")
    good = served.submit(client, query=query, prompt="good")
    eventually(lambda: len(receiver.deliveries) == 1)
    bad = served.submit(client, query=query, fail="typed")
    eventually(lambda: len(receiver.deliveries) == 2)
    keys = client.get(f"{served.origin}/.well-known/jwks.json").json()
    for (headers, body), request_id in zip(receiver.deliveries, (good, bad), strict=True):
        verify(headers, body, keys)
        assert headers["content-type"] == "application/json"
        assert headers["x-fal-webhook-request-id"] == request_id
        with pytest.raises(InvalidSignature):
            verify(headers, body + b" ", keys)
    content = json.loads(receiver.deliveries[0][1])
    assert (content["request_id"], content["gateway_request_id"], content["status"]) == (good, good, "OK")
    assert content["payload"] == served.result(client, good).json()
    content = json.loads(receiver.deliveries[1][1])
    assert (content["status"], content["error"]) == ("ERROR", "Invalid status code: 422")
    assert content["payload"]["detail"][0]["type"] == "invalid_archive"


def test_an_answer_that_is_no_json() -> None:
    for body in (b"\x89PNG", b"[" * 100_000, *(b"[" * depth + b"]" * depth for depth in range(900, 1000))):
        content = json.loads(payload("id", Answer(200, {}, body)))
        assert content["status"] == "OK"
        if len(body) not in range(1800, 2000):  # whose depth just can be read, but for what is around it
            assert (content["payload"], bool(content["payload_error"])) == (None, True)


def test_ten_retries_over_two_hours() -> None:
    assert len(RETRY_DELAYS) == 10
    assert 100 * 60 < sum(RETRY_DELAYS) < 130 * 60
    assert list(RETRY_DELAYS) == sorted(RETRY_DELAYS)


@pytest.mark.parametrize(
    ("answers", "deliveries"),
    [([200], 1), ([500, 404, 200], 3), ([500] * 9, 4), ([301], 1)],
    ids=["taken", "taken at last", "given up", "not followed"],
)
def test_retries(tmp_path: Path, receiver: Receiver, answers: list[int], deliveries: int) -> None:
    receiver.answers = answers
    database = StateFolder(tmp_path).database()
    queue = Queue(database, "fal-ai/app")

    def due() -> int:
        with closing(sqlite3.connect(tmp_path / "state.db")) as reader:
            return reader.execute("SELECT COUNT(*) FROM requests WHERE webhook_due IS NOT NULL").fetchone()[0]

    async def scenario() -> None:
        key = signing_key(tmp_path / "key.pem")
        running = asyncio.create_task(Webhooks(database, queue, key, retry_delays=(0.05, 0.1, 0.15)).run())
        entry = queue.submit(Submission("/", {}, b"{}", webhook=receiver.url))
        queue.complete(entry.id, Answer(200, {}, b"{}"))
        assert due() == 1
        await asyncio.to_thread(eventually, lambda: due() == 0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    assert len(receiver.deliveries) == deliveries
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    database.close()


def test_an_answer_takes_at_most_15_seconds(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert webhooks.ANSWER_SECONDS == 15
    monkeypatch.setattr(webhooks, "ANSWER_SECONDS", 0.2)
    database = StateFolder(tmp_path).database()
    queue = Queue(database, "fal-ai/app")

    def attempts() -> int:
        with closing(sqlite3.connect(tmp_path / "state.db")) as reader:
            return reader.execute("SELECT MAX(webhook_attempts) FROM requests").fetchone()[0]

    async def scenario() -> None:
        receiver.hold.clear()
        running = asyncio.create_task(
            Webhooks(database, queue, signing_key(tmp_path / "key.pem"), retry_delays=(0.05,) * 100).run()
        )
        entry = queue.submit(Submission("/", {}, b"{}", webhook=receiver.url))
        queue.complete(entry.id, Answer(200, {}, b"{}"))
        await asyncio.to_thread(eventually, lambda: attempts() >= 2)
        assert receiver.deliveries == []
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    database.close()


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "http://[::1]:1/", "http://a b/", "http://x\ud800/", "http://xn--/", "http://xn--a/"]
)
def test_a_receiver_that_is_none(
    tmp_path: Path, receiver: Receiver, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    database = StateFolder(tmp_path).database()
    queue = Queue(database, "fal-ai/app")

    def said() -> list[str]:
        return [record.message for record in caplog.records if record.name.startswith("localfal")]

    async def scenario() -> None:
        running = asyncio.create_task(Webhooks(database, queue, signing_key(tmp_path / "key.pem")).run())
        for target in (url.encode(errors="replace").decode(), receiver.url):
            entry = queue.submit(Submission("/", {}, b"{}", webhook=target))
            queue.complete(entry.id, Answer(200, {}, b"{}"))
        await asyncio.to_thread(eventually, lambda: receiver.deliveries and said())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())
    database.close()
    assert len(said()) == 1
    assert "Traceback" not in caplog.text


def test_half_a_key_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(b"")
    made = signing_key(tmp_path / "key.pem")
    assert webhooks.key_set(made) == webhooks.key_set(signing_key(tmp_path / "key.pem"))


def test_a_killed_gateway_still_owes_its_webhooks(own: Served, client: httpx.Client, receiver: Receiver) -> None:
    receiver.hold.clear()
    request_id = own.submit(client, query=f"?fal_webhook={receiver.url}")
    own.result(client, request_id)
    own.kill()

    def owed() -> bool:
        with closing(sqlite3.connect(own.state / "state.db")) as reader:
            return bool(reader.execute("SELECT 1 FROM requests WHERE webhook_due IS NOT NULL").fetchone())

    assert owed()
    receiver.hold.set()
    own.start()
    eventually(lambda: not owed())
    assert receiver.deliveries[-1][0]["x-fal-webhook-request-id"] == request_id
