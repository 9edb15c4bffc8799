"""Libraries that people call fal with: each submits, follows the answer's URLs, uploads, cancels, and is refused."""

import asyncio
import json
import os
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import httpx
import requests
import urllib3

APP = "https://queue.fal.run/fal-ai/photomaker"
KEY = {"authorization": f"Key {os.environ['FAL_KEY']}"}

Call = Callable[[str, str, dict[str, str], bytes | None], tuple[int, bytes]]


def by_httpx(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    answer = httpx.request(method, url, headers=headers, content=body)
    return answer.status_code, answer.content


def by_requests(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    answer = requests.request(method, url, headers=headers, data=body, timeout=60)
    return answer.status_code, answer.content


def by_urllib(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def by_urllib3(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    answer = urllib3.request(method, url, headers=headers, body=body)
    return answer.status, answer.data


def by_aiohttp(method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[int, bytes]:
    async def call() -> tuple[int, bytes]:
        session = aiohttp.ClientSession()
        async with session, session.request(method, url, headers=headers, data=body) as answer:
            return answer.status, await answer.read()

    return asyncio.run(call())


def sent(call: Call, method: str, url: str, content: dict[str, Any] | None = None) -> tuple[int, Any]:
    body = None if content is None else json.dumps(content).encode()
    headers = KEY if content is None else {**KEY, "content-type": "application/json"}
    status, answer = call(method, url, headers, body)
    return status, json.loads(answer)


def completed(call: Call, request: dict[str, str]) -> tuple[int, Any]:
    while sent(call, "GET", request["status_url"])[1]["status"] != "COMPLETED":
        time.sleep(0.05)
    return sent(call, "GET", request["response_url"])


def check(call: Call) -> None:
    name = call.__name__
    _, submitted = sent(call, "POST", APP, {"prompt": "by hand"})
    assert submitted["status_url"].startswith(f"{APP}/requests/"), name
    assert completed(call, submitted)[1]["prompt"] == "by hand", name
    assert sent(call, "POST", "https://fal.run/fal-ai/photomaker", {"prompt": "at once"})[1]["prompt"] == "at once"

    initiate = "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3"
    _, place = sent(call, "POST", initiate, {"file_name": "note.txt", "content_type": "text/plain"})
    assert call("PUT", place["upload_url"], {"content-type": "text/plain"}, name.encode())[0] == 200, name
    assert call("GET", place["file_url"], {}, None) == (200, name.encode()), name

    _, running = sent(call, "POST", APP, {"prompt": "running", "seconds": 600})
    assert sent(call, "PUT", running["cancel_url"]) == (202, {"status": "CANCELLATION_REQUESTED"}), name
    assert completed(call, running)[0] == 499, name

    _, refused = sent(call, "POST", APP, {"prompt": ""})
    status, error = completed(call, refused)
    assert (status, error["detail"][0]["type"]) == (422, "string_too_short"), name
    assert sent(call, "POST", "https://fal.run/no/body", {})[0] == 404, name


with ThreadPoolExecutor() as threads:
    list(threads.map(check, (by_httpx, by_requests, by_urllib, by_urllib3, by_aiohttp)))
