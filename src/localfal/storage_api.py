"""`rest.fal.ai`'s and `v3.fal.media`'s endpoints: tokens, uploads in both clients' forms, downloads."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from localfal.buffer import moving
from localfal.errors import (
    BadRequestError,
    ForbiddenError,
    MethodNotAllowedError,
    NotFoundError,
    UnauthorizedError,
)
from localfal.hosts import MEDIA, is_loopback
from localfal.json_object import json_object
from localfal.lifecycle import AccessControl, Lifecycle
from localfal.storage import PASSIVE_TYPES, Storage, StoredFile

TOKEN_LIFETIME = timedelta(days=1)

TOKENS = "/storage/auth/token"
INITIATE, INITIATE_MULTIPART = "/storage/upload/initiate", "/storage/upload/initiate-multipart"
FILE = re.compile(r"^/files/(?P<id>[0-9a-f]{32})/(?P<name>[^/]+)$")
FILE_URL = re.compile(r"https?://[^/]+/files/(?P<id>[0-9a-f]{32})/[^/]+")
MULTIPART = re.compile(
    r"^/files/(?P<id>[0-9a-f]{32})/[^/]+/multipart/(?P<token>[\w-]+)(?:/(?P<part>\d{1,6})|/(?P<complete>complete))$"
)


class StorageApi:
    """Answers for the storage; `origin` is where its files are for everybody: `https://v3.fal.media`."""

    def __init__(self, storage: Storage, origin: str = MEDIA) -> None:
        self._storage = storage
        self._origin = origin

    async def rest(self, request: Request, path: str) -> Response:
        """`rest.fal.ai/storage/…`."""
        if path == "/storage/files/acl":
            return await self.acl(request)
        if path not in (TOKENS, INITIATE, INITIATE_MULTIPART):
            raise NotFoundError(f"Path {path} not found")
        if request.method != "POST":
            raise MethodNotAllowedError("POST")
        _require_authorization(request)
        if path == TOKENS:
            expires = datetime.now(UTC) + TOKEN_LIFETIME
            return JSONResponse(
                {
                    "token": "local",
                    "token_type": "Bearer",
                    "base_url": self._uploads(request),
                    "expires_at": expires.isoformat(),
                }
            )
        body = await json_object(request)
        name, content_type = body.get("file_name"), body.get("content_type")
        if not isinstance(name, str) or not isinstance(content_type, str):
            raise BadRequestError("file_name and content_type are required")
        file = self._create(request, name, content_type)
        url = self._origin + file.path
        place = self._uploads(request) + file.path
        upload = f"{place}?upload={file.upload_token}"
        if path == INITIATE_MULTIPART:
            upload = f"{place}/multipart/{file.upload_token}"
        return JSONResponse({"upload_url": upload, "file_url": url})

    async def acl(self, request: Request) -> Response:
        """`rest.fal.ai/storage/files/acl?url=…`, also under `api.fal.ai/v1`: who may read a file."""
        if request.method not in ("GET", "PUT"):
            raise MethodNotAllowedError("GET, PUT")
        _require_authorization(request)
        match = FILE_URL.fullmatch(request.query_params.get("url", ""))
        if match is None:
            raise BadRequestError("url is that of a file, as its upload was answered with")
        file = self._storage.find(match["id"])
        access = file.access
        if request.method == "PUT":
            access = AccessControl.of(await json_object(request)).default
            self._storage.restrict(file, access)
        return JSONResponse({"default": access, "rules": []})

    async def media(self, request: Request, path: str) -> Response:
        """`v3.fal.media/files/…`."""
        if path in ("/files/upload", "/files/upload/multipart"):
            return await self._upload(request, multipart=path.endswith("/multipart"))
        if match := MULTIPART.match(path):
            return await self._multipart(request, path, match)
        if match := FILE.match(path):
            file = self._storage.find(match["id"])
            if request.method in ("GET", "HEAD"):
                _require_reader(file, request)
                return self._download(file)
            if request.method == "PUT":
                _require_token(file, request.query_params.get("upload"))
                await self._storage.write(file, moving(request))
                return Response()
            raise MethodNotAllowedError("GET, HEAD, PUT")
        raise NotFoundError(f"Path {path} not found")

    async def _upload(self, request: Request, *, multipart: bool) -> Response:
        if request.method != "POST":
            raise MethodNotAllowedError("POST")
        _require_authorization(request)
        name = request.headers.get("x-fal-file-name", "file")
        content_type = request.headers.get("content-type", "application/octet-stream")
        file = self._create(request, name, content_type)
        url = self._origin + file.path
        if multipart:
            return JSONResponse({"access_url": url, "uploadId": file.upload_token})
        await self._storage.write(file, moving(request))
        return JSONResponse({"access_url": url})

    async def _multipart(self, request: Request, path: str, match: re.Match[str]) -> Response:
        file = self._storage.find(match["id"])
        _require_token(file, match["token"])
        if match["complete"]:
            if request.method != "POST":
                raise MethodNotAllowedError("POST")
            await self._storage.join_parts(file, _part_numbers(await json_object(request)))
            return JSONResponse({"access_url": self._origin + file.path})
        if request.method == "POST":  # the form that asks for each part's own URL
            return JSONResponse({"upload_url": self._uploads(request) + path})
        if request.method != "PUT":
            raise MethodNotAllowedError("POST, PUT")
        number = int(match["part"])
        etag = await self._storage.write_part(file, number, moving(request))
        return JSONResponse({"partNumber": number, "etag": etag}, headers={"etag": etag})

    def _uploads(self, request: Request) -> str:
        """Where the caller uploads to: whoever reached the plain address may not reach fal's hosts here."""
        host = request.headers.get("host", "")
        return f"{request.url.scheme}://{host}" if is_loopback(host) else self._origin

    def _create(self, request: Request, name: str, content_type: str) -> StoredFile:
        return self._storage.create(name, content_type, Lifecycle.of(request.headers))

    def _download(self, file: StoredFile) -> Response:
        headers = {
            "access-control-allow-origin": "*",
            "cache-control": "private, max-age=3600",
            "x-content-type-options": "nosniff",
        }
        passive = PASSIVE_TYPES.fullmatch(file.content_type) is not None
        if not passive:
            headers["content-security-policy"] = "sandbox"
        return FileResponse(
            self._storage.content(file),
            headers=headers,
            media_type=file.content_type,
            filename=file.name,
            content_disposition_type="inline" if passive else "attachment",
        )


def _require_reader(file: StoredFile, request: Request) -> None:
    """As on fal, an owner shows the storage's token; the key itself is nobody's here."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if file.access == "allow" or (scheme.lower() == "bearer" and token.strip()):
        return
    if file.access == "hide":
        raise NotFoundError("File not found")
    raise ForbiddenError("The file is not for everybody; its owner reads it with a token of /storage/auth/token")


def _require_authorization(request: Request) -> None:
    scheme, _, credentials = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() not in ("key", "bearer") or not credentials.strip():
        raise UnauthorizedError("Authentication is required to access this endpoint.")


def _require_token(file: StoredFile, token: str | None) -> None:
    if token != file.upload_token:
        raise NotFoundError("Upload not found")


def _part_numbers(body: dict[str, Any]) -> list[int]:
    try:
        # JavaScript and Python say partNumber; fal's SDK says part_number for one of its stores.
        return [int(part.get("partNumber", part.get("part_number"))) for part in body["parts"]]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise BadRequestError("parts is a list of {partNumber, etag}") from None
