"""What an app's class says is what its platform does."""

from pathlib import Path

import httpx
import pytest
from serving import KEY, Served, app_id, eventually, hosted, runs

pytestmark = pytest.mark.slow

NAMES = ["Failing", "Public", "Specialised", "Checked", "Several", "Caller"]


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
