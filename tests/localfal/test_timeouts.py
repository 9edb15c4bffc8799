"""An app's time for a request, and for a caller's wait, whatever form the request has."""

import json
from pathlib import Path

import httpx
import pytest
from serving import KEY, Served, app_id, eventually, runs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

NAMES = ["Impatient", "Hurried"]
TIMED_OUT = {"detail": "Request timed out", "error_type": "request_timeout"}


def is_over(process: str) -> bool:
    return not Path(f"/proc/{process}/exe").exists()


@pytest.mark.slow
def test_request_timeout_ends_a_request_and_its_runner(call, queued, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    stuck = {"gate": str(tmp_path / "never"), "journal": str(journal)}
    for response in (call("Impatient", **stuck), queued("Impatient", **stuck)):
        assert (response.status_code, response.json()) == (504, TIMED_OUT)
        assert "x-fal-request-timeout-type" not in response.headers  # which says that the caller had asked for it
    workers = [process for _, process in runs(journal)]
    assert len(workers) == 2  # skip_retry_conditions = ["timeout"]
    eventually(lambda: all(map(is_over, workers)))  # the work goes on nowhere
    told = tmp_path / "told"
    assert call("Impatient", path="/listening", journal=str(told)).status_code == 504
    eventually(lambda: [text for _, text in runs(told)] == ["left"])
    assert call("Impatient").status_code == 200


@pytest.mark.slow
def test_request_timeout_ends_streams_and_sockets(platform: Served, client: httpx.Client, tmp_path: Path) -> None:
    url, journal = f"{platform.origin}/{app_id('Impatient')}", tmp_path / "journal"
    order = {"journal": str(journal)}
    with client.stream("POST", f"{url}/stream", json=order, headers=KEY) as response:
        lines = response.iter_lines()
        assert next(lines) == "data: {}"
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
    with connect(f"{url}/socket".replace("http", "ws"), additional_headers=KEY, proxy=None) as socket:
        workers = [runs(journal)[0][1], str(socket.recv())]
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
    assert closed.value.rcvd
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1011, "Request timed out")
    over_a_socket = f"{platform.origin}/ws/{app_id('Impatient')}/stream".replace("http", "ws")
    with connect(over_a_socket, additional_headers=KEY, proxy=None) as socket:
        socket.send(json.dumps(order))
        with pytest.raises(ConnectionClosed) as closed:
            list(socket)
    assert closed.value.rcvd
    assert closed.value.rcvd.reason == "The answer was broken off"
    eventually(lambda: all(map(is_over, [*workers, runs(journal)[1][1]])))


def test_request_start_timeout_is_what_a_caller_may_change(
    queued, platform: Served, client: httpx.Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    url = f"{platform.origin}/queue/{app_id('Hurried')}"
    busy = client.post(url, json={"name": "busy", "gate": str(gate)}, headers=KEY).json()
    eventually(lambda: client.get(busy["status_url"], headers=KEY).json()["status"] == "IN_PROGRESS")
    patient = client.post(url, json={"name": "patient"}, headers={**KEY, "x-fal-request-timeout": "600"}).json()
    late = queued("Hurried", name="late")
    assert (late.status_code, late.json()) == (504, TIMED_OUT)
    gate.touch()
    eventually(lambda: client.get(patient["status_url"], headers=KEY).json()["status"] == "COMPLETED")
    assert client.get(patient["response_url"], headers=KEY).json() == {"name": "patient"}
