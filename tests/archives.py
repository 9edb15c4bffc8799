"""Archives of the golden photos, as callers send them."""

import base64
import io
import zipfile
from pathlib import Path

PHOTOS = sorted((Path(__file__).parent / "golden" / "photos").iterdir())


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def photos(count: int = 3) -> bytes:
    """A zip with the first golden photos."""
    return zipped({photo.name: photo.read_bytes() for photo in PHOTOS[:count]})


def data_uri(content: bytes, content_type: str = "application/zip") -> str:
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"
