"""The steps that see the text alone run while the photos are still on their way."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from photomaker.deployment import Deployment
from photomaker.errors import Cancelled, RequestError
from photomaker.method.pipeline import PhotoMakerPipeline
from photomaker.service import Listener, Request, Service
from tests.archives import photos

HERE = Path(__file__).parent
PATIENCE = 60.0  # seconds, for what comes at once
STEPS = 20
ARCHIVE = photos(2)


@pytest.fixture(scope="module")
def pipe() -> PhotoMakerPipeline:
    return PhotoMakerPipeline.from_pretrained(HERE / "golden" / "base", HERE / "golden" / "photomaker-v1.bin")


def service(pipe: PhotoMakerPipeline, host: str, *, early: bool = True, multiplexing: int = 1) -> Service:
    deployment = Deployment.read(HERE / "deployment.toml")
    changes: dict[str, Any] = {
        "allow_hosts": (host,),
        "inference": deployment.inference.model_copy(update={"early_steps": early}),
        "app": deployment.app.model_copy(update={"max_multiplexing": multiplexing}),
    }
    return Service(deployment.model_copy(update=changes), {"photomaker": pipe})


@contextmanager
def archive_host(released: Event, status: int = 200) -> Iterator[str]:
    """A host that answers once it is told to."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            in_time = released.wait(PATIENCE)
            self.send_response(status if in_time else 503)
            self.send_header("Content-Length", str(len(ARCHIVE)))
            self.end_headers()
            self.wfile.write(ARCHIVE)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            released.set()
            server.shutdown()
            serving.join()


def request(host: str, **changes: Any) -> Request:
    fields = {"num_inference_steps": STEPS, "style_strength": 40, "seed": 1}
    return Request("a man img", image_archive_url=f"http://{host}/photos.zip", **(fields | changes))


def test_the_photos_are_waited_for_only_at_the_step_that_needs_them(pipe: PhotoMakerPipeline) -> None:
    """The host answers at the eighth step; photos that were waited for before would never come."""
    released = Event()
    told: list[int] = []

    def on_step(done: int, steps: int) -> None:
        told.append(done)
        if done == 8:
            released.set()

    with archive_host(released) as host:
        (early,) = service(pipe, host).generate(request(host), Listener(on_step=on_step))
        (late,) = service(pipe, host, early=False).generate(request(host), Listener())
    assert told == list(range(1, STEPS + 1))
    assert early.image.tobytes() == late.image.tobytes()


@pytest.mark.parametrize("style_strength", [40, 100], ids=["merged", "never merged"])
def test_photos_that_cannot_be_had_end_the_request(style_strength: int, pipe: PhotoMakerPipeline) -> None:
    released = Event()
    told: list[int] = []

    def on_step(done: int, steps: int) -> None:
        told.append(done)
        released.set()

    with archive_host(released, status=404) as host:
        own = service(pipe, host)
        asked = request(host, style_strength=style_strength)
        with pytest.raises(RequestError) as caught:
            list(own.generate(asked, Listener(on_step=on_step)))
        assert caught.value.field == "image_archive_url"
        assert 1 <= len(told) <= STEPS
        (picture,) = own.generate(request(host, photos=ARCHIVE), Listener())  # the device is free
        assert not picture.withheld


def test_a_caller_who_leaves_waits_for_no_photo(pipe: PhotoMakerPipeline) -> None:
    released, left = Event(), Event()
    with archive_host(released) as host:
        listener = Listener(on_step=lambda done, _: left.set() if done == 8 else None, cancelled=left.is_set)
        with pytest.raises(Cancelled):
            list(service(pipe, host).generate(request(host), listener))
        assert not released.is_set()


def test_requests_that_share_a_runner_hold_the_device_only_once_they_have_photos(pipe: PhotoMakerPipeline) -> None:
    released = Event()
    with archive_host(released) as host:
        own = service(pipe, host, multiplexing=2)
        pictures: list[Any] = []
        waiting = Thread(target=lambda: pictures.extend(own.generate(request(host), Listener())))
        waiting.start()
        pictures.extend(own.generate(request(host, photos=ARCHIVE), Listener()))  # overtakes it
        assert len(pictures) == 1
        released.set()
        waiting.join(PATIENCE)
        assert len(pictures) == 2
