"""What an app's class says is what its platform does."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from serving import APPS, KEY, LOCALFAL, PATIENCE, Served, app_id, eventually, hosted, runs
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

NAMES = ["Impatient", "Hurried", "Failing", "Public", "Specialised", "Checked", "Several", "Caller"]
TIMED_OUT = {"detail": "Request timed out", "error_type": "request_timeout"}


@pytest.fixture
def call(platform: Served, client: httpx.Client) -> Callable[..., httpx.Response]:
    def call(app: str, /, sent: dict[str, str] | None = None, path: str = "", **order: object) -> httpx.Response:
        url = f"{platform.origin}/{app_id(app)}{path}"
        return client.post(url, json=order, headers={**KEY, **(sent or {})})

    return call


@pytest.fixture
def queued(platform: Served, client: httpx.Client) -> Callable[..., httpx.Response]:
    """Submit, wait, and fetch the result."""

    def queued(app: str, /, sent: dict[str, str] | None = None, **order: object) -> httpx.Response:
        url = f"{platform.origin}/queue/{app_id(app)}"
        submitted = client.post(url, json=order, headers={**KEY, **(sent or {})}).raise_for_status().json()
        eventually(lambda: client.get(submitted["status_url"], headers=KEY).json()["status"] == "COMPLETED")
        return client.get(submitted["response_url"], headers=KEY)

    return queued


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


@pytest.mark.parametrize(
    ("status", "headers", "request_headers", "attempts"),
    [
        (500, {}, {}, 1),
        (504, {}, {}, 3),  # retry_config = {"server_error": {"retries": 2}}
        (503, {"X-Fal-Needs-Retry": "0"}, {}, 1),
        (500, {"X-Fal-Needs-Retry": "1"}, {"x-fal-no-retry": "1"}, 1),
        (500, {"X-Fal-Needs-Retry": "1"}, {}, 10),
        (418, {"X-Fal-Needs-Retry": "1"}, {}, 1),
        (504, {}, {"x-fal-retry-config": '{"server_error": {"retries": 0}}'}, 1),
        (504, {}, {"x-fal-retry-config": "nonsense"}, 3),
    ],
)
def test_how_often_a_request_is_tried(
    queued, tmp_path: Path, status: int, headers: dict[str, str], request_headers: dict[str, str], attempts: int
) -> None:
    journal = tmp_path / "journal"
    response = queued("Failing", request_headers, status=status, headers=headers, journal=str(journal))
    assert response.status_code == status
    assert len(runs(journal)) == attempts
    assert ("x-fal-needs-retry" in response.headers) == (bool(headers) and status >= 500)


@pytest.mark.parametrize(
    ("status", "headers", "same"),
    [
        (504, {}, True),
        (500, {}, True),
        (503, {}, False),
        (503, {"x-fal-stop-runner": "false"}, True),
        (200, {"x-fal-stop-runner": "true"}, False),
    ],
)
def test_which_answers_end_a_runner(call, status: int, headers: dict[str, str], same: bool) -> None:
    response = call("Failing", status=status, headers=headers)
    assert response.status_code == status
    assert "x-fal-stop-runner" not in response.headers
    assert (call("Failing").json()["pid"] == response.json()["pid"]) is same


def test_a_health_check_that_an_answer_asks_for(call) -> None:
    asks = {"x-fal-runner-health-check": "1"}
    before = call("Checked", headers=asks).json()["pid"]
    assert call("Checked", name="ill").json()["pid"] == before  # nobody asked
    response = call("Checked", name="ill", headers=asks)
    assert response.json()["pid"] == before
    assert not set(asks) & set(response.headers)
    assert call("Checked").json()["pid"] != before


def test_a_public_app_needs_no_key_and_hears_nothing_that_is_not_for_it(platform: Served, client: httpx.Client) -> None:
    url = f"{platform.origin}/{app_id('Public')}"
    private = {"authorization": "Key my:secret", "cookie": "a=b", "x-fal-runner-hint": "a", "x-fal-store-io": "0"}
    forged = {"x-fal-caller-user-id": "root", "x-forwarded-for": "1.2.3.4", "x-localfal-hang-up": "a"}
    seen = client.post(url, headers={**private, **forged, "x-mine": "kept"}).json()
    assert seen["client"] == "127.0.0.1"
    assert not set(private) & set(seen["headers"])
    assert seen["headers"]["x-fal-caller-user-id"] == "localfal"
    assert seen["headers"]["x-fal-endpoint"] == app_id("Public")
    assert seen["headers"]["x-mine"] == "kept"
    assert seen["headers"]["x-fal-object-lifecycle-preference"] == "{}"  # what a request's context shows, none or not
    assert client.post(url).status_code == 200
    submitted = client.post(f"{platform.origin}/queue/{app_id('Public')}").raise_for_status()
    assert client.get(submitted.json()["status_url"]).is_success
    assert client.post(f"{platform.origin}/{app_id('Checked')}", json={}).status_code == 401


def test_what_is_not_for_this_machine_is_no_obstacle(call, platform: Served) -> None:
    assert call("Public").status_code == 200
    eventually(lambda: len(platform.runner_pids()) == len(NAMES))  # one each


def test_ready_is_what_fal_calls_ready(call) -> None:
    assert call("Checked").status_code == 200  # whose GET /health answers 500


def test_apps_call_each_other(call) -> None:
    assert call("Caller", name="from afar").json() == {"name": "from afar"}


def test_requests_of_another_app_are_not_there(platform: Served, client: httpx.Client) -> None:
    url = f"{platform.origin}/queue/{app_id('Several')}"
    request_id = client.post(url, json={}, headers=KEY).json()["request_id"]
    assert client.get(f"{url}/requests/{request_id}/status", headers=KEY).is_success
    other = f"{platform.origin}/queue/{app_id('Checked')}/requests/{request_id}/status"
    assert client.get(other, headers=KEY).status_code == 404


@pytest.mark.slow
def test_a_hint_leads_to_the_runner_that_gave_it(tmp_path: Path, client: httpx.Client) -> None:
    platform = Served(tmp_path / "state", "--runners", "2", apps=hosted("Specialised"))
    try:
        eventually(lambda: len(platform.runner_pids()) == 2)
        url = f"{platform.origin}/owner/specialised"

        def runner_of(name: str, **headers: str) -> str:
            response = client.post(url, json={"name": name}, headers={**KEY, **headers})
            assert "x-fal-runner-hints" not in response.headers
            return response.json()["runner"]

        runners = {runner_of(name) for name in ("cats", "dogs")}
        eventually(lambda: runners.add(runner_of("")) or len(runners) == 2)
        for name in ("cats", "dogs"):
            hinted = runner_of(name, **{"x-fal-runner-hint": name})
            assert [runner_of("", **{"x-fal-runner-hint": name}) for _ in range(4)] == [hinted] * 4
    finally:
        platform.stop()


@pytest.mark.slow
def test_runners_know_who_they_are_and_get_their_grace_period(tmp_path: Path, client: httpx.Client) -> None:
    journal = tmp_path / "journal"
    os.environ["GRACEFUL_JOURNAL"] = str(journal)
    try:
        platform = Served(tmp_path / "state", apps=hosted("Graceful"))
    finally:
        del os.environ["GRACEFUL_JOURNAL"]
    seen = client.post(f"{platform.origin}/owner/graceful", headers=KEY).json()
    assert (seen["FAL_APP_NAME"], seen["FAL_USER_NICKNAME"]) == ("owner/graceful", "owner")
    assert seen["FAL_JOB_ID"] == seen["FAL_RUNNER_ID"]
    assert seen["FAL_RUNNER_STATE"] == "RUNNING"
    assert {"FAL_APP_ID", "FAL_HOST", "FAL_KEY", "FAL_REGION", "LOCALFAL_FILES"} <= set(seen)
    platform.stop()
    assert [text for _, text in runs(journal)] == ["torn down"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "cause"),
    [
        (f"{APPS}::Broken", "LookupError: no checkpoint in the folder"),
        (f"{APPS}::TooSlowToStart", "setup() was not over within the app's startup_timeout of 1 s"),
        (f"{APPS}::Nobody", "Function 'Nobody' not found in module"),
        ("nowhere.py::Nobody", "No such file or directory"),
    ],
)
def test_a_failed_start_says_why(tmp_path: Path, app: str, cause: str) -> None:
    state = tmp_path / "state"
    command = [*LOCALFAL, "serve", app, "--as", "owner/app", "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    *_, said, where = done.stderr.strip().splitlines()
    assert f"{app} does not start: " in said
    assert cause in said
    assert where == f"The whole log is {state / 'runner.log'}"


@pytest.mark.slow
def test_a_missing_module_is_named(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("import fal, no_such_module\n\n\nclass App(fal.App):\n    pass\n")
    command = [*LOCALFAL, "serve", f"{app}::App", "--as", "owner/app", "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert "does not start: ModuleNotFoundError: No module named 'no_such_module'" in done.stderr
    assert "Traceback" in (tmp_path / "state" / "runner.log").read_text()
