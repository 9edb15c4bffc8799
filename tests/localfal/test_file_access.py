"""Who may read a file: as its upload, or the request that it was made for, has asked for."""

import json

import httpx
import pytest
from serving import KEY, Served

BEARER = {"authorization": "Bearer local"}


def preference(**wish: object) -> dict[str, str]:
    return {"x-fal-object-lifecycle-preference": json.dumps(wish)}


@pytest.mark.parametrize(("decision", "status"), [("allow", 200), ("forbid", 403), ("hide", 404)])
def test_an_upload_is_for_whom_it_says(served: Served, client: httpx.Client, decision: str, status: int) -> None:
    acl = {"default": decision, "rules": [{"user": "nobody", "decision": "allow"}]}
    headers = {**KEY, **preference(initial_acl=acl)}
    whole = client.post(f"{served.origin}/files/upload", content=b"x", headers=headers).json()["access_url"]
    description = {"file_name": "a.txt", "content_type": "text/plain"}
    place = client.post(f"{served.origin}/storage/upload/initiate", json=description, headers=headers).json()
    assert client.put(place["upload_url"], content=b"x").status_code == 200
    for url in (served.here(whole), served.here(place["file_url"])):
        assert client.get(url).status_code == status
        assert client.head(url).status_code == status
        assert client.get(url, headers=KEY).status_code == status  # as on fal, a key is not the storage's token
        assert client.get(url, headers=BEARER).status_code == 200


def test_an_apps_files_are_for_whom_its_caller_says(served: Served, client: httpx.Client) -> None:
    headers = {**KEY, **preference(expiration_duration_seconds=3600, initial_acl={"default": "forbid"})}
    response = client.post(served.run, json={"prompt": "private"}, headers=headers)
    url = served.here(response.json()["images"][0]["url"])
    assert (client.get(url).status_code, client.get(url, headers=BEARER).status_code) == (403, 200)


@pytest.mark.parametrize(("host", "prefix"), [("rest.fal.ai", ""), ("api.fal.ai", "/v1")])
def test_who_may_read_can_be_changed(served: Served, client: httpx.Client, host: str, prefix: str) -> None:
    url = client.post(f"{served.origin}/files/upload", content=b"x", headers=KEY).json()["access_url"]
    lists, at = f"{served.origin}{prefix}/storage/files/acl", {"host": host}
    assert client.get(lists, params={"url": url}, headers={**KEY, **at}).json() == {"default": "allow", "rules": []}
    acl = {"default": "forbid", "rules": [{"user": "nobody", "decision": "allow"}]}
    changed = client.put(lists, params={"url": url}, json=acl, headers={**KEY, **at})
    assert changed.json() == {"default": "forbid", "rules": []}  # a rule for nobody is dropped
    assert client.get(served.here(url)).status_code == 403
    assert client.get(lists, params={"url": url}, headers={**KEY, **at}).json() == changed.json()
    assert client.put(lists, params={"url": url}, json=acl, headers=at).status_code == 401
    assert client.get(lists, params={"url": "https://example.com/a"}, headers={**KEY, **at}).status_code == 400


@pytest.mark.parametrize(
    "acl", ['"forbid"', '{"default": "nobody"}', '{"rules": [{}]}', '{"default": []}', '{"rules": {"a": "allow"}}']
)
def test_malformed_access_lists(served: Served, client: httpx.Client, acl: str) -> None:
    headers = {**KEY, "x-fal-object-lifecycle": f'{{"initial_acl": {acl}}}'}
    response = client.post(f"{served.origin}/files/upload", content=b"x", headers=headers)
    assert (response.status_code, response.json()["error_type"]) == (400, "bad_request")
    assert "initial_acl" in response.json()["detail"]


def test_nothing_signs_a_file(served: Served, client: httpx.Client) -> None:
    url = client.post(f"{served.origin}/files/upload", content=b"x", headers=KEY).json()["access_url"]
    assert client.post(f"{served.here(url)}/sign", json={"duration": 60}, headers=BEARER).status_code == 404
    headers = {**KEY, "host": "api.fal.ai"}
    sign = "/v1/storage/files/sign"
    response = client.post(
        f"{served.origin}{sign}", params={"url": url}, json={"expiration_seconds": 60}, headers=headers
    )
    assert (response.status_code, f"https://api.fal.ai{sign}" in response.json()["detail"]) == (404, True)
