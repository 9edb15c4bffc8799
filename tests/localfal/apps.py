"""Small apps, each with something that a platform has to keep to."""

import asyncio
import os
import sys
import threading
import time

import fal
from fal.toolkit.utils.endpoint import cancel_on_disconnect
from fastapi import Request, Response, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel


class Order(BaseModel):
    name: str = ""
    gate: str = ""
    journal: str = ""
    status: int = 200
    headers: dict[str, str] = {}


def note(journal: str, text: str) -> None:
    if journal:
        with open(journal, "a") as file:
            file.write(f"{time.time()} {text}\n")


def wait_for(gate: str) -> None:
    while gate and not os.path.exists(gate):
        time.sleep(0.02)


class Several(fal.App):
    """Three requests at once, in threads and in coroutines."""

    machine_type = "S"
    max_multiplexing = 3

    @fal.endpoint("/")
    def work(self, order: Order) -> dict[str, str]:
        note(order.journal, order.name)
        print(f"{order.name} begins")
        wait_for(order.gate)
        print(f"{order.name} warns", file=sys.stderr)
        print(f"ERROR: {order.name} has an error", file=sys.stderr)
        print(f"{order.name} ends", end="")
        return {"name": order.name}

    @fal.endpoint("/slowly")
    async def slowly(self, order: Order) -> dict[str, str]:
        print(f"{order.name} begins")
        while order.gate and not os.path.exists(order.gate):
            await asyncio.sleep(0.02)
        print(f"{order.name} ends")
        return {"name": order.name}


class Listening(fal.App):
    """Knows when its caller has left."""

    machine_type = "S"

    @fal.endpoint("/")
    async def wait(self, order: Order, request: Request) -> dict[str, str]:
        note(order.journal, "begun")
        try:
            async with cancel_on_disconnect(request):
                await asyncio.sleep(600)
        finally:
            note(order.journal, "left")
        return {"name": order.name}

    @fal.endpoint("/deaf")
    def deaf(self, order: Order) -> dict[str, str]:
        note(order.journal, "begun")
        wait_for(order.gate)
        note(order.journal, "done")
        return {"name": order.name}

    @fal.endpoint("/stream")
    async def stream(self, order: Order) -> StreamingResponse:
        async def events():
            try:
                for number in range(100):
                    yield f'data: {{"number": {number}}}\n\n'
                    while order.gate and not os.path.exists(f"{order.gate}{number}"):
                        await asyncio.sleep(0.02)
            finally:
                note(order.journal, "left")

        return StreamingResponse(events(), media_type="text/event-stream")

    @fal.endpoint("/large")
    def large(self, order: Order) -> Response:
        return Response(b"x" * 30_000_000)


class Impatient(fal.App):
    """Ends what takes longer than two seconds, and tries it once."""

    machine_type = "S"
    request_timeout = 2
    termination_grace_period_seconds = 1
    skip_retry_conditions = ["timeout"]

    @fal.endpoint("/")
    def work(self, order: Order) -> dict[str, str]:
        note(order.journal, str(os.getpid()))
        wait_for(order.gate)
        return {}

    @fal.endpoint("/stream")
    async def stream(self, order: Order) -> StreamingResponse:
        async def events():
            note(order.journal, str(os.getpid()))
            while True:
                yield "data: {}\n\n"
                await asyncio.sleep(0.1)

        return StreamingResponse(events(), media_type="text/event-stream")

    @fal.endpoint("/listening")
    async def listen(self, order: Order, request: Request) -> dict[str, str]:
        try:
            async with cancel_on_disconnect(request):
                await asyncio.sleep(600)
        finally:
            note(order.journal, "left")
        return {}

    @fal.endpoint("/socket", is_websocket=True)
    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(os.getpid()))
        await asyncio.sleep(600)


class Hurried(fal.App):
    """Has its owner's callers wait for a second at most."""

    machine_type = "S"
    request_start_timeout = 1

    @fal.endpoint("/")
    def work(self, order: Order) -> dict[str, str]:
        wait_for(order.gate)
        return {"name": order.name}


class Failing(fal.App):
    """Answers as it is told; what a server's error ends is tried twice again."""

    machine_type = "S"
    retry_config = {"server_error": {"retries": 2}}

    @fal.endpoint("/")
    def work(self, order: Order) -> Response:
        note(order.journal, order.name)
        return JSONResponse({"detail": order.name, "pid": os.getpid()}, order.status, order.headers)


class Graceful(fal.App):
    """Takes its time to end."""

    machine_type = "S"
    termination_grace_period_seconds = 60

    def teardown(self) -> None:
        time.sleep(6)  # longer than fal's default of 5 s
        note(os.environ["GRACEFUL_JOURNAL"], "torn down")

    @fal.endpoint("/")
    def work(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith(("FAL_", "LOCALFAL_"))}


class Public(fal.App):
    """Anybody may call; on fal it would have machines of its own."""

    app_name = "another-name"
    app_auth = "public"
    machine_type = ["GPU-H100", "GPU-H200"]
    num_gpus = 8
    regions = ["us-east"]
    min_concurrency = 3
    max_concurrency = 9
    concurrency_buffer = 2
    concurrency_buffer_perc = 50
    scaling_delay = 30
    keep_alive = 1
    requirements = ["no-such-package-anywhere==1.0"]
    local_python_modules = ["no_such_module"]
    app_files = ["no-such-file"]
    secrets = ["NO_SUCH_SECRET"]
    data_mounts = ["/data"]
    metrics_port = 9091

    @fal.endpoint("/")
    def work(self, request: Request) -> dict[str, object]:
        return {"client": request.client.host if request.client else None, "headers": dict(request.headers)}


class Specialised(fal.App):
    """Says what it is good for: the name that it was last asked for."""

    machine_type = "S"

    def setup(self) -> None:
        self.names: list[str] = []

    def provide_hints(self) -> list[str]:
        return self.names

    @fal.endpoint("/")
    def work(self, order: Order) -> dict[str, str]:
        wait_for(order.gate)
        self.names = [order.name] if order.name else self.names
        return {"runner": os.environ["FAL_RUNNER_ID"]}


class Checked(fal.App):
    """Has a health check at a path of its own, and none at `/health` that says 200."""

    machine_type = "S"

    def setup(self) -> None:
        self.well = True

    def health(self):
        raise RuntimeError("ask me elsewhere")

    @fal.endpoint("/")
    def work(self, order: Order) -> JSONResponse:
        self.well = order.name != "ill"
        return JSONResponse({"pid": os.getpid()}, headers=order.headers)

    @fal.endpoint("/am-i-well", health_check=fal.HealthCheck(call_regularly=False))
    def check(self) -> dict[str, str]:
        if not self.well:
            raise RuntimeError("no")
        return {}


class Ailing(fal.App):
    """Is well for its first check."""

    machine_type = "S"

    def setup(self) -> None:
        self.checks = 0

    @fal.endpoint("/")
    def work(self) -> dict[str, int]:
        return {"pid": os.getpid()}

    @fal.endpoint("/check", health_check=fal.HealthCheck(start_period_seconds=0, failure_threshold=2))
    def check(self) -> dict[str, str]:
        self.checks += 1
        if self.checks > 1:
            raise RuntimeError("no longer well")
        return {}


class TooSlowToStart(fal.App):
    machine_type = "S"
    startup_timeout = 1

    def setup(self) -> None:
        threading.Event().wait()

    @fal.endpoint("/")
    def work(self) -> dict[str, str]:
        return {}


class Broken(fal.App):
    machine_type = "S"

    def setup(self) -> None:
        raise LookupError("no checkpoint\nin the folder")

    @fal.endpoint("/")
    def work(self) -> dict[str, str]:
        return {}


class Caller(fal.App):
    """Calls another app, under fal's own hosts, with the key that it was given."""

    machine_type = "S"

    @fal.endpoint("/")
    def work(self, order: Order) -> dict[str, object]:
        import fal_client

        return fal_client.subscribe("owner/several", {"name": order.name})


class Talking(fal.App):
    """Sockets of both kinds."""

    machine_type = "S"

    @fal.realtime("/realtime")
    def double(self, order: Order) -> dict[str, str]:
        return {"name": order.name * 2}

    @fal.endpoint("/raw", is_websocket=True)
    async def raw(self, websocket: WebSocket) -> None:
        await websocket.accept(subprotocol=next(iter(websocket.scope["subprotocols"]), None))
        await websocket.send_text(str(websocket.query_params))
        while (text := await websocket.receive_text()) != "end":
            await websocket.send_text(text.upper())
        await websocket.close(4000, "as you wish")

    @fal.endpoint("/")
    def work(self) -> dict[str, str]:
        return {}


class Link(BaseModel):
    url: str


class Reading(fal.App):
    """Reads what its callers have uploaded, with fal's own toolkit and with a library of its choice."""

    machine_type = "S"
    app_name = "reading"

    @fal.endpoint("/")
    def read(self, order: Link) -> dict[str, list[str]]:
        import tempfile
        import urllib.request

        import fal_client
        from fal.toolkit import File, Image, download_file
        from fal.toolkit.image import read_image_from_url

        with tempfile.TemporaryDirectory() as folder, urllib.request.urlopen(order.url) as response:
            downloaded = download_file(order.url, folder).read_bytes()
            saved = File(url=order.url).save(f"{folder}/saved").read_bytes()
            read = [downloaded, saved, response.read()]
        pictures = [Image(url=order.url, content_type="image/png").to_pil(), read_image_from_url(order.url)]
        return {
            "read": [content[:4].hex() for content in read],
            "colors": [str(picture.getpixel((0, 0))) for picture in pictures],
            "uploaded": [fal_client.upload(b"from inside", "text/plain")],
        }
