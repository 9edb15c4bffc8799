"""The app in this process, behind starlette's client, and what its answers hold."""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

ROOT = Path(__file__).parent.parent


@contextmanager
def served(deployment: Path, home: Path) -> Iterator[TestClient]:
    """The app of a deployment, started; without an account, whose place would be in ``home``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IS_ISOLATE_AGENT", "1")
        patch.setenv("PHOTOMAKER_DEPLOYMENT", str(deployment))
        for account in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET"):
            patch.delenv(account, raising=False)
        patch.setenv("FAL_HOME_DIR", str(home))
        patch.syspath_prepend(str(ROOT))
        from fal import ref

        from photomaker_app import PhotoMaker

        app = PhotoMaker()
        patch.setattr(ref, "current_app", None)  # until the next file's
        ref.set_current_app(app)
        with TestClient(app._build_app(), raise_server_exceptions=False) as client:
            yield client


class Verdicts:
    """A safety checker that gives these verdicts, one a picture."""

    def __init__(self, *verdicts: bool) -> None:
        self.verdicts = iter(verdicts)

    def flags(self, images: Sequence[Image.Image]) -> list[bool]:
        return [next(self.verdicts) for _ in images]


def content(image: dict[str, Any]) -> bytes:
    """Of a file that is a data URI."""
    return base64.b64decode(image["url"].partition("base64,")[2])


def picture(image: dict[str, Any]) -> Image.Image:
    return Image.open(io.BytesIO(content(image)))
