"""What the platform says of its apps and requests, and how it hands out the page."""

import gzip
import re
from collections.abc import Iterator

import httpx
import pytest
from hosting import APP_ID, Hosted
from serving import KEY, LOCALFAL, eventually

pytestmark = pytest.mark.slow

FIRST_PAINT_BYTES = 100_000


@pytest.fixture
def client(hosted: Hosted) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hosted.origin, trust_env=False) as client:
        yield client


def test_models_with_their_schema(client: httpx.Client) -> None:
    listing = client.get("/v1/models").json()
    assert (listing["has_more"], listing["next_cursor"]) == (False, None)
    assert [model["endpoint_id"] for model in listing["models"]] == [
        "demo/fields",
        "demo/fields/ping",
        "demo/fields/scale",
        "demo/fields/stream",
        "demo/fields/sum",
    ]
    assert "openapi" not in listing["models"][0]
    found = client.get("/v1/models", params={"expand": "openapi-3.0", "endpoint_id": "demo/fields/scale"}).json()
    (model,) = found["models"]
    assert model["metadata"]["description"] == "Arguments outside of a body."
    assert [one["name"] for one in model["openapi"]["paths"]["/demo/fields/scale"]["post"]["parameters"]] == [
        "factor",
        "word",
        "flags",
    ]


def test_the_queue_document_of_an_endpoint(client: httpx.Client) -> None:
    document = client.get("/api/openapi/queue/openapi.json", params={"endpoint_id": APP_ID}).json()
    assert document["info"]["title"] == "Queue OpenAPI for demo/fields"
    assert document["servers"] == [{"url": "https://queue.fal.run"}]
    assert set(document["paths"]) == {
        "/demo/fields",
        "/demo/fields/requests/{request_id}",
        "/demo/fields/requests/{request_id}/status",
        "/demo/fields/requests/{request_id}/cancel",
    }
    result = document["paths"]["/demo/fields/requests/{request_id}"]["get"]["responses"]["200"]
    assert result["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Made"}
    used = set(re.findall(r"#/components/schemas/([\w-]+)", str(document)))
    assert used == set(document["components"]["schemas"]), "all that is referred to, and nothing else"
    assert client.get("/api/openapi/queue/openapi.json", params={"endpoint_id": "some/other"}).status_code == 404


def test_as_fal_s_own_hosts(hosted: Hosted, client: httpx.Client) -> None:
    wanted = {"x-fal-target-url": "https://api.fal.ai/v1/models"}
    assert client.post("/", headers=wanted).status_code == 405
    assert client.get("/", headers=wanted).json()["models"][0]["endpoint_id"] == APP_ID
    page = {"x-fal-target-url": "https://fal.ai/"}
    assert client.get("/", headers=page).status_code == 404, "the page is for callers who name this machine"
    assert client.get("/v1/models", headers={"host": "api.fal.ai"}).status_code == 200


def test_requests_are_listed_filtered_and_paged(own: Hosted) -> None:
    with httpx.Client(trust_env=False) as client:
        url = f"{own.origin}/v1/models/requests/by-endpoint"
        assert client.get(url).status_code == 401
        ids = [own.ask(prompt=f"p{n}", fail="body" if n == 1 else "no") for n in range(5)]
        client.post(f"{own.origin}/queue/{APP_ID}/scale?factor=2", headers=KEY).raise_for_status()
        unstored = client.post(
            f"{own.origin}/queue/{APP_ID}", json={"prompt": "hush"}, headers={**KEY, "x-fal-store-io": "0"}
        ).json()["request_id"]
        own.until_idle()

        listed = own.requests()["items"]
        assert [item["request_id"] for item in listed[2:]] == ids[::-1]
        assert "json_input" not in listed[0]
        assert listed[0]["sent_at"] <= listed[0]["started_at"] <= listed[0]["ended_at"]
        assert listed[0]["duration"] > 0
        first = own.requests(limit=2)
        second = own.requests(limit=2, cursor=first["next_cursor"])
        assert [item["request_id"] for item in second["items"]] == [ids[4], ids[3]]
        assert own.requests(limit=7)["has_more"] is False
        assert [item["request_id"] for item in own.requests(status="user_error")["items"]] == [ids[1]]
        assert len(own.requests(status="success")["items"]) == 6
        (scaled,) = own.requests(endpoint_id=f"{APP_ID}/scale", expand="payloads")["items"]
        assert (scaled["query"], scaled["json_output"]) == ("factor=2", {"text": "2.0 times False"})
        assert len(own.requests(endpoint_id=f"{APP_ID},{APP_ID}/scale")["items"]) == 7
        (one,) = own.requests(request_id=ids[0], expand="payloads")["items"]
        assert one["json_input"] == {"prompt": "p0", "fail": "no"}
        assert one["json_output"]["seed"] == 7
        (hushed,) = own.requests(request_id=unstored, expand="payloads")["items"]
        assert hushed["json_input"] is None
        assert own.requests(start="2099-01-01")["items"] == []
        assert len(own.requests(end="2099-01-01T00:00:00Z")["items"]) == 7
        for wrong in (
            {"limit": 0},
            {"limit": "x"},
            {"cursor": "?"},
            {"cursor": "LTE="},
            {"start": "soon"},
            {"status": "?"},
        ):
            refused = client.get(url, params=wrong, headers=KEY)
            assert refused.status_code == 400, wrong
            assert next(iter(wrong)) in refused.json()["detail"]


def test_payloads_that_are_no_json_for_a_browser(own: Hosted) -> None:
    with httpx.Client(trust_env=False) as client:
        for body in (b'{"prompt": NaN}', b'{"prompt": "\\ud800"}', b"\xff\x00", b"[" * 5000, b""):
            client.post(f"{own.origin}/queue/{APP_ID}", content=body, headers=KEY).raise_for_status()
        own.until_idle()
        listed = own.requests(expand="payloads")["items"]
        assert [item["json_input"] for item in listed] == [None, None, None, {"prompt": "\ud800"}, {"prompt": None}]


def test_the_page_is_small_and_keeps_to_itself(client: httpx.Client) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy, "nothing of another host is loaded"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in page.text
    assert " style=" not in page.text
    paths = set(re.findall(r'(?:src|href)="(/[^"]+)"', page.text))
    found: dict[str, int] = {}
    while paths:
        path = paths.pop()
        response = client.get(path)
        response.raise_for_status()
        found[path] = len(gzip.compress(response.content))
        assert response.headers["content-encoding"] == "gzip"
        imports = re.findall(r'^(?:import|export) .*from "\./([\w-]+\.mjs)"', response.text, re.MULTILINE)
        paths |= {f"/playground/{name}" for name in imports} - set(found)
    assert len(found) > 15
    assert sum(found.values()) + len(gzip.compress(page.content)) < FIRST_PAINT_BYTES
    again = client.get("/", headers={"if-none-match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    plain = client.get("/", headers={"accept-encoding": "identity"})
    assert plain.text == page.text
    assert client.head("/").status_code == 200
    assert client.post("/").status_code == 405
    assert client.get("/playground/site.py").status_code == 404


def test_example_files(client: httpx.Client, hosted: Hosted) -> None:
    listed = client.get("/playground/examples").json()
    assert [(one["file_name"], one["content_type"]) for one in listed] == [
        ("bea.zip", "application/zip"),
        ("face.png", "image/png"),
    ]
    face = client.get("/playground/examples/face.png")
    assert len(face.content) == listed[1]["file_size"]
    assert face.headers["content-security-policy"] == "sandbox"
    for name in (".hidden", "..%2Fstate.db", "none.png"):
        assert client.get(f"/playground/examples/{name}").status_code == 404


def test_hosts_that_are_not_this_machine_get_no_page(client: httpx.Client) -> None:
    for path in ("/", "/playground/page.mjs", "/v1/models", "/playground/examples"):
        assert client.get(path, headers={"host": "other-site.example"}).status_code in (400, 403, 421)


def test_an_app_cannot_take_the_page_s_place(hosted: Hosted) -> None:
    import subprocess

    for owner in ("playground/examples", "v1/models", "api/openapi"):
        command = [*LOCALFAL, "serve", "app.py::App", "--as", owner]
        refused = subprocess.run(command, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert "OWNER/ALIAS" in refused.stderr


def test_before_a_runner_is_ready_there_are_no_endpoints(own: Hosted) -> None:
    own.kill()
    own.spawn()
    with httpx.Client(trust_env=False) as client:

        def listening() -> httpx.Response | None:
            try:
                return client.get(f"{own.origin}/v1/models")
            except httpx.TransportError:
                return None

        assert eventually(listening).json()["models"] == []
        assert client.get(f"{own.origin}/").status_code == 200
        eventually(lambda: client.get(f"{own.origin}/v1/models").json()["models"])
    own.wait_until_ready()
