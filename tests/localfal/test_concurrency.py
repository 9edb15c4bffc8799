"""Several requests on one runner, callers who leave, and callers who are slow."""

import socket
import threading
from pathlib import Path

import httpx
import pytest
from serving import KEY, PATIENCE, Served, app_id, eventually, runs

NAMES = ["Several", "Listening"]
SEVERAL, LISTENING = map(app_id, NAMES)


def submit(client: httpx.Client, platform: Served, app: str, path: str = "", **order: str) -> str:
    response = client.post(f"{platform.origin}/queue/{app}{path}", json=order, headers=KEY)
    return response.raise_for_status().json()["request_id"]


def status(client: httpx.Client, platform: Served, app: str, request_id: str) -> dict:
    return client.get(f"{platform.origin}/queue/{app}/requests/{request_id}/status?logs=1", headers=KEY).json()


@pytest.mark.parametrize("path", ["", "/slowly"])
def test_as_many_at_once_as_the_app_allows(platform: Served, client: httpx.Client, tmp_path: Path, path: str) -> None:
    gate = tmp_path / "gate"
    names = ["a", "b", "c", "d"]
    ids = [submit(client, platform, SEVERAL, path, name=name, gate=str(gate)) for name in names]

    def states() -> list[str]:
        return [status(client, platform, SEVERAL, request_id)["status"] for request_id in ids]

    def all_have_begun() -> bool:
        return all(status(client, platform, SEVERAL, request_id)["logs"] for request_id in ids[:3])

    eventually(all_have_begun)
    assert states() == ["IN_PROGRESS"] * 3 + ["IN_QUEUE"]
    gate.touch()
    eventually(lambda: states() == ["COMPLETED"] * 4)
    for name, request_id in zip(names, ids, strict=True):
        lines = [log["message"] for log in status(client, platform, SEVERAL, request_id)["logs"]]
        assert lines[0] == f"{name} begins"
        assert lines[-1] == f"{name} ends"
        assert all(line.startswith((f"{name} ", "ERROR: " + name)) for line in lines)


def test_log_entries_carry_their_request_and_their_level(platform: Served, client: httpx.Client) -> None:
    request_id = submit(client, platform, SEVERAL, name="a")
    eventually(lambda: status(client, platform, SEVERAL, request_id)["status"] == "COMPLETED")
    logs = status(client, platform, SEVERAL, request_id)["logs"]
    assert [log["level"] for log in logs] == ["INFO", "STDERR", "ERROR", "INFO"]
    assert {log["labels"]["fal_request_id"] for log in logs} == {request_id}


def leave(client: httpx.Client, url: str, journal: Path, **order: str) -> None:
    """Call, and hang up once the app has begun."""
    connection = socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=PATIENCE)
    body = str({"journal": str(journal), **order}).replace("'", '"').encode()
    head = f"POST {httpx.URL(url).path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Key a:b\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connection:
        connection.sendall(head.encode() + body)
        eventually(lambda: runs(journal))


def test_a_caller_who_hangs_up_reaches_the_app(platform: Served, client: httpx.Client, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    leave(client, f"{platform.origin}/{LISTENING}", journal)
    eventually(lambda: [text for _, text in runs(journal)] == ["begun", "left"])
    # The only runner is free again long before its 600 seconds are over.
    large = client.post(f"{platform.origin}/{LISTENING}/large", json={}, headers=KEY)
    assert len(large.content) == 30_000_000


def test_the_runner_is_busy_until_an_app_that_does_not_listen_is_done(
    platform: Served, client: httpx.Client, tmp_path: Path
) -> None:
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    leave(client, f"{platform.origin}/{LISTENING}/deaf", journal, gate=str(gate))
    next_id = submit(client, platform, LISTENING, "/deaf", journal=str(journal))
    assert status(client, platform, LISTENING, next_id)["status"] == "IN_QUEUE"
    gate.touch()
    eventually(lambda: status(client, platform, LISTENING, next_id)["status"] == "COMPLETED")
    assert [text for _, text in runs(journal)] == ["begun", "done", "begun", "done"]


def test_events_come_one_by_one(platform: Served, client: httpx.Client, tmp_path: Path) -> None:
    gate, journal = tmp_path / "gate", tmp_path / "journal"
    order = {"gate": str(gate), "journal": str(journal)}
    with client.stream("POST", f"{platform.origin}/{LISTENING}/stream", json=order, headers=KEY) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = (line for line in response.iter_lines() if line)
        for number in range(3):
            # The app waits for this very event to have come.
            assert next(lines) == f'data: {{"number": {number}}}'
            Path(f"{gate}{number}").touch()
    eventually(lambda: [text for _, text in runs(journal)] == ["left"])


def test_a_slow_reader_keeps_no_runner(platform: Served, client: httpx.Client) -> None:
    with socket.create_connection(("127.0.0.1", platform.addresses.http), timeout=PATIENCE) as slow:
        head = f"POST /{LISTENING}/large HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Key a:b\r\n"
        slow.sendall(head.encode() + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        assert slow.recv(12) == b"HTTP/1.1 200"
        # Whose answer of 30 MB has hardly begun to be read.
        assert client.post(f"{platform.origin}/{LISTENING}/deaf", json={}, headers=KEY).status_code == 200
        received = 12
        while received < 30_000_000:
            received += len(slow.recv(1 << 20))


def test_a_runner_that_refuses_is_not_lost(platform: Served, client: httpx.Client) -> None:
    before = platform.runner_pids()
    path = "%ff" * 20_000
    answers: list[int] = []

    def call(url: str) -> None:
        response = client.post(url, content=b"x" * 20_000_000, headers=KEY)
        answers.append(response.status_code)

    for url in (f"{platform.origin}/{SEVERAL}/{path}", f"{platform.origin}/queue/{SEVERAL}/{path}"):
        thread = threading.Thread(target=call, args=[url])
        thread.start()
        thread.join()
    assert answers == [404, 200]  # no such path; accepted, to be told the same
    next_id = submit(client, platform, SEVERAL, name="next")
    eventually(lambda: status(client, platform, SEVERAL, next_id)["status"] == "COMPLETED")
    assert platform.runner_pids() == before
