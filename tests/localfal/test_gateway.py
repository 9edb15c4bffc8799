"""What the gateway answers, to the status code."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from serving import APP_ID, KEY, Served, eventually, runs

from localfal.environment import CLIENT_KEY

UNKNOWN = "00000000-0000-0000-0000-000000000000"


def test_a_key_is_required(served: Served, client: httpx.Client) -> None:
    for url in (served.run, served.queue, f"{served.queue}/requests/{UNKNOWN}/status"):
        response = client.post(url, json={"prompt": "x"})
        assert response.status_code == 401
        assert "Authentication is required" in response.json()["detail"]
        for malformed in ("id:secret", "Key", "Basic abc"):
            response = client.post(url, json={"prompt": "x"}, headers={"authorization": malformed})
            assert (response.status_code, response.json()) == (401, {"detail": "No user found for Key ID and Secret"})
    assert client.post(f"{served.origin}/storage/auth/token").status_code == 401
    assert client.post(f"{served.origin}/files/upload", content=b"x").status_code == 401


def test_unknown_things(served: Served, client: httpx.Client) -> None:
    for path, status in {
        "/photomaker": 400,
        "/fal-ai/another": 404,
        "/queue/fal-ai/another": 404,
        f"/queue/{APP_ID}/requests/{UNKNOWN}": 404,
        f"/queue/{APP_ID}/requests/{UNKNOWN}/status": 404,
        f"/queue/{APP_ID}/requests/{UNKNOWN}/status/stream": 404,
        "/files/00000000000000000000000000000000/x.png": 404,
        "/files/%2e%2e/state.db": 404,
        "/storage/other": 404,
        f"/{APP_ID}/nowhere": 404,
    }.items():
        response = client.get(served.origin + path, headers=KEY)
        assert response.status_code == status, path
        assert "detail" in response.json()
    response = client.put(f"{served.queue}/requests/{UNKNOWN}/cancel", headers=KEY)
    assert (response.status_code, response.json()) == (404, {"status": "NOT_FOUND"})


def test_wrong_methods(served: Served, client: httpx.Client) -> None:
    for method, path in [
        ("GET", ""),
        ("PUT", ""),
        ("POST", f"/requests/{UNKNOWN}"),
        ("POST", f"/requests/{UNKNOWN}/status"),
        ("GET", f"/requests/{UNKNOWN}/cancel"),
    ]:
        response = client.request(method, served.queue + path, headers=KEY)
        assert response.status_code == 405, (method, path)
        assert response.headers["allow"]


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"x-fal-queue-priority": "high"}, ""),
        ({"x-fal-request-timeout": "soon"}, ""),
        ({"x-fal-request-timeout": "0"}, ""),
        ({"x-fal-request-timeout": "nan"}, ""),
        ({}, "?fal_max_queue_length=many"),
        ({}, "?fal_max_queue_length=" + "9" * 5000),
        ({}, "?fal_webhook=ftp://example.com"),
        ({}, "?fal_webhook=nonsense"),
        ({}, "?fal_webhook=http://localhost:99999/"),
    ],
)
def test_malformed_parameters(served: Served, client: httpx.Client, headers: dict[str, str], query: str) -> None:
    response = client.post(served.queue + query, json={"prompt": "x"}, headers={**KEY, **headers})
    assert response.status_code == 400
    assert response.json()["error_type"] == response.headers["x-fal-error-type"] == "bad_request"


def test_direct_call(served: Served, client: httpx.Client) -> None:
    response = client.post(served.run, json={"prompt": "direct"}, headers=KEY)
    assert response.status_code == 200
    assert response.json()["prompt"] == "direct"
    assert len(response.headers["x-fal-request-id"]) == 36
    assert "server" not in response.headers


def test_the_apps_errors_pass_untouched(served: Served, client: httpx.Client) -> None:
    detail = [{"loc": ["body", "image_archive_url"], "msg": "too few", "type": "invalid_archive", "ctx": {"n": 1}}]
    direct = client.post(served.run, json={"prompt": "x", "fail": "typed"}, headers=KEY)
    request_id = served.submit(client, fail="typed")
    queued = served.result(client, request_id)
    for response in (direct, queued):
        assert (response.status_code, response.json()) == (422, {"detail": detail})
        assert response.headers["x-fal-billable-units"] == "0"
    status = served.status(client, request_id)
    assert (status["status"], status["error"], status["error_type"]) == ("COMPLETED", "too few", "invalid_archive")


def test_what_never_ran_names_no_units(served: Served, client: httpx.Client) -> None:
    """The units of an answer are the app's to say; fal documents nothing but the type for its own answers."""
    busy, waiting = served.submit(client, seconds=600), served.submit(client)
    for request_id in (waiting, busy):
        client.put(f"{served.queue}/requests/{request_id}/cancel", headers=KEY)
    response = served.result(client, waiting)
    assert (response.status_code, response.json()["error_type"]) == (499, "client_cancelled")
    assert {name for name in response.headers if name.startswith("x-")} == {"x-fal-request-id", "x-fal-error-type"}
    assert served.result(client, busy).status_code == 499


def test_submit_and_status_have_what_clients_read(served: Served, client: httpx.Client) -> None:
    response = client.post(served.queue, json={"prompt": "x", "seconds": 600}, headers=KEY)
    first = response.json()
    assert response.status_code == 200
    assert response.headers["x-fal-request-id"] == first["request_id"]
    base = f"{served.queue}/requests/{first['request_id']}"
    assert first["response_url"] == base
    assert (first["status_url"], first["cancel_url"]) == (base + "/status", base + "/cancel")
    second = client.post(served.queue, json={"prompt": "x"}, headers=KEY).json()
    assert second["queue_position"] == 0
    assert served.status(client, second["request_id"])["queue_position"] == 0
    waiting = client.get(second["response_url"], headers=KEY)
    assert (waiting.status_code, waiting.json()["detail"]) == (400, "Request is still in progress")
    running = served.status(client, first["request_id"])
    assert (running["status"], running["logs"]) == ("IN_PROGRESS", None)
    assert client.put(first["cancel_url"], headers=KEY).status_code == 202
    done = served.result(client, first["request_id"])
    assert (done.status_code, done.headers["x-fal-error-type"]) == (499, "client_cancelled")
    assert done.json() == {"detail": "Request cancelled by the client."}
    assert served.result(client, second["request_id"]).status_code == 200
    # The documentation also shows `/response`, and the endpoint's own path before `/requests`.
    assert client.get(second["response_url"] + "/response", headers=KEY).status_code == 200
    deeper = f"{served.queue}/quick/requests/{second['request_id']}/status"
    assert client.get(deeper, headers=KEY).status_code == 200
    completed = served.status(client, second["request_id"], logs=True)
    assert completed["metrics"]["inference_time"] > 0
    assert "error" not in completed


def test_a_stream_tells_each_change_and_each_line_once(served: Served, client: httpx.Client) -> None:
    request_id = served.submit(client, prompt="lines", lines=40, seconds=0.3)
    events = []
    url = f"{served.queue}/requests/{request_id}/status/stream"
    with client.stream("GET", url, params={"logs": "1"}, headers=KEY) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]
    assert events[-1]["status"] == "COMPLETED"
    logs = [log for event in events for log in event.get("logs") or []]
    assert [log["message"] for log in logs] == [f"lines: step {n + 1} of 40" for n in range(40)]
    assert [log["timestamp"] for log in logs] == sorted(log["timestamp"] for log in logs)
    polled = served.status(client, request_id, logs=True)["logs"]
    assert [log["message"] for log in polled] == [log["message"] for log in logs]


def test_lines_find_their_own_request(served: Served, client: httpx.Client) -> None:
    requests = {f"p{n}": served.submit(client, prompt=f"p{n}", lines=5) for n in range(8)}
    for prompt, request_id in requests.items():
        served.result(client, request_id)
        lines = [log["message"] for log in served.status(client, request_id, logs=True)["logs"]]
        assert lines == [f"{prompt}: step {n + 1} of 5" for n in range(5)]


def test_low_priority_waits_and_positions_are_true(served: Served, client: httpx.Client, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    common = {"journal": str(journal), "lines": 0}
    blocker = served.submit(client, prompt="blocker", seconds=600, **common)
    low = served.submit(client, {"x-fal-queue-priority": "low"}, prompt="low", **common)
    first, second = (served.submit(client, prompt=name, **common) for name in ("first", "second"))
    positions = [served.status(client, request)["queue_position"] for request in (first, second, low)]
    assert positions == [0, 1, 2]
    full = client.post(served.queue + "?fal_max_queue_length=2", json={"prompt": "x"}, headers=KEY)
    assert full.status_code == 429
    fits = served.submit(client, query="?fal_max_queue_length=3", prompt="fits", **common)
    client.put(f"{served.queue}/requests/{blocker}/cancel", headers=KEY)
    for request in (low, fits):
        assert served.result(client, request).status_code == 200
    assert [prompt for _, prompt in runs(journal)] == ["blocker", "first", "second", "fits", "low"]


def test_an_input_that_is_not_to_be_stored(served: Served, client: httpx.Client) -> None:
    requests = [served.submit(client, headers, prompt="mine") for headers in ({}, {"x-fal-store-io": "0"})]
    for request_id in requests:
        assert served.result(client, request_id).json()["prompt"] == "mine"
    with closing(sqlite3.connect(served.state / "state.db")) as database:
        bodies = dict(database.execute("SELECT id, body FROM requests").fetchall())
    assert [bodies[request_id] is None for request_id in requests] == [False, True]


def test_an_exception_in_the_app_costs_no_runner(served: Served, client: httpx.Client) -> None:
    before = served.runner_pids()
    for _ in range(5):
        assert client.post(served.run, json={"prompt": "x", "fail": "boom"}, headers=KEY).status_code == 500
        assert client.post(served.run, json={"prompt": "x"}, headers=KEY).status_code == 200
    assert served.runner_pids() == before


@pytest.mark.parametrize("fail", ["unavailable", "timeout", "die"])
def test_a_failing_runner_is_replaced_and_the_request_tried_again(
    served: Served, client: httpx.Client, tmp_path: Path, fail: str
) -> None:
    journal = tmp_path / "journal"
    before = served.runner_pids()
    request_id = served.submit(client, fail=fail, once=str(tmp_path / "once"), journal=str(journal))
    assert served.result(client, request_id).status_code == 200
    assert [prompt for _, prompt in runs(journal)] == ["x", "x"]
    assert (served.runner_pids() == before) is (fail == "timeout")  # 504 blames something behind the app


@pytest.mark.parametrize(
    ("fail", "status"), [("unavailable", 503), ("die", 503), ("boom", 500), ("app", 418), ("cancel", 499)]
)
def test_what_is_not_tried_again(served: Served, client: httpx.Client, tmp_path: Path, fail: str, status: int) -> None:
    journal = tmp_path / "journal"
    headers = {"x-fal-no-retry": "1"} if status == 503 else {}
    response = served.result(client, served.submit(client, headers, fail=fail, journal=str(journal)))
    assert response.status_code == status
    assert [prompt for _, prompt in runs(journal)] == ["x"]
    if fail == "die":
        assert response.json()["error_type"] == response.headers["x-fal-error-type"] == "runner_disconnected"


def test_a_direct_call_is_never_tried_again(served: Served, client: httpx.Client, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    body = {"prompt": "x", "fail": "die", "journal": str(journal)}
    response = client.post(served.run, json=body, headers=KEY)
    assert (response.status_code, response.json()["error_type"]) == (503, "runner_disconnected")
    assert response.headers["x-fal-request-id"]
    assert [prompt for _, prompt in runs(journal)] == ["x"]
    assert client.post(served.run, json={"prompt": "next"}, headers=KEY).status_code == 200


def test_a_direct_caller_who_hangs_up_cancels(served: Served, client: httpx.Client) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post(served.run, json={"prompt": "x", "seconds": 600}, headers=KEY, timeout=1)
    # The only runner is free again long before those 600 seconds are over.
    assert client.post(served.run, json={"prompt": "next"}, headers=KEY).status_code == 200


def test_a_cancel_that_went_wrong_is_sent_again(served: Served, client: httpx.Client, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    request_id = served.submit(client, prompt="x", seconds=600, fail="first_cancel", journal=str(journal))
    eventually(journal.exists)
    assert client.put(f"{served.queue}/requests/{request_id}/cancel", headers=KEY).status_code == 202
    assert served.result(client, request_id).status_code == 499


def test_the_app_gets_its_headers_and_no_secret(served: Served, client: httpx.Client) -> None:
    served.submit(client, {"x-fal-object-lifecycle-preference": "{}", "authorization": "Key my:secret"})
    for file in ("state.db", "state.db-wal", "runner.log", "serve.out"):
        content = (served.state / file).read_bytes() if (served.state / file).exists() else b""
        assert b"my:secret" not in content


def test_proxy_form_of_the_javascript_client(served: Served, client: httpx.Client) -> None:
    def call(method: str, url: str, **options: object) -> httpx.Response:
        return client.request(method, served.origin, headers={**KEY, "x-fal-target-url": url}, **options)

    submitted = call("POST", f"https://queue.fal.run/{APP_ID}", json={"prompt": "proxied"}).json()
    assert submitted["status_url"].startswith(f"https://queue.fal.run/{APP_ID}/requests/")
    eventually(lambda: call("GET", submitted["status_url"] + "?logs=1").json()["status"] == "COMPLETED")
    assert call("GET", submitted["response_url"]).json()["prompt"] == "proxied"
    assert call("POST", f"https://fal.run/{APP_ID}/quick", json={"prompt": "run"}).json() == {"prompt": "run"}
    for url in ("https://example.com/x", f"http://fal.run/{APP_ID}", "https://[", "nonsense"):
        assert call("POST", url, json={}).status_code == 400


def test_only_pages_of_this_machine_may_call(served: Served, client: httpx.Client) -> None:
    def preflight(origin: str) -> httpx.Response:
        asked = {"origin": origin, "access-control-request-method": "POST"}
        return client.options(served.run, headers={**asked, "access-control-request-headers": "authorization"})

    allowed = preflight("http://localhost:3000")
    assert allowed.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    for origin in ("https://example.com", "http://localhost.example.com", "http://127.0.0.1.example.com"):
        assert "access-control-allow-origin" not in preflight(origin).headers
        simple = {**KEY, "origin": origin, "content-type": "text/plain"}  # which a browser sends without a preflight
        assert client.post(served.run, content=b"{}", headers=simple).status_code == 403
    assert client.post(served.run, json={"prompt": "x"}, headers={**KEY, "origin": "null"}).status_code == 403
    asked = {"origin": "http://localhost:3000", "access-control-request-method": "POST", "host": "evil.example.com"}
    assert client.options(served.run, headers=asked).status_code == 400
    rebound = client.post(served.run, json={"prompt": "x"}, headers={**KEY, "host": "evil.example.com"})
    assert rebound.status_code == 400
    for target in (f"https://queue.fal.run/{APP_ID}", f"https://fal.run/{APP_ID}"):
        headers = {"x-fal-target-url": target}
        rebound = client.post(served.run, json={"prompt": "x"}, headers={**KEY, **headers, "host": "evil.example.com"})
        assert rebound.status_code == 400
        assert client.post(served.origin, json={"prompt": "x"}, headers=headers).status_code == 401


def test_the_client_key_is_no_real_one() -> None:
    assert CLIENT_KEY.startswith("localfal:")


@pytest.mark.parametrize(
    ("method", "path", "results"),
    [
        ("PUT", "/requests/delete_io/{}", "CDN_DELETE_RESULTS"),
        ("DELETE", "/requests/delete_io/{}", "CDN_DELETE_RESULTS"),
        ("DELETE", "/v1/models/requests/{}/payloads", "cdn_delete_results"),
    ],
)
def test_payloads_are_deleted_with_their_files(
    served: Served, client: httpx.Client, method: str, path: str, results: str
) -> None:
    request_id = served.submit(client, prompt="secret")
    image = served.result(client, request_id).json()["images"][0]["url"]
    file = served.origin + httpx.URL(image).path
    assert client.get(file).status_code == 200
    url = served.origin + path.format(request_id)
    assert client.request(method, url).status_code == 401
    done = client.request(method, url, headers=KEY)
    assert done.json() == {results: [{"link": image, "exception": None}]}
    assert client.get(file).status_code == 404
    assert served.status(client, request_id)["status"] == "COMPLETED"
    assert served.result(client, request_id).status_code == 404
    with closing(sqlite3.connect(served.state / "state.db")) as database:
        (body,) = database.execute("SELECT body FROM requests WHERE id = ?", (request_id,)).fetchone()
    assert body is None
    assert client.request(method, served.origin + path.format(UNKNOWN), headers=KEY).status_code == 404
    assert client.get(url, headers=KEY).status_code == 405


def test_payloads_of_a_request_in_progress_stay(served: Served, client: httpx.Client) -> None:
    request_id = served.submit(client, seconds=600)
    url = f"{served.origin}/requests/delete_io/{request_id}"
    assert client.put(url, headers=KEY).status_code == 400
    client.put(f"{served.queue}/requests/{request_id}/cancel", headers=KEY)
    assert served.result(client, request_id).status_code == 499
