"""The fal.App: PhotoMaker behind the endpoint ``fal-ai/photomaker`` as fal documents it.

Read on the laptop that deploys: fal.toml's [app] becomes class attributes there, the rest travels with the
class. The only file that knows fal's serverless side; nothing in it may postpone the evaluation of annotations.
"""

import asyncio
import math
import os
import time
import tomllib
from contextlib import nullcontext
from pathlib import Path
from threading import Event
from typing import Any

import fal
from fal.auth import fetch_auth_credentials
from fal.exceptions import GPUException, UnauthenticatedException, catch_gpu_exceptions
from fal.toolkit import Image
from fal.toolkit.compilation import synchronized_inductor_cache
from fal.toolkit.file.types import RepositoryId
from fal.toolkit.image import ImageSize
from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from photomaker.deployment import Deployment, chosen_path
from photomaker.payload import DeployPayload
from photomaker.schema import PhotomakerInput, PhotomakerOutput

ROOT = Path(__file__).parent
DEPLOYMENT_FILE = chosen_path(default=ROOT / "fal.toml")
DEPLOYMENT = Deployment.read(DEPLOYMENT_FILE)
BILLABLE = "x-fal-billable-units"
UNBILLED = {BILLABLE: "0"}
DEFAULT_GRACE_SECONDS = 5  # fal's own, between SIGTERM and SIGKILL
GOODBYE_SECONDS = 2.0  # of it, for the step under way, the answer and the end of the process
PINNED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
# InsightFace asks for opencv-python, and that asks the machine for OpenGL; the build without windows takes its place.
HEADLESS = [pin.replace("opencv-python==", "opencv-python-headless==") for pin in PINNED if "opencv-python==" in pin]


class PhotoMaker(fal.App):
    """PhotoMaker: customized realistic human photos via stacked ID embedding."""

    requirements = [PINNED, HEADLESS, ["."]]  # in layers: the project's own code changes more often than its pins
    local_python_modules = ["photomaker.schema"]  # it uses fal's Image, and fal is not installed on a runner
    locals().update(DEPLOYMENT.app.attributes())
    deployment = DeployPayload(DEPLOYMENT, DEPLOYMENT_FILE)
    stop_at = math.inf  # in time.monotonic()'s seconds; past it, what still runs is given up

    def setup(self) -> None:
        """Load and warm every pipeline of the deployment."""
        # The libraries' advice about their own optional parts is not the caller's business.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
        from photomaker.deployment import Deployment, shared_disk
        from photomaker.service import Service

        deployment = Deployment.model_validate(self.deployment)
        compiles = deployment.inference.compile != "off" or deployment.inference.compile_vae
        # Kernels compiled by one runner serve the others.
        shared = compiles and shared_disk() is not None
        with synchronized_inductor_cache("photomaker") if shared else nullcontext():
            self.service = Service.start(deployment, log=say)
        self.repository = repository_here()
        self.running: dict[str, Event] = {}

    def handle_exit(self) -> None:
        """SIGTERM: a running request may use the grace period to finish; what cannot goes to another runner."""
        grace = self.termination_grace_period_seconds or DEFAULT_GRACE_SECONDS
        self.stop_at = time.monotonic() + max(0.0, grace - GOODBYE_SECONDS)

    @fal.endpoint("/")
    async def generate(
        self,
        input: PhotomakerInput,
        request: Request,
        response: Response,
        x_fal_request_id: str | None = Header(None, include_in_schema=False),
    ) -> PhotomakerOutput:
        """Customizing Realistic Human Photos via Stacked ID Embedding: new pictures of the person in your photos."""
        cancelled = Event()
        if x_fal_request_id:
            self.running[x_fal_request_id] = cancelled
        watching = asyncio.create_task(disconnect(request, cancelled))
        try:
            output = await asyncio.to_thread(self.pictures, input, cancelled)
        finally:
            watching.cancel()
            self.running.pop(x_fal_request_id or "", None)
        response.headers[BILLABLE] = str(len(output.images))
        return output

    @fal.endpoint("/cancel")
    async def cancel(self, x_fal_request_id: str | None = Header(None, include_in_schema=False)) -> dict[str, bool]:
        """Stop a running request between two steps."""
        event = self.running.get(x_fal_request_id or "")
        if event is not None:
            event.set()
        return {"cancelled": event is not None}

    def _add_extra_routes(self, app: FastAPI) -> None:
        """fal's own last step in building the app; here, what is answered to bad bodies and to failures of ours."""
        super()._add_extra_routes(app)
        app.exception_handler(RequestValidationError)(refused)
        app.exception_handler(400)(unreadable)
        # Innermost. A handler of Exception is outermost, and what it has answered still goes to the log, paths and all.
        app.user_middleware.append(Middleware(Failures))

    def pictures(self, input: PhotomakerInput, cancelled: Event) -> PhotomakerOutput:
        """Pictures made, and each encoded and uploaded while the next is decoded."""
        from concurrent.futures import ThreadPoolExecutor
        from contextvars import copy_context

        from photomaker.errors import Cancelled, RequestError, cause
        from photomaker.service import Listener, Request, draw_seed

        seed = draw_seed() if input.seed is None else input.seed
        listener = Listener(
            log=say,
            on_step=lambda done, steps: say(f"step {done}/{steps}"),
            cancelled=lambda: cancelled.is_set() or time.monotonic() > self.stop_at,
        )
        try:
            with ThreadPoolExecutor(max_workers=4) as uploads:
                uploading = [
                    uploads.submit(copy_context().run, upload, picture, self.repository)
                    for picture in self.service.generate(
                        Request(**input.model_dump(exclude={"seed"}), seed=seed), listener
                    )
                ]
            return PhotomakerOutput(images=[image.result() for image in uploading], seed=seed)
        except Cancelled as error:
            if not cancelled.is_set():  # 503: fal's queue sends the request to another runner
                leaving = "The runner is shutting down. Send the request again."
                raise HTTPException(503, leaving, UNBILLED) from None
            # As fal answers its own RequestCancelledException, which takes no headers.
            raise HTTPException(499, str(error), UNBILLED) from None
        except RequestError as error:
            say(f"{error.type}: {error.message}{cause(error)}")
            raise HTTPException(error.status, [error.as_detail()], UNBILLED) from None


async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
    """A body that is not as the schema has it."""
    from photomaker.refusals import refused

    return JSONResponse({"detail": refused(error.errors())}, 422, UNBILLED)


async def unreadable(request: Request, error: HTTPException) -> Response:
    """A body that is no JSON, which FastAPI answers with a 400 without a reason."""
    from photomaker.refusals import unreadable

    detail = unreadable(error.__cause__, request.headers.get("content-encoding"))
    return JSONResponse({"detail": detail}, 422, UNBILLED)


class Failures:
    """Answers a failure of ours; the log says where, for a caller's eyes too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from photomaker.tracebacks import traced

        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception as error:
            say(traced(error))
            if scope["type"] == "http" and not begun:  # one that has begun ends unfinished
                await failed(error)(scope, receive, send)


def failed(error: Exception) -> JSONResponse:
    """A 500; a GPU's failure is a 503, which fal's queue sends to another runner."""
    try:
        with catch_gpu_exceptions():
            raise error
    except GPUException as gpu:
        return JSONResponse({"detail": gpu.message}, gpu.status_code, UNBILLED)
    except Exception:
        return JSONResponse({"detail": "Internal Server Error"}, 500, UNBILLED)


async def disconnect(request: Request, cancelled: Event) -> None:
    """Cancels the request once its caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancelled.set()


def say(line: str) -> None:
    """A line of the request's log, which its caller sees."""
    print(line, flush=True)


def upload(picture: Any, repository: RepositoryId) -> Image:
    """A picture as PNG, uploaded: url, content type, name, size, width and height."""
    from photomaker.pictures.png import encode_png

    size = ImageSize(width=picture.width, height=picture.height)
    return Image.from_bytes(encode_png(picture), "png", size, repository=repository)


def repository_here() -> RepositoryId:
    """fal's storage; data URIs where there is no account to upload with, as on a laptop."""
    try:
        fetch_auth_credentials()
    except UnauthenticatedException:
        say("no fal account here: pictures are returned as data URIs")
        return "in_memory"
    return "fal_v3"
