"""fal's REST side on loopback: whose key it is, and the storage that packages and pictures are uploaded to."""

import logging
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localfal.errors import PlatformError
from localfal.state import StateFolder
from localfal.storage import Storage
from localfal.storage_api import StorageApi

from .certificate import Certificate
from .waiting import eventually

KEEP_SECONDS = 24 * 3600.0


class Rest:
    """An https server in a thread; `start()`, then `stop()`."""

    def __init__(self, folder: Path, certificate: Certificate) -> None:
        self._folder = StateFolder(folder)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"localhost:{self._socket.getsockname()[1]}"
        self.origin = f"https://{self.host}"
        app = Starlette(
            routes=[
                Route("/users/current", user),
                Route("/storage/{path:path}", self.storage, methods=["POST"]),
                Route("/files/{path:path}", self.files, methods=["GET", "HEAD", "POST", "PUT"]),
            ],
            lifespan=self._lifespan,
        )
        server = str(certificate.server)
        self._server = uvicorn.Server(
            uvicorn.Config(app, ssl_certfile=server, ssl_keyfile=server, log_level=logging.WARNING)
        )
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def start(self) -> None:
        self._thread.start()
        eventually(lambda: self._server.started)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        database = self._folder.database()  # belongs to the server's thread
        self._api = StorageApi(Storage(database, self._folder.files, KEEP_SECONDS), self.origin)
        yield
        database.close()

    async def storage(self, request: Request) -> Response:
        try:
            return await self._api.rest(request, request.url.path)
        except PlatformError as error:
            return error.response()

    async def files(self, request: Request) -> Response:
        try:
            return await self._api.media(request, request.url.path)
        except PlatformError as error:
            return error.response()


async def user(request: Request) -> Response:
    return JSONResponse(
        {"full_name": "Me", "nickname": "me", "user_id": "local|me", "is_personal": True, "is_locked": False}
    )
