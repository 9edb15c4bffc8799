"""The front door: which of fal's services a request is for, and who may call."""

import logging
import re
import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from h11 import LocalProtocolError
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from localfal import app_requests, direct, http_over_websocket, realtime
from localfal.access import Tokens, require_access, require_key
from localfal.buffer import Body, Memory
from localfal.direct import DirectCall
from localfal.errors import (
    BadRequestError,
    ForbiddenError,
    InternalError,
    MethodNotAllowedError,
    NotFoundError,
    PlatformError,
    StorageFullError,
)
from localfal.hosted import HostedApp
from localfal.hosts import LOOPBACK_HOSTS, SERVICES, host_name
from localfal.payloads import PAYLOADS, Payloads
from localfal.playground.site import API_PREFIXES, Site
from localfal.storage_api import StorageApi

log = logging.getLogger(__name__)

# Without one of fal's hosts, the path says which service is meant.
LOCAL_PREFIXES = (
    ("/storage/", "rest"),
    ("/.well-known/", "rest"),
    ("/tokens/", "rest"),
    ("/requests/", "rest"),
    ("/files/", "media"),
    ("/playground/", "page"),
    *((prefix, "api") for prefix in API_PREFIXES),
)
# Under these, the rest of the path is as on the service's own host.
MOUNTED = {"/queue": "queue", "/ws": "ws"}
BODIES_BYTES = 256 * 1024 * 1024
ANSWERS_BYTES = 512 * 1024 * 1024

APP_ID = re.compile(r"/((?:workflows/|comfy/)?[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)(/.*)?", re.DOTALL)
ABOUT_REQUEST = re.compile(
    r"(?:/[^/]+)*?/requests/(?P<id>[0-9a-fA-F-]{1,64})(?:/(?P<action>status|status/stream|response|cancel))?/?"
)
LOCAL_ORIGINS = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?")


@dataclass(frozen=True)
class Target:
    """What a request is for: a service, its path there (as sent: `raw`), and the URL by which the caller knows it."""

    service: str
    path: str
    raw: str
    base: str


class Gateway:
    """An ASGI application for some apps and their platform."""

    def __init__(
        self,
        apps: Mapping[str, HostedApp],
        storage_api: StorageApi,
        payloads: Payloads,
        webhook_keys: dict[str, object],
        site: Site,
    ) -> None:
        self._apps = apps
        self._storage_api = storage_api
        self._payloads = payloads
        self._webhook_keys = webhook_keys
        self._site = site
        self._tokens = Tokens()
        self._bodies = Memory(BODIES_BYTES)
        self._answers = Memory(ANSWERS_BYTES)

    def asgi(self) -> ASGIApp:
        """The application, open to pages of this machine and to no other page."""
        application = CORSMiddleware(
            self._serve,
            allow_origin_regex=LOCAL_ORIGINS.pattern,
            allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"],
            allow_headers=["*"],
            expose_headers=["x-fal-request-id", "x-fal-error-type", "x-fal-billable-units", "etag"],
        )

        async def for_this_machine(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                try:
                    require_our_host(Request(scope))
                except PlatformError as error:
                    await respond(error.response(), scope, receive, send)
                    return
            await application(scope, receive, send)

        return for_this_machine

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._connect(WebSocket(scope, receive, send))
            return
        request = Request(scope, receive)
        try:
            target = find_target(request)
            if not (target.service == "media" and request.method in ("GET", "HEAD")):
                require_our_page(request)
            if "x-fal-target-url" in request.headers:
                url = urlsplit(request.headers["x-fal-target-url"])
                request = Request({**scope, "path": target.path, "query_string": url.query.encode()}, receive)
            response = await self._answer(request, target, send)
        except PlatformError as error:
            response = error.response()
        except ClientDisconnect:
            return
        except sqlite3.OperationalError as error:
            log.warning("%s %s: %s", scope["method"], scope["path"], error)
            response = StorageFullError(f"The state folder cannot be written: {error}").response()
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            response = InternalError().response()
        if response is not None:
            await respond(response, scope, receive, send)

    async def _answer(self, request: Request, target: Target, send: Send) -> Response | None:
        """Answer a request; None when the answer has been sent already."""
        if target.service == "media":
            return await self._storage_api.media(request, target.path)
        if target.service == "rest":
            return await self._rest(request, target.path)
        if target.service == "page":
            return self._site.page(request, target.path)
        if target.service == "api":
            if match := PAYLOADS.fullmatch(target.path):
                require_key(request)
                return self._payloads.delete_v1(request, match["id"])
            if target.path == "/v1/storage/files/acl":
                return await self._storage_api.acl(request)
            return await self._site.api(request, target.path, target.base)
        app, tail = self._app(request, target)
        path = app_requests.app_path(request, target.raw, tail)
        if target.service in ("run", "ws"):
            async with Body(request, self._bodies) as body:
                call = DirectCall(
                    path,
                    app_requests.app_headers(request, app.id, path),
                    body,
                    app_requests.start_timeout(request, app.start_timeout),
                    request.headers.get(app_requests.HINT_HEADER),
                    request.method,
                )
                await direct.answer(app.dispatcher, call, self._answers, request.receive, send)
            return None
        url = f"{target.base}/{app.id}"
        if about := ABOUT_REQUEST.fullmatch(tail):
            return await app.queue_api.about(request, about["id"], about["action"] or "response", url)
        if request.method != "POST":
            raise MethodNotAllowedError("POST")
        async with Body(request, self._bodies) as body:
            submission = app_requests.submission(request, app.id, path, body, app.start_timeout)
            return app.queue_api.submit(request, submission, url)

    async def _rest(self, request: Request, path: str) -> Response:
        if path == "/.well-known/jwks.json":
            return JSONResponse(self._webhook_keys)
        if path.rstrip("/") in ("/tokens", "/tokens/realtime"):
            if request.method != "POST":
                raise MethodNotAllowedError("POST")
            return await self._tokens.issue(request)
        if path.startswith("/requests/"):
            require_key(request)
            return self._payloads.delete(request, path)
        return await self._storage_api.rest(request, path)

    def _app(self, connection: HTTPConnection, target: Target) -> tuple[HostedApp, str]:
        """The app that is called, and its own path."""
        match = APP_ID.fullmatch(target.path)
        if match is None:
            raise BadRequestError(f"Invalid app id: {target.path.strip('/')}. Must be in the format <appOwner>/<appId>")
        app = self._apps.get(match[1])
        require_access(connection, match[1], app.auth if app else "private", self._tokens)
        if app is None:
            raise NotFoundError(f'Application "{match[1]}" not found')
        return app, match[2] or "/"

    async def _connect(self, socket: WebSocket) -> None:
        """Open a socket to an app (`wss://fal.run/…`)."""
        try:
            require_our_host(socket)
            require_our_page(socket)
            target = find_target(socket)
            if target.service not in ("run", "ws"):
                raise NotFoundError("Not Found")
            app, tail = self._app(socket, target)
            path = app_requests.app_path(socket, target.raw, tail)
            headers = app_requests.app_headers(socket, app.id, path)
            start_timeout = app_requests.start_timeout(socket, app.start_timeout)
            if target.service == "run":
                await realtime.connect(app.dispatcher, socket, path, headers, start_timeout)
                return
            headers["content-type"] = "application/json"

            async def answer(request_id: str, body: bytes, receive: Receive, send: Send) -> None:
                call = DirectCall(path, headers, body, start_timeout, id=request_id)
                await direct.answer(app.dispatcher, call, self._answers, receive, send)

            await http_over_websocket.serve(socket, answer, self._bodies)
        except PlatformError as error:
            await socket.send_denial_response(error.response())
        except Exception:
            log.exception("%s", socket.scope["path"])
            await socket.close(1011)


async def respond(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    with suppress(LocalProtocolError):  # what came behind was no HTTP, and its sender has been told so already
        await response(scope, receive, send)


def require_our_host(connection: HTTPConnection) -> None:
    """Any other name would be a page elsewhere whose host was made to resolve to this machine."""
    name = host_name(connection.headers.get("host", ""))
    if name not in SERVICES and name not in LOOPBACK_HOSTS:
        raise BadRequestError("The Host header is neither one of fal's hosts nor this machine")


def require_our_page(connection: HTTPConnection) -> None:
    """A page may post a simple form, or open a socket, to wherever it likes without asking anybody."""
    origin = connection.headers.get("origin")
    if origin is not None and not LOCAL_ORIGINS.fullmatch(origin):
        raise ForbiddenError("The page is not of this machine")


def find_target(connection: HTTPConnection) -> Target:
    """Which service a request is for: by `x-fal-target-url`, by fal's host, or by the path on a loopback host."""
    scope = connection.scope
    host = connection.headers.get("host", "").lower()
    name = host_name(host)
    path, raw = scope["path"], scope["raw_path"].decode("latin-1")
    wanted = connection.headers.get("x-fal-target-url")
    if wanted is not None:
        try:
            url = urlsplit(wanted)
        except ValueError:
            url = urlsplit("")
        service = SERVICES.get(url.hostname or "")
        if service is None or url.scheme != "https":
            raise BadRequestError("x-fal-target-url is not a URL of one of fal's hosts")
        return Target(service, unquote(url.path) or "/", url.path or "/", f"https://{url.hostname}")
    if name in SERVICES:
        return Target(SERVICES[name], path, raw, f"https://{name}")
    base = f"{scope['scheme']}://{host}"
    for prefix, service in MOUNTED.items():
        if path.startswith(f"{prefix}/"):
            return Target(service, path.removeprefix(prefix), raw, base + prefix)
    if path == "/":
        return Target("page", path, raw, base)
    service = next((service for prefix, service in LOCAL_PREFIXES if path.startswith(prefix)), "run")
    return Target(service, path, raw, base)
