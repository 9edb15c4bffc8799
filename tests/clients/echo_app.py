"""A small app to host: answers at once, in the shape of the endpoint whose snippets the tests run."""

import os
import signal
import threading
import time
from typing import Literal

import fal
from fal.exceptions import AppException, FieldException, RequestCancelledException
from fal.toolkit import Image
from fastapi import Header, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

RequestId = Header(None, include_in_schema=False)


class EchoInput(BaseModel):
    prompt: str = Field(min_length=1)
    image_archive_url: str = ""
    num_inference_steps: int = Field(default=20, ge=20, le=100)
    seed: int | None = None
    seconds: float = 0.0
    gate: str = ""
    lines: int = 2
    tail: str = ""
    fail: Literal["no", "field", "typed", "app", "boom", "unavailable", "timeout", "die", "cancel", "first_cancel"] = (
        "no"
    )
    once: str = ""
    journal: str = ""


class EchoOutput(BaseModel):
    images: list[Image]
    seed: int
    prompt: str
    image_archive_url: str


class Echo(fal.App):
    machine_type = "S"
    app_name = "echo"

    def setup(self) -> None:
        from PIL import Image as Pictures

        self.pictures = Pictures
        self.cancelled: dict[str, threading.Event] = {}
        self.hard_of_hearing: set[str] = set()
        print("setting up")

    @fal.endpoint("/")
    def generate(self, order: EchoInput, x_fal_request_id: str | None = RequestId) -> EchoOutput:
        request_id = x_fal_request_id or ""
        cancelled = self.cancelled.setdefault(request_id, threading.Event())
        if order.fail == "first_cancel":
            self.hard_of_hearing.add(request_id)
        try:
            _note(order.journal, order.prompt)
            for step in range(order.lines):
                print(f"{order.prompt}: step {step + 1} of {order.lines}")
            print(order.tail, end="")
            if cancelled.wait(order.seconds) or not _opened(order.gate, cancelled):
                raise RequestCancelledException("Request cancelled by the client.")
            if order.fail != "no" and _first_time(order.once):
                _fail(order.fail)
            picture = self.pictures.new("RGB", (8, 8), (200, 30, 30))
            return EchoOutput(
                images=[Image.from_pil(picture)],
                seed=1 if order.seed is None else order.seed,
                prompt=order.prompt,
                image_archive_url=order.image_archive_url,
            )
        finally:
            self.cancelled.pop(request_id, None)

    @fal.endpoint("/cancel")
    async def cancel(self, x_fal_request_id: str | None = RequestId) -> dict[str, bool]:
        if x_fal_request_id in self.hard_of_hearing:
            self.hard_of_hearing.remove(x_fal_request_id)
            raise RuntimeError("not now")
        event = self.cancelled.get(x_fal_request_id or "")
        if event is not None:
            event.set()
        return {"cancelled": event is not None}

    @fal.endpoint("/quick")
    async def quick(self, order: EchoInput) -> dict[str, str]:
        _note(order.journal, order.prompt)
        return {"prompt": order.prompt}

    @fal.endpoint("/stream")
    def stream(self, order: EchoInput) -> StreamingResponse:
        def events():
            for step in range(3):
                yield f'data: {{"step": {step}}}\n\n'
                time.sleep(0.05)

        return StreamingResponse(events(), media_type="text/event-stream")


def _note(journal: str, text: str) -> None:
    """Append to a file that outlives the runner: what ran, and when."""
    if journal:
        with open(journal, "a") as file:
            file.write(f"{time.time()} {text}\n")


def _opened(gate: str, cancelled: threading.Event) -> bool:
    """Wait until a file is there, so that a test decides how long a request takes; False when cancelled before."""
    while gate and not os.path.exists(gate):
        if cancelled.wait(0.02):
            return False
    return True


def _first_time(marker: str) -> bool:
    if not marker:
        return True
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _fail(kind: str) -> None:
    if kind == "field":
        raise FieldException("prompt", "this prompt will not do", type="value_error")
    if kind == "typed":
        detail = {"loc": ["body", "image_archive_url"], "msg": "too few", "type": "invalid_archive", "ctx": {"n": 1}}
        raise HTTPException(422, [detail], headers={"x-fal-billable-units": "0"})
    if kind == "app":
        raise AppException("the app says no", 418)
    if kind == "boom":
        raise ValueError("kaboom")
    if kind == "unavailable":
        raise HTTPException(503, "not now")
    if kind == "timeout":
        raise HTTPException(504, [{"loc": ["body"], "msg": "took too long", "type": "generation_timeout"}])
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "cancel":
        raise RequestCancelledException("Request cancelled by the client.")
