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
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import fal
from fal.auth import fetch_auth_credentials
from fal.exceptions import GPUException, UnauthenticatedException, catch_gpu_exceptions
from fal.toolkit import Image
from fal.toolkit.compilation import synchronized_inductor_cache
from fal.toolkit.file.types import RepositoryId
from fastapi import FastAPI, Header, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.middleware import Middleware

from photomaker.answers import BILLABLE, UNBILLED, Failures, answered, refused, told, unreadable
from photomaker.callers import Callers
from photomaker.delivery import delivered, units
from photomaker.deployment import Deployment, chosen_path
from photomaker.events import Events
from photomaker.payload import DeployPayload
from photomaker.reports import Inspection, PhotoVerdict, Timings
from photomaker.schema import PhotomakerInput, PhotomakerOutput
from photomaker.studio_schema import (
    PhotomakerInspectInput,
    PhotomakerStudioEvent,
    PhotomakerStudioInput,
    PhotomakerStudioOutput,
)

ROOT = Path(__file__).parent
DEPLOYMENT_FILE = chosen_path(default=ROOT / "fal.toml")
DEPLOYMENT = Deployment.read(DEPLOYMENT_FILE)
PROBE_SECONDS = 5.0  # for a device to compute a sum
DEFAULT_GRACE_SECONDS = 5  # fal's own, between SIGTERM and SIGKILL
GOODBYE_SECONDS = 2.0  # of it, for the step under way, the answer and the end of the process
PINNED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
# InsightFace asks for opencv-python, and that asks the machine for OpenGL; the build without windows takes its place.
HEADLESS = [pin.replace("opencv-python==", "opencv-python-headless==") for pin in PINNED if "opencv-python==" in pin]


def cancelling(path: str) -> Any:
    """An endpoint that stops a running request between two steps."""

    @fal.endpoint(path)
    async def cancel(
        self: Any, response: Response, x_fal_request_id: str | None = Header(None, include_in_schema=False)
    ) -> dict[str, bool]:
        """Stop a running request between two steps."""
        response.headers.update(UNBILLED)
        return {"cancelled": self.callers.cancel(x_fal_request_id)}

    return cancel


class PhotoMaker(fal.App):
    """PhotoMaker: customized realistic human photos via stacked ID embedding."""

    requirements = [PINNED, HEADLESS, ["."]]  # in layers: the project's own code changes more often than its pins
    # They use fal's Image, and fal is not installed on a runner.
    local_python_modules = ["photomaker.schema", "photomaker.studio_schema", "photomaker.delivery"]
    locals().update(DEPLOYMENT.app.attributes())
    deployment = DeployPayload(DEPLOYMENT, DEPLOYMENT_FILE)
    stop_at = math.inf  # in time.monotonic()'s seconds; past it, what still runs is given up

    def setup(self) -> None:
        """Load and warm every pipeline of the deployment."""
        # The libraries' advice about their own optional parts is not the caller's business.
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
        from photomaker.collector import collector_at_rest
        from photomaker.cores import WAIT_QUIETLY

        os.environ.update(WAIT_QUIETLY | os.environ)
        with collector_at_rest():
            from photomaker.deployment import Deployment, shared_disk
            from photomaker.service import Service

        deployment = Deployment.model_validate(self.deployment)
        compiles = deployment.inference.compile != "off" or deployment.inference.compile_vae
        # Kernels compiled by one runner serve the others.
        shared = compiles and shared_disk() is not None
        with synchronized_inductor_cache("photomaker") if shared else nullcontext():
            self.service = Service.start(deployment, log=say)
        self.repository = repository_here()
        self.callers = Callers()

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
        """Customizing Realistic Human Photos via Stacked ID Embedding: new pictures of the person in your photos.

        Send a few photos of one person, zipped, and a prompt with the word `img` once, directly after the class word:
        `instagram photo, portrait photo of a man img, colorful, perfect face`. Four sharp photos with a large face are
        plenty; photos without the person are left out.

        - **`/`** is `fal-ai/photomaker` as it is documented.
        - **`/studio`** takes photos one by one, sizes, formats and a safety switch, and tells how good the likeness is.
        - **`/studio/stream`** shows the pictures while they form.
        - **`/inspect`** says what is wrong with photos and prompt, free of charge.

        Image *i* is made from `seed + i` alone. A picture that the safety check withholds is black and keeps its place.
        """
        output = await self.callers.attended(partial(self.pictures, input), request, x_fal_request_id)
        response.headers[BILLABLE] = str(len(output.images))
        return output

    @fal.endpoint("/studio")
    async def studio(
        self,
        input: PhotomakerStudioInput,
        request: Request,
        response: Response,
        x_fal_request_id: str | None = Header(None, include_in_schema=False),
    ) -> PhotomakerStudioOutput:
        """ "/" with what fal's sibling endpoints offer, and an answer that tells how good the likeness is."""
        output = await self.callers.attended(partial(self.studio_pictures, input), request, x_fal_request_id)
        response.headers[BILLABLE] = str(sum(units(image.width, image.height) for image in output.images))
        return output

    @fal.endpoint("/studio/stream")
    async def stream(
        self,
        input: PhotomakerStudioInput,
        request: Request,
        x_fal_request_id: str | None = Header(None, include_in_schema=False),
    ) -> StreamingResponse:
        """ "/studio" as server-sent events: progress, a preview every few steps, and last "/studio"'s answer."""
        events = Events()
        work = partial(self.studio_events, input, events)
        working = asyncio.create_task(self.callers.attended(work, request, x_fal_request_id))
        working.add_done_callback(events.end)
        first = await events.next(working)  # what is wrong with the input is answered as everywhere, with its status
        size = self.service.size(studio_request(input, 0))
        headers = {BILLABLE: str(input.num_images * units(*size)), "cache-control": "no-store"}
        return StreamingResponse(events.sent(first, working, told), media_type="text/event-stream", headers=headers)

    @fal.endpoint("/inspect")
    async def inspect(
        self,
        input: PhotomakerInspectInput,
        request: Request,
        response: Response,
        x_fal_request_id: str | None = Header(None, include_in_schema=False),
    ) -> Inspection:
        """What would be used of photos and prompt, and every fault of them at once; costs no GPU time."""
        response.headers.update(UNBILLED)
        return await self.callers.attended(partial(self.inspection, input), request, x_fal_request_id)

    @fal.endpoint("/healthy", health_check=fal.HealthCheck(timeout_seconds=10, failure_threshold=3))
    async def healthy(self, response: Response) -> dict[str, bool]:
        """For the platform: 503 once the device computes nothing any more, so that the runner is replaced."""
        try:
            alive = await asyncio.wait_for(asyncio.to_thread(self.service.device.alive), PROBE_SECONDS)
        except TimeoutError:
            alive = False
        if not alive:
            raise HTTPException(503, "The device does not answer.", UNBILLED)
        response.headers.update(UNBILLED)
        return {"healthy": True}

    # The platform calls an endpoint's own, when a caller cancels or leaves.
    cancel = cancelling("/cancel")
    cancel_studio = cancelling("/studio/cancel")
    cancel_stream = cancelling("/studio/stream/cancel")
    cancel_inspection = cancelling("/inspect/cancel")

    def _add_extra_routes(self, app: FastAPI) -> None:
        """fal's own last step in building the app; here, what is answered to bad bodies and to failures of ours."""
        super()._add_extra_routes(app)
        app.exception_handler(RequestValidationError)(refused)
        app.exception_handler(400)(unreadable)
        # Innermost. A handler of Exception is outermost, and what it has answered still goes to the log, paths and all.
        app.user_middleware.append(Middleware(Failures, log=say, answer=failed))

    def pictures(self, input: PhotomakerInput, cancelled: Event) -> PhotomakerOutput:
        """The answer of "/"."""
        from photomaker.service import Request, draw_seed

        seed = draw_seed() if input.seed is None else input.seed
        wanted = Request(**input.model_dump(exclude={"seed"}), seed=seed)
        with answered(cancelled, say):
            pictures = self.service.generate(wanted, self.listener(cancelled))
            files = [each.file for each in delivered(pictures, "png", self.repository, say)]
        return PhotomakerOutput(images=files, seed=seed)

    def studio_pictures(self, input: PhotomakerStudioInput, cancelled: Event) -> PhotomakerStudioOutput:
        """The answer of "/studio"."""
        with answered(cancelled, say):
            return self.studio_answer(input, self.listener(cancelled))

    def inspection(self, input: PhotomakerInspectInput, cancelled: Event) -> Inspection:
        """The answer of "/inspect"."""
        from photomaker.service import Request

        with answered(cancelled, say):
            return self.service.inspect(Request(**input.model_dump()), self.listener(cancelled))

    def studio_events(self, input: PhotomakerStudioInput, events: Events, cancelled: Event) -> None:
        """What "/studio/stream" sends."""

        def on_step(done: int, steps: int) -> None:
            say(f"step {done}/{steps}")
            events.put(PhotomakerStudioEvent(step=done, steps=steps, previews=[]))

        def on_preview(done: int, steps: int, previews: list[bytes]) -> None:
            images = [Image.from_bytes(data, "jpeg", repository="in_memory") for data in previews]
            events.put(PhotomakerStudioEvent(step=done, steps=steps, previews=images))

        with answered(cancelled, say):
            events.put(self.studio_answer(input, self.listener(cancelled, on_step=on_step, on_preview=on_preview)))

    def studio_answer(self, input: PhotomakerStudioInput, listener: Any) -> PhotomakerStudioOutput:
        from photomaker.service import draw_seed

        seed = draw_seed() if input.seed is None else input.seed
        repository = "in_memory" if input.sync_mode else self.repository
        pictures = self.service.generate(studio_request(input, seed), listener)
        made = delivered(pictures, input.output_format, repository, say)
        report = listener.report
        return PhotomakerStudioOutput(
            images=[each.file for each in made],
            timings=Timings(**report.seconds, upload=sum(each.seconds for each in made)),
            seed=seed,
            has_nsfw_concepts=[each.picture.withheld for each in made],
            prompt=report.prompt,
            photos=[PhotoVerdict(name=one.name, used=one.reason is None, reason=one.reason) for one in report.photos],
            likeness=[each.picture.likeness for each in made],
        )

    def listener(self, cancelled: Event, **hooks: Any) -> Any:
        """Prints the log, and ends the work with its caller's interest or the runner's time."""
        from photomaker.service import Listener

        return Listener(
            log=say,
            cancelled=lambda: cancelled.is_set() or time.monotonic() > self.stop_at,
            **{"on_step": lambda done, steps: say(f"step {done}/{steps}")} | hooks,
        )


def studio_request(input: PhotomakerStudioInput, seed: int) -> Any:
    """A "/studio" input as the service takes it."""
    from photomaker.service import Request

    size = input.image_size
    return Request(
        **input.model_dump(exclude={"seed", "image_size", "output_format", "sync_mode"}),
        seed=seed,
        image_size=size if isinstance(size, str) else (size.width, size.height),
    )


def failed(error: Exception) -> JSONResponse:
    """A 500; a GPU's failure is a 503, which fal's queue sends to another runner."""
    try:
        with catch_gpu_exceptions():
            raise error
    except GPUException as gpu:
        return JSONResponse({"detail": gpu.message}, gpu.status_code, UNBILLED)
    except Exception:
        return JSONResponse({"detail": "Internal Server Error"}, 500, UNBILLED)


def say(line: str) -> None:
    """A line of the request's log, which its caller sees."""
    print(line, flush=True)


def repository_here() -> RepositoryId:
    """fal's storage; data URIs where there is no account to upload with, as on a laptop."""
    try:
        fetch_auth_credentials()
    except UnauthenticatedException:
        say("no fal account here: pictures are returned as data URIs")
        return "in_memory"
    return "fal_v3"
