"""A finished picture is encoded and uploaded while the next one is decoded."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fal.toolkit.file.types import FileData, FileRepository
from PIL import Image
from torch import nn

from photomaker.schema import PhotomakerInput
from tests.archives import data_uri, photos

HERE = Path(__file__).parent
PATIENCE = 30.0  # seconds, for what happens at once where things overlap, and never where they do not


class Storage(FileRepository):
    """Keeps what is uploaded, and says when it began."""

    def __init__(self) -> None:
        self.began = Event()
        self.files: list[bytes] = []

    def save(self, data: FileData, *_: Any, **__: Any) -> str:
        self.began.set()
        self.files.append(data.data)
        return f"https://storage.example/{data.file_name}"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    monkeypatch.setenv("IS_ISOLATE_AGENT", "1")
    monkeypatch.setenv("PHOTOMAKER_DEPLOYMENT", str(HERE / "deployment.toml"))
    for account in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET"):
        monkeypatch.delenv(account, raising=False)
    monkeypatch.setenv("FAL_HOME_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(str(HERE.parent))
    from photomaker_app import PhotoMaker

    app = PhotoMaker()
    app.setup()
    return app


def test_a_picture_is_encoded_and_uploaded_while_the_next_is_decoded(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its encoder waits for the next decoding, and that for its upload; one after the other, both would in vain."""
    storage = app.repository = Storage()
    decodings, second, in_time = [], Event(), []
    read_pixels = Image.Image.tobytes

    def pixels(picture: Image.Image, *arguments: Any) -> bytes:
        if len(decodings) == 1:  # an encoder at the first picture
            in_time.append(second.wait(PATIENCE))
        return read_pixels(picture, *arguments)

    def decode(*_: Any) -> None:
        decodings.append(len(decodings))
        if len(decodings) == 2:
            second.set()
            in_time.append(storage.began.wait(PATIENCE))

    decoder: nn.Module = app.service.pipelines["photomaker"].text2img.vae.decoder
    hook = decoder.register_forward_pre_hook(decode)
    monkeypatch.setattr(Image.Image, "tobytes", pixels)
    request = PhotomakerInput(
        image_archive_url=data_uri(photos()), prompt="portrait photo of a man img", num_inference_steps=20, num_images=2
    )
    output = app.pictures(request, Event())
    hook.remove()
    assert in_time
    assert all(in_time)
    assert len(output.images) == len(storage.files) == 2
