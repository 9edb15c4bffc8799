"""One release of fal-client, first on the path: submit, subscribe, upload, cancel, errors."""

import sys
import urllib.request

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

try:
    fal_client.subscribe(APP, {"prompt": ""})
except Exception as error:
    refusal = str(error)
else:
    refusal = ""
assert "422" in refusal or "at least 1 character" in refusal, refusal
