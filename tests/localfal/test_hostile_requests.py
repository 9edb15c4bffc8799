"""What nobody should send is answered, costs nobody else anything, and leaves nothing behind."""

import socket
import struct
from contextlib import ExitStack

import httpx
import pytest
from serving import APP_ID, KEY, PATIENCE, Served, eventually

from localfal.buffer import MAX_BODY_BYTES

HEADERS = b"Host: 127.0.0.1\r\nAuthorization: Key id:secret\r\n"
SUBMIT = b"POST /queue/" + APP_ID.encode() + b" HTTP/1.1\r\n" + HEADERS


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def said(port: int, data: bytes) -> bytes:
    """What comes back on a connection, up to its end."""
    answer = b""
    with connect(port) as connection:
        try:
            connection.sendall(data)
            while chunk := connection.recv(65536):
                answer += chunk
        except ConnectionError:  # closed before all of it was read
            pass
    return answer


@pytest.fixture(autouse=True)
def unharmed(served: Served, client: httpx.Client):
    """Afterwards the next caller is served, and nothing has gone wrong inside."""
    log = served.state / "serve.out"
    before = log.stat().st_size
    yield
    assert client.post(served.run, json={"prompt": "next"}, headers=KEY).status_code == 200
    assert served.result(client, served.submit(client, prompt="next")).status_code == 200
    assert b"Traceback" not in log.read_bytes()[before:]


@pytest.mark.parametrize("path", ["", "/%00", "/%ff%fe", "/quick/%0d%0aX:%20y"])
def test_what_is_not_ascii_reaches_the_app(served: Served, client: httpx.Client, path: str) -> None:
    headers = [(b"authorization", b"Key id:secret"), (b"x-note", b"caf\xe9")]
    direct = client.post(served.run + path, json={"prompt": "x"}, headers=headers)
    submitted = client.post(served.queue + path, json={"prompt": "x"}, headers=headers).json()
    queued = served.result(client, submitted["request_id"])
    assert direct.status_code == queued.status_code == (404 if path else 200)


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000,
        b"GET /" + b"a" * 1_000_000,
        b"GET /\x00 HTTP/1.1\r\n" + HEADERS + b"\r\n",
        b"GET /files/../state.db HTTP/1.1\r\nConnection: close\r\n" + HEADERS + b"\r\n",
        b"GET /files/%2e%2e%2fstate.db/x HTTP/1.1\r\nConnection: close\r\n" + HEADERS + b"\r\n",
        SUBMIT + b"Content-Length: -1\r\n\r\n{}",
        SUBMIT + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        SUBMIT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nHost: foreign\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}zz\r\n",
        b"\x16\x03\x01\x02\x00" + bytes(600),
    ],
    ids=["head", "line", "NUL", "dots", "coded dots", "negative", "two lengths", "chunk", "late chunk", "TLS"],
)
def test_malformed_requests_are_refused(served: Served, data: bytes) -> None:
    answer = said(served.addresses.http, data)
    assert answer == b"" or answer.split()[1] in (b"400", b"404")


def test_a_body_has_its_bound(served: Served, client: httpx.Client) -> None:
    assert client.post(served.queue, content=b"x" * (MAX_BODY_BYTES + 1), headers=KEY).status_code == 413


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)), b"\x16\x03\x01\xff\xff" + bytes(70000)])
def test_what_is_no_tls(served: Served, data: bytes) -> None:
    assert not said(served.addresses.https, data).startswith(b"HTTP")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (bytes(range(256)) + b"\r\n\r\n", b"HTTP/1.1 405"),
        (b"CONNECT " + b"a" * 100_000, b""),
        (b"CONNECT fal.run HTTP/1.1\r\n\r\n", b"HTTP/1.1 403"),
        (b"CONNECT fal.run:443@example.com:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 403"),
        (b"CONNECT [::1]:443 HTTP/1.1\r\n\r\n", b"HTTP/1.1 403"),
        (b"CONNECT FAL.run:443 HTTP/1.1\r\n\r\nno TLS", b"HTTP/1.1 200"),
        pytest.param(b"CONNECT fal.run:443", b"", marks=pytest.mark.slow),
    ],
    ids=["bytes", "endless", "no port", "user", "address", "no TLS", "unfinished"],
)
def test_the_proxy_closes_what_leads_nowhere(served: Served, data: bytes, answer: bytes) -> None:
    assert said(served.addresses.proxy, data)[:12] == answer


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 500_000,
        b'{"file_name": "a", "content_type": "text/plain\\r\\nset-cookie: a=b"}',
        b'{"file_name": "a", "content_type": "\\ud800"}',
        b'{"file_name": "a", "content_type": "text/\xe4\xb8\xad"}',
    ],
    ids=["deep", "line break", "surrogate", "not ASCII"],
)
def test_malformed_descriptions_of_uploads(served: Served, client: httpx.Client, content: bytes) -> None:
    response = client.post(f"{served.origin}/storage/upload/initiate", content=content, headers=KEY)
    assert (response.status_code, response.json()["error_type"]) == (400, "bad_request")


@pytest.mark.parametrize("seconds", ["9" * 400, "[" * 5000, '"soon"'])
def test_malformed_lifecycles(served: Served, client: httpx.Client, seconds: str) -> None:
    headers = {**KEY, "x-fal-object-lifecycle": f'{{"expiration_duration_seconds": {seconds}}}'}
    assert client.post(f"{served.origin}/files/upload", content=b"x", headers=headers).status_code == 400


def test_malformed_lists_of_parts(served: Served, client: httpx.Client) -> None:
    description = {"file_name": "a", "content_type": "x/y"}
    started = client.post(f"{served.origin}/storage/upload/initiate-multipart", json=description, headers=KEY).json()
    many = b'{"parts": [{"partNumber": "%s"}]}' % (b"9" * 4000)
    for content in (b"{}", b'{"parts": []}', b'{"parts": [1]}', b'{"parts": [{"partNumber": 1e999}]}', many):
        assert client.post(started["upload_url"] + "/complete", content=content).status_code == 400


def test_unfinished_requests_keep_nobody_out(served: Served, client: httpx.Client) -> None:
    with ExitStack() as open_connections:
        for _ in range(300):
            connection = open_connections.enter_context(connect(served.addresses.http))
            connection.sendall(SUBMIT[:40])
        assert client.post(served.run, json={"prompt": "x"}, headers=KEY).status_code == 200


def test_a_submission_cut_off_is_none(served: Served, client: httpx.Client) -> None:
    blocker = served.submit(client, seconds=600)
    waiting = served.submit(client)
    with connect(served.addresses.http) as connection:
        connection.sendall(SUBMIT + b"Content-Length: 100\r\n\r\n{")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not closed
    last = served.submit(client)
    assert served.status(client, waiting)["queue_position"] == 0
    assert served.status(client, last)["queue_position"] == 1
    client.put(f"{served.queue}/requests/{blocker}/cancel", headers=KEY)
    assert served.result(client, last).status_code == 200


def test_an_upload_cut_off_leaves_nothing(served: Served) -> None:
    def drafts() -> int:
        return len(list((served.state / "files").glob("*.new")))

    with connect(served.addresses.http) as connection:
        head = b"POST /files/upload HTTP/1.1\r\n" + HEADERS + b"Content-Length: 1000000\r\n\r\n"
        connection.sendall(head + b"x" * 100_000)
        eventually(lambda: drafts() == 1)
    eventually(lambda: drafts() == 0)
