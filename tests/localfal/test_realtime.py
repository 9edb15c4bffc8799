"""Sockets and tokens, over the wire and with fal_client."""

import gc
import json
from pathlib import Path
from socket import create_connection

import fal.apps
import fal_client
import httpx
import pytest
from serving import KEY, PATIENCE, Served, app_id, eventually, runs
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from localfal.environment import client_environment

NAMES = ["Talking", "Listening"]
TALKING, LISTENING = map(app_id, NAMES)


def open_socket(platform: Served, path: str, headers: dict[str, str] | None = None, **options) -> ClientConnection:
    url = platform.origin.replace("http", "ws") + path
    return connect(url, additional_headers=KEY if headers is None else headers, proxy=None, **options)


def token(client: httpx.Client, platform: Served, **wish: object) -> str:
    wish = wish or {"allowed_apps": ["talking"], "token_expiration": 120}
    response = client.post(f"{platform.origin}/tokens/", json=wish, headers=KEY)
    assert response.status_code == 201
    return response.json()


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.parametrize("use_jwt", [True, False])
def test_realtime_of_the_python_client(platform: Served, monkeypatch: pytest.MonkeyPatch, use_jwt: bool) -> None:
    for name, value in client_environment(platform.addresses).items():
        monkeypatch.setenv(name, value)
    client = fal_client.SyncClient()
    with client.realtime(TALKING, use_jwt=use_jwt) as connection:
        for name in ("a", "b"):
            connection.send({"name": name})
            assert connection.recv() == {"name": name * 2}
    # The runner is free again.
    assert client.run(TALKING, {}) == {}
    client._client.close()
    del client
    gc.collect()


def test_messages_close_codes_and_protocols_pass(platform: Served) -> None:
    with open_socket(platform, f"/{TALKING}/raw?a=1", subprotocols=["first", "second"]) as socket:
        assert socket.subprotocol == "first"
        assert socket.recv() == "a=1"
        socket.send("shout")
        assert socket.recv() == "SHOUT"
        socket.send("end")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "as you wish")


def test_a_caller_who_closes_frees_the_runner(platform: Served, client: httpx.Client) -> None:
    for _ in range(3):
        with open_socket(platform, f"/{TALKING}/raw") as socket:
            socket.recv()
    assert client.post(f"{platform.origin}/{TALKING}", headers=KEY).status_code == 200


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (f"/{TALKING}/raw", {}, 401),
        (f"/{TALKING}/raw?fal_jwt_token=a.b.c", {}, 401),
        (f"/{TALKING}/raw", {**KEY, "origin": "https://example.com"}, 403),
        (f"/{TALKING}/raw", {**KEY, "host": "evil.example.com"}, 400),
        (f"/{TALKING}/nowhere", KEY, 404),
        ("/owner/nobody/realtime", KEY, 404),
        (f"/queue/{TALKING}/raw", KEY, 404),
        ("/files/x", KEY, 404),
    ],
)
def test_sockets_that_are_refused(platform: Served, path: str, headers: dict[str, str], status: int) -> None:
    with pytest.raises(InvalidStatus) as refused, open_socket(platform, path, headers):
        pass
    assert refused.value.response.status_code == status


def test_a_token_opens_its_app_and_no_other(platform: Served, client: httpx.Client) -> None:
    mine = token(client, platform)
    with open_socket(platform, f"/{TALKING}/raw?fal_jwt_token={mine}", {}) as socket:
        assert socket.recv() == ""  # the token is not for the app to see
    assert client.post(f"{platform.origin}/{TALKING}?fal_jwt_token={mine}").status_code == 200
    assert client.post(f"{platform.origin}/{LISTENING}/deaf?fal_jwt_token={mine}", json={}).status_code == 401
    for wish in ({"app": f"{TALKING}/realtime", "duration": 60}, {"allowed_apps": ["talking"]}):
        other = token(client, platform, **wish)
        assert client.post(f"{platform.origin}/{TALKING}?fal_jwt_token={other}").status_code == 200
    forged = mine.rpartition(".")[0] + "." + "A" * 43
    assert client.post(f"{platform.origin}/{TALKING}?fal_jwt_token={forged}").status_code == 401
    brief = token(client, platform, allowed_apps=["talking"], token_expiration=1)
    eventually(lambda: client.post(f"{platform.origin}/{TALKING}?fal_jwt_token={brief}").status_code == 401)


@pytest.mark.parametrize(
    "wish",
    [b"{}", b"[]", b"nonsense", b'{"allowed_apps": "talking"}', b'{"allowed_apps": ["a"], "token_expiration": 1e9}'],
)
def test_malformed_wishes_for_tokens(platform: Served, client: httpx.Client, wish: bytes) -> None:
    url = f"{platform.origin}/tokens/"
    assert client.post(url, content=wish, headers=KEY).status_code == 400
    assert client.post(url, json={"allowed_apps": ["talking"]}).status_code == 401
    assert client.get(url, headers=KEY).status_code == 405


def test_a_wish_for_a_token_without_end(platform: Served) -> None:
    head = b"POST /tokens/ HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Key a:b\r\nTransfer-Encoding: chunked\r\n\r\n"
    with create_connection(("127.0.0.1", platform.addresses.http), timeout=PATIENCE) as endless:
        endless.sendall(head + (b"100000\r\n" + b" " * 0x100000 + b"\r\n") * 2)
        assert endless.recv(12) == b"HTTP/1.1 400"


def test_http_over_a_socket(platform: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """`fal.apps.ws`, as fal documents it: payloads are answered in their order."""
    monkeypatch.setattr(fal.apps, "_WS_URL_FORMAT", platform.origin.replace("http", "ws") + "/ws/{app_id}")
    monkeypatch.setenv("FAL_KEY", "id:secret")
    with fal.apps.ws(f"{LISTENING}/deaf") as connection:
        for name in ("a", "b", "c"):
            connection.send({"name": name})
        assert [json.loads(connection.recv()) for _ in range(3)] == [{"name": name} for name in ("a", "b", "c")]
        connection.send({"name": 3})
        assert b"valid string" in connection.recv()


def test_the_metadata_of_a_socket(platform: Served, tmp_path: Path) -> None:
    gate, journal = tmp_path / "gate", tmp_path / "journal"
    with open_socket(platform, f"/ws/{LISTENING}/stream") as socket:
        socket.send(json.dumps({"gate": str(gate), "journal": str(journal)}))
        start = json.loads(socket.recv())
        assert (start["type"], start["status"]) == ("start", 200)
        assert start["headers"]["content-type"].startswith("text/event-stream")
        assert socket.recv() == b'data: {"number": 0}\n\n'  # while the app waits to be told to go on
    eventually(lambda: [text for _, text in runs(journal)] == ["left"])
