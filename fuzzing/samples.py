"""Good files and good requests, from which the bad ones are made."""

import base64
import io
import json
import struct
import tarfile
import zipfile
import zlib

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()


def picture(kind: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: object) -> bytes:
    """A small picture with something in it."""
    image = Image.new(mode, size)
    image.paste(1 if mode == "P" else "white", (8, 8, 40, 30))
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def pictures() -> list[bytes]:
    """One of each format and of each way to write it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("RGB", (64, 48), color) for color in ("red", "blue")]
    jpeg = picture("JPEG", exif=exif)
    segment = b"\xff\xe1" + struct.pack(">H", 802) + b"Exif\0\0" + bytes(794)
    return [
        jpeg,
        jpeg[:2] + segment * 50 + jpeg[2:],
        picture("JPEG", progressive=True),
        picture("JPEG", mode="CMYK"),
        jpeg + b"\0\0\0\x18ftypmp42" + bytes(999),
        picture("MPO", save_all=True, append_images=frames),
        *(picture("PNG", mode=mode) for mode in ("RGB", "RGBA", "L", "1", "P", "I;16", "LA")),
        picture("PNG", save_all=True, append_images=frames),
        *(picture("TIFF", compression=kind) for kind in ("raw", "tiff_lzw", "tiff_deflate", "jpeg", "packbits")),
        picture("TIFF", mode="F"),
        picture("GIF", save_all=True, append_images=frames),
        picture("WEBP"),
        picture("WEBP", lossless=True),
        picture("WEBP", save_all=True, append_images=frames),
        picture("BMP"),
        picture("BMP", mode="P"),
        picture("HEIF"),
        picture("HEIF", mode="RGBA"),
        picture("AVIF"),
    ]


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(files: dict[str, bytes], mode: str, flavour: int = tarfile.PAX_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=flavour) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file.getvalue()


def archives() -> list[bytes]:
    """One of each kind, of two photos and a text."""
    files = {"me/1.jpg": picture("JPEG"), "2.png": picture("PNG"), "notes.txt": b"hello", "l" * 120: b""}
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    bomb = zlib.compress(bytes(20_000_000), 9)
    return [
        *(zipped(files, method) for method in methods),
        b"#!/bin/sh\n" + zipped(files),
        *(tarred(files, mode) for mode in ("w", "w:gz", "w:bz2")),
        tarred(files, "w", tarfile.GNU_FORMAT),
        zipped({"zeros.bmp": picture("BMP") + bytes(9_000_000), "bomb.jpg": picture("JPEG") + bomb}),
    ]


def data_uri(content: bytes) -> str:
    return "data:application/zip;base64," + base64.b64encode(content).decode()


def bodies() -> list[bytes]:
    """Requests of the endpoint, as JSON."""
    good = {"image_archive_url": data_uri(zipped({"1.jpg": picture("JPEG")})), "prompt": "photo of a man img"}
    changes: list[dict[str, object]] = [
        {"num_inference_steps": 20, "seed": 1},
        {"num_inference_steps": 20, "style": "(No style)", "negative_prompt": "nsfw, \u65e5\u672c \U0001f600"},
        {"num_inference_steps": 20, "initial_image_url": data_uri(picture("PNG")), "initial_image_strength": 0.9},
        {"image_archive_url": "https://user:pass@files.invalid:443/a.zip?x=1#y", "guidance_scale": 7.5},
        {"image_archive_url": "http://xn--bcher-kva.invalid/\u00fc.zip", "num_images": 4},
        {"prompt": [["nested", {"deeply": [None, True, 1e300, -1]}]], "style_strength": 50},
    ]
    return [json.dumps(good | change, ensure_ascii=False).encode() for change in changes]


def requests(host: str, app: str) -> list[bytes]:
    """Requests of the local platform, as they are on the wire."""
    head = f"HTTP/1.1\r\nHost: {host}\r\nAuthorization: Key id:secret\r\nConnection: close\r\n"
    body = b'{"prompt": "photo of a man img", "image_archive_url": "data:,x"}'
    sent = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    one = f"queue/{app}/requests/019ab000-0000-7000-8000-000000000000"
    lines = [
        *(f"POST /{path} " for path in (app, f"queue/{app}", f"{app}/x/%ff")),
        f"POST /queue/{app}?fal_webhook=http://127.0.0.1:1/ ",
        *(f"GET /{path} " for path in (one, f"{one}/status?logs=1", f"{one}/status/stream")),
        *(f"GET /{path} " for path in ("health", "", "openapi.json")),
        f"PUT /{one}/cancel ",
        "POST /storage/upload/initiate?storage_type=fal-cdn-v3 ",
        "POST /storage/upload/initiate-multipart ",
        f"OPTIONS /{app} ",
    ]
    plain = [(line + head).encode() + (sent + body if line.startswith("POST") else b"\r\n") for line in lines]
    chunked = f"POST /queue/{app} {head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode() + body
    return [*plain, chunked + b"\r\n0\r\n\r\n"]
