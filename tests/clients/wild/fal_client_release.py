"""One release of fal-client, first on the path: subscribe, upload, submit, cancel, stream, errors."""

import sys
import urllib.request
from collections.abc import Callable

import fal_client

APP = "fal-ai/photomaker"
assert sys.argv[1] in fal_client.__file__, fal_client.__file__

lines = []


def update(status: object) -> None:
    lines.extend(getattr(status, "logs", None) or [])


result = fal_client.subscribe(APP, {"prompt": "subscribed"}, with_logs=True, on_queue_update=update)
assert result["prompt"] == "subscribed"
assert any(line["message"] == "subscribed: step 1 of 2" for line in lines), lines

url = fal_client.upload(b"some text", "text/plain")
assert url.startswith("https://v3.fal.media/files/"), url
assert urllib.request.urlopen(url).read() == b"some text"

running = fal_client.submit(APP, {"prompt": "running", "seconds": 600})
assert type(running.status()).__name__ in ("Queued", "InProgress")
if hasattr(running, "cancel"):
    running.cancel()
else:
    fal_client.SyncClient()._client.put(running.cancel_url)

assert [event["step"] for event in fal_client.stream(APP, {"prompt": "streamed"})] == [0, 1, 2]


def refusal(call: Callable[[], object]) -> str:
    try:
        call()
    except Exception as error:
        return str(error)
    raise AssertionError("no error")


cancelled = refusal(running.get)
assert "499" in cancelled or "cancelled" in cancelled, cancelled
refused = refusal(lambda: fal_client.subscribe(APP, {"prompt": ""}))
assert "422" in refused or "at least 1 character" in refused, refused
