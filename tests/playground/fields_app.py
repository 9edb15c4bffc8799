"""An app to host with every kind of field that an endpoint can have, and every kind of thing that it can answer."""

import base64
import io
import json
import os
import struct
import threading
import wave
from enum import StrEnum
from typing import Annotated, Any, Literal

import fal
from fal.exceptions import RequestCancelledException
from fal.toolkit import Audio, File, Image, Video
from fal.toolkit.image import ImageSize, ImageSizeInput
from fastapi import Header, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

RequestId = Header(None, include_in_schema=False)


class Mood(StrEnum):
    calm = "calm"
    wild = "wild"


class Lora(BaseModel):
    path: str = Field(description="Where the weights are.")
    scale: float = Field(default=1.0, ge=0, le=2)


class Camera(BaseModel):
    kind: Literal["camera"] = "camera"
    angle: int = Field(default=30, ge=0, le=90, description="In degrees.")
    lora: Lora | None = None


class Track(BaseModel):
    kind: Literal["track"] = "track"
    speed: float = 1.0


class Node(BaseModel):
    name: str
    children: list["Node"] = []


class Everything(BaseModel):
    prompt: str = Field(description="What to make.", examples=["a red lighthouse in a storm"])
    photos_archive_url: str | None = Field(
        default=None, description="Photos, as one archive.", json_schema_extra={"ui": {"important": True}}
    )
    title: str = "Untitled"
    notes: str | None = Field(default=None, json_schema_extra={"ui": {"field": "textarea", "hint": "For yourself."}})
    image_url: str | None = None
    image_urls: list[str] = Field(default=[], max_length=4)
    mask: Image | None = None
    video_url: str | None = None
    audio_url: str | None = None
    weights_url: str | None = None
    callback_url: str | None = None
    mood: Mood = Mood.calm
    style: Literal["Cinematic", "Line art", "(No style)"] | None = None
    steps: int = Field(default=4, ge=1, le=50, description="More steps, more detail.")
    guidance: float = Field(default=5, ge=0.1, le=10)
    width: int = Field(default=512, multiple_of=8)
    delay: float = Field(default=0.0, ge=0, description="How long a step takes, in seconds.")
    seed: int | None = Field(default=None, examples=[42])
    upscale: bool = False
    tiling: bool | None = None
    outputs: list[Literal["image", "video", "audio", "file", "text"]] = ["image"]
    tags: list[str] = []
    sizes: list[int] = []
    loras: list[Lora] = Field(default=[], description="Weights on top.")
    image_size: ImageSizeInput = "square"
    camera: Camera | None = Field(default=None, title="Camera settings")
    motion: Annotated[Camera | Track, Field(discriminator="kind")] | None = None
    tree: Node | None = None
    extra: dict[str, Any] = {}
    version: Literal["v2"] = "v2"
    frozen: int = Field(default=7, json_schema_extra={"ui": {"frozen": True}})
    secret: str = Field(default="hidden", json_schema_extra={"ui": {"hidden": True}})
    count: int = Field(default=1, ge=1, le=8, description="How many pictures.")
    fail: Literal["no", "typed", "nested", "body", "text", "crash"] = "no"
    gate: str = Field(default="", description="Wait for this file after the second step.")


class Made(BaseModel):
    images: list[Image] = []
    video: Video | None = None
    audio: Audio | None = None
    files: list[File] = []
    text: str = ""
    seed: int


class Fields(fal.App):
    machine_type = "S"
    app_name = "fields"

    def setup(self) -> None:
        self.cancelled: dict[str, threading.Event] = {}

    @fal.endpoint("/")
    def everything(self, order: Everything, x_fal_request_id: str | None = RequestId) -> Made:
        """Makes what you ask for, of every kind there is."""
        cancelled = self.cancelled.setdefault(x_fal_request_id or "", threading.Event())
        try:
            for step in range(order.steps):
                if cancelled.wait(order.delay) or not opened(order.gate if step == 2 else "", cancelled):
                    raise RequestCancelledException("Request cancelled by the client.")
                print(f"step {step + 1}/{order.steps}", flush=True)
        finally:
            self.cancelled.pop(x_fal_request_id or "", None)
        refuse(order.fail)
        seed = 7 if order.seed is None else order.seed
        made = Made(seed=seed)
        if "image" in order.outputs:
            made.images = [
                Image.from_bytes(
                    picture(seed + n), "png", ImageSize(width=192, height=192), file_name=f"picture-{n + 1}.png"
                )
                for n in range(order.count)
            ]
        if "video" in order.outputs:
            made.video = Video.from_bytes(b"\x00\x00\x00\x18ftypmp42", content_type="video/mp4", file_name="clip.mp4")
        if "audio" in order.outputs:
            made.audio = Audio.from_bytes(tone(), content_type="audio/wav", file_name="tone.wav")
        if "file" in order.outputs:
            made.files = [
                File.from_bytes(b"<script>alert(1)</script>", content_type="text/html", file_name="page.html"),
                File(url="https://example.com/elsewhere.bin", content_type="application/octet-stream"),
            ]
        if "text" in order.outputs:
            made.text = order.prompt
        return made

    @fal.endpoint("/cancel")
    async def cancel(self, x_fal_request_id: str | None = RequestId) -> None:
        if event := self.cancelled.get(x_fal_request_id or ""):
            event.set()

    @fal.endpoint("/scale")
    def scale(self, factor: float, word: str = "times", flags: bool = False) -> dict[str, str]:
        """Arguments outside of a body."""
        return {"text": f"{factor} {word} {flags}"}

    @fal.endpoint("/ping")
    def ping(self) -> str:
        """No input at all."""
        return "pong"

    @fal.endpoint("/sum")
    def sum(self, numbers: list[int]) -> dict[str, int]:
        """A body that is no object."""
        return {"sum": sum(numbers)}

    @fal.endpoint("/stream")
    def stream(self, order: Everything) -> StreamingResponse:
        """The same, watched while it forms."""

        def events():
            for step in range(order.steps):
                opened(order.gate if step == 2 else "", threading.Event())
                preview = {"url": data_uri(picture(step)), "content_type": "image/png"}
                yield event({"step": step + 1, "steps": order.steps, "preview": preview})
            image = Image.from_bytes(picture(order.seed or 7), "png", ImageSize(width=192, height=192))
            yield event({"images": [image.model_dump(mode="json")], "seed": order.seed or 7})

        return StreamingResponse(events(), media_type="text/event-stream")


def opened(gate: str, cancelled: threading.Event) -> bool:
    """Wait until a file is there, so that a test decides how long a request takes; False when cancelled before."""
    while gate and not os.path.exists(gate):
        if cancelled.wait(0.02):
            return False
    return True


def event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content)}\n\n"


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def refuse(how: str) -> None:
    if how == "typed":
        raise HTTPException(
            422,
            [
                {
                    "loc": ["body", "photos_archive_url"],
                    "msg": "No face is in these photos: <b>send others</b>.",
                    "type": "no_face",
                }
            ],
        )
    if how == "nested":
        raise HTTPException(
            422, [{"loc": ["body", "loras", 0, "path"], "msg": "There is no such file.", "type": "file_not_found"}]
        )
    if how == "body":
        raise HTTPException(422, [{"loc": ["body"], "msg": "Too much at once.", "type": "too_large"}])
    if how == "text":
        raise HTTPException(400, "<img src=x onerror=alert(1)> is not what I do.")
    if how == "crash":
        raise RuntimeError("out of luck")


def picture(seed: int) -> bytes:
    """A picture that differs from seed to seed."""
    from PIL import Image as Pictures
    from PIL import ImageDraw

    hue = seed * 47 % 360
    image = Pictures.new("RGB", (192, 192), f"hsl({hue}, 60%, 75%)")
    draw = ImageDraw.Draw(image)
    draw.ellipse((36, 36, 156, 156), fill=f"hsl({(hue + 160) % 360}, 65%, 50%)")
    draw.rectangle((80, 20 + seed % 60, 112, 172), fill=f"hsl({(hue + 40) % 360}, 80%, 35%)")
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()


def tone() -> bytes:
    """Half a second of sound."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"".join(struct.pack("<h", (n % 40) * 300) for n in range(4000)))
    return file.getvalue()
