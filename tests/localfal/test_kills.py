"""SIGKILL, at any moment: no accepted request is lost, and none runs again once its result is stored."""

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from serving import KEY, Served, eventually, runs

REQUESTS = 60
GATEWAY_KILLS = 6
RUNNER_KILLS = 10

pytestmark = pytest.mark.slow


def submit(platform: Served, client: httpx.Client, chance: random.Random, number: int, journal: Path) -> str:
    """Submit until somebody has accepted, as fal_client does."""
    body = {"prompt": f"p{number}", "seconds": chance.uniform(0, 0.2), "journal": str(journal)}

    def accepted() -> str | None:
        with suppress(httpx.TransportError):
            response = client.post(platform.queue, json=body, headers=KEY)
            return response.raise_for_status().json()["request_id"]
        if platform.process.poll() is not None:
            platform.spawn()
        return None

    return eventually(accepted)


def test_killed_at_random(own: Served, client: httpx.Client, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)  # to see the same moments again
    chance = random.Random(seed)
    journal = tmp_path / "journal"
    kills = ["gateway"] * GATEWAY_KILLS + ["runner"] * RUNNER_KILLS + [None] * (REQUESTS - GATEWAY_KILLS - RUNNER_KILLS)
    chance.shuffle(kills)
    accepted: dict[str, str] = {}
    for number, kill in enumerate(kills):
        accepted[submit(own, client, chance, number, journal)] = f"p{number}"
        time.sleep(chance.uniform(0, 0.3))  # the random moment
        if kill == "gateway":
            own.kill()
            own.spawn()
        elif kill == "runner":
            for pid in own.runner_pids()[:1]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
    try:
        own.wait_until_ready()
    except AssertionError:  # every runner was killed while it started, until the gateway gave up
        own.start()
    for request_id, prompt in accepted.items():
        response = own.result(client, request_id)
        assert (response.status_code, response.json()["prompt"]) == (200, prompt)
    with closing(sqlite3.connect(own.state / "state.db")) as database:
        rows = database.execute("SELECT id, state, body, finished FROM requests").fetchall()
    assert set(accepted) <= {request_id for request_id, _, _, _ in rows}
    assert {state for _, state, _, _ in rows} == {"COMPLETED"}
    # A submit whose answer was lost with the gateway is there twice, under one prompt.
    finished: dict[str, float] = {}
    for _, _, body, moment in rows:
        prompt = json.loads(body)["prompt"]
        finished[prompt] = max(moment, finished.get(prompt, 0.0))
    begun = runs(journal)
    assert {prompt for _, prompt in begun} >= set(accepted.values())
    for moment, prompt in begun:
        assert moment <= finished[prompt], f"{prompt} ran again after its result was stored"


def test_a_killed_gateway_takes_its_runners_along(own: Served, client: httpx.Client, tmp_path: Path) -> None:
    journal, gate = tmp_path / "journal", tmp_path / "gate"
    running = own.submit(client, prompt="running", gate=str(gate), journal=str(journal))
    waiting = own.submit(client, prompt="waiting", journal=str(journal))
    eventually(lambda: runs(journal))
    origin, pids = own.origin, own.runner_pids()
    own.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}/exe").exists() for pid in pids))
    gate.touch()
    own.start()
    assert own.origin == origin  # the URLs that results and callers hold stay true
    for request_id, prompt in ((running, "running"), (waiting, "waiting")):
        assert own.result(client, request_id).json()["prompt"] == prompt
    assert [prompt for _, prompt in runs(journal)] == ["running", "running", "waiting"]


def test_a_request_that_kills_every_runner_ends(own: Served, client: httpx.Client, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    request_id = own.submit(client, prompt="poison", fail="die", journal=str(journal))
    response = own.result(client, request_id)
    assert (response.status_code, response.json()["error_type"]) == (503, "runner_disconnected")
    assert len(runs(journal)) == 10
    assert own.result(client, own.submit(client, prompt="next")).status_code == 200


def test_results_and_uploads_survive(own: Served, client: httpx.Client) -> None:
    request_id = own.submit(client, prompt="kept", lines=3)
    result = own.result(client, request_id).json()
    picture = client.get(own.here(result["images"][0]["url"])).content
    logs = own.status(client, request_id, logs=True)["logs"]
    assert len(logs) == 3
    own.kill()
    # The note of a gateway that was killed, spoilt: three ports that are one.
    note = own.note() | {"ports": dict.fromkeys(("http", "https", "proxy"), own.addresses.http)}
    (own.state / "platform.json").write_text(json.dumps(note))
    own.start()
    assert len(set(own.note()["ports"].values())) == 3
    assert own.result(client, request_id).json() == result
    assert own.status(client, request_id, logs=True)["logs"] == logs
    assert client.get(own.here(result["images"][0]["url"])).content == picture


def test_runners_killed_while_they_start_are_started_again(own: Served, client: httpx.Client) -> None:
    request_id = own.submit(client, prompt="accepted", seconds=1)
    own.kill()
    own.spawn()
    killed: set[int] = set()

    def next_pid() -> int | None:
        return next(iter(set(own.runner_pids()) - killed), None)

    for _ in range(3):
        pid = eventually(next_pid)
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    own.wait_until_ready()
    assert own.result(client, request_id).json()["prompt"] == "accepted"
