"""`fal run --local` on the checkpoint that comes with the package, called as the documentation shows."""

import base64
import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from PIL import Image

from .documented import DOCUMENTED
from .local_run import LocalRun
from .project import ROOT

NANO = ROOT / "src" / "photomaker" / "nano"

pytestmark = pytest.mark.slow


@pytest.fixture
def files() -> Iterator[str]:
    """A web server of the example photos; host and port."""
    handler = partial(SimpleHTTPRequestHandler, directory=NANO / "examples")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_documented_request_with_a_local_archive(files: str, tmp_path: Path) -> None:
    archive = next((NANO / "examples").glob("*.zip")).name
    body = {**DOCUMENTED, "image_archive_url": f"http://{files}/{archive}"}
    with LocalRun(tmp_path, deployment=NANO / "fal.toml", allow_hosts=files) as app:
        answer = httpx.post(app.url, json=body, timeout=120, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert answer.json()["seed"] == DOCUMENTED["seed"]
    (described,) = answer.json()["images"]
    encoded = base64.b64decode(described["url"].partition("base64,")[2])
    assert (described["content_type"], described["file_size"]) == ("image/png", len(encoded))
    with Image.open(io.BytesIO(encoded)) as picture:
        picture.load()
        assert picture.size == (described["width"], described["height"])
