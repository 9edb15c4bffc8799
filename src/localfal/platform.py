"""One local platform: its parts put together, started and stopped in order."""

import asyncio
import contextlib
import errno
import logging
import os
import shutil
import socket
import sqlite3
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from localfal import realtime
from localfal.certificates import ensure_certificates
from localfal.connections import Connection, Listener, Waiting, allow_files
from localfal.dispatch import Dispatcher
from localfal.environment import Addresses, runner_environment
from localfal.fleet import Fleet
from localfal.gateway import Gateway
from localfal.hosted import HostedApp
from localfal.payloads import Payloads
from localfal.playground.site import Site
from localfal.proxy import Proxy
from localfal.queue import Queue
from localfal.queue_api import QueueApi
from localfal.runner import RunnerStartError
from localfal.state import StateFolder
from localfal.storage import Storage
from localfal.storage_api import StorageApi
from localfal.webhooks import Webhooks, key_set, signing_key

log = logging.getLogger(__name__)

SWEEP_SECONDS = 600.0
GOODBYE_SECONDS = 2
BACKLOG = 1024


@dataclass(frozen=True)
class Settings:
    """What to serve: file references `path.py::Class` by their ids `owner/alias`; each gets that many runners."""

    apps: Mapping[str, str]
    state: Path
    runners: int = 1
    keep: float = 7 * 24 * 3600.0
    http_port: int = 0
    examples: Path | None = None
    on_line: Callable[[str, int, str], None] = field(default=lambda app_id, number, line: None)


class AppStartError(Exception):
    """An app cannot start; the text is the cause."""

    def __init__(self, app_id: str, cause: str) -> None:
        super().__init__(cause)
        self.app_id = app_id


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """As ever, but for a socket that can be read again before anyio, whose wait was cancelled, has let go of it.

    Connections that find no file left, which are many at a time, are no news either; asyncio tries again by itself.
    """
    error = context.get("exception")
    crowded = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE) and "socket" in context
    if not (crowded or (isinstance(error, asyncio.InvalidStateError) and "handle" in context)):
        loop.default_exception_handler(context)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are the command line's business: there are two servers and the runners to stop


class Platform:
    """`start()`, then `stop()`; in between the app can be called at `addresses`."""

    addresses: Addresses

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = StateFolder(settings.state)
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Listen, start the runners, and return when the first of each app is ready.

        Raises StateInUseError when another gateway has the state folder, RunnerStartError when an app cannot start.
        """
        asyncio.get_running_loop().set_exception_handler(_report)
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Stop everything; what was in progress or waiting runs at the next start."""
        await self._stack.aclose()

    async def _start(self) -> None:
        settings, folder, stack = self._settings, self._folder, self._stack
        folder.lock()
        stack.callback(folder.unlock)
        folder.write_note({**folder.read_note(), "ready": False})  # a killed gateway's note may still say otherwise
        database = folder.database()
        stack.callback(database.close)
        certificates = ensure_certificates(folder.path)
        most_files = allow_files()
        http, https, proxy_socket = self._listen(most_files)
        ports = {"http": _port(http), "https": _port(https), "proxy": _port(proxy_socket)}
        self.addresses = Addresses(**ports, bundle=certificates.bundle)
        note: dict[str, Any] = {"apps": list(settings.apps), "pid": os.getpid(), "ports": ports, "ready": False}
        folder.write_note(note)
        stack.callback(self._take_leave, note)

        storage = Storage(database, folder.files, settings.keep)
        key = signing_key(folder.path / "webhook-key.pem")
        sockets = folder.sockets()
        stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        apps = {app_id: self._host(app_id, reference, database, sockets) for app_id, reference in settings.apps.items()}
        queues = [app.queue for app in apps.values()]
        for queue in queues:
            self._background(Webhooks(database, queue, key).run())
        self._background(_sweep(queues, storage, settings.keep))
        gateway = Gateway(
            apps,
            StorageApi(storage),
            Payloads(apps, storage),
            key_set(key),
            Site(apps, database, settings.examples),
        )
        application = gateway.asgi()
        options = {**_SERVER_OPTIONS, "http": partial(Connection, waiting=Waiting(most_files))}
        self._serve(uvicorn.Config(application, **options), http)
        secure = uvicorn.Config(application, **options)
        secure.load()
        secure.ssl = certificates.server_context()
        self._serve(secure, https)
        proxy = Proxy(ports["https"], ports["http"])
        stack.push_async_callback(proxy.stop)
        proxy_server = await asyncio.start_server(proxy.serve, sock=proxy_socket)
        stack.callback(proxy_server.close)
        await self._start_runners(apps.values())
        folder.write_note({**note, "ready": True})

    def _take_leave(self, note: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a full disk; whoever reads the note sees that nobody holds the folder
            self._folder.write_note({**note, "ready": False})

    def _host(self, app_id: str, reference: str, database: sqlite3.Connection, sockets: Path) -> HostedApp:
        settings = self._settings
        queue = Queue(database, app_id)
        queue.recover()
        dispatcher = Dispatcher(queue)
        fleet = Fleet(
            reference,
            settings.runners,
            {**runner_environment(self.addresses), **identity(app_id), **hosts(self.addresses)},
            sockets,
            on_ready=dispatcher.runner_ready,
            on_gone=dispatcher.runner_gone,
            on_line=lambda number, line: settings.on_line(app_id, number, line.text),
        )
        return HostedApp(app_id, queue, QueueApi(queue, dispatcher), dispatcher, fleet)

    async def _start_runners(self, apps: Iterable[HostedApp]) -> None:
        async def start(app: HostedApp) -> None:
            try:
                await app.fleet.start()
            except RunnerStartError as error:
                raise AppStartError(app.id, str(error)) from error

        async def stop() -> None:
            # Before the runners stop: their end is then nobody's failed attempt.
            await asyncio.gather(*(app.dispatcher.stop() for app in apps))
            await asyncio.gather(*(app.fleet.stop() for app in apps))

        self._stack.push_async_callback(stop)
        starting = [asyncio.create_task(start(app)) for app in apps]
        try:
            await asyncio.gather(*starting)
        finally:
            for task in starting:
                task.cancel()
            await asyncio.gather(*starting, return_exceptions=True)

    def _listen(self, most_files: int) -> tuple[Listener, Listener, Listener]:
        """The ports of the last time where they are free: the URLs in stored results then stay true."""
        last = self._folder.read_note().get("ports", {})
        http = _bind(self._settings.http_port, last.get("http", 0))
        listeners = http, _bind(0, last.get("https", 0)), _bind(0, last.get("proxy", 0))
        for listener in listeners:
            listener.most_files = most_files
        return listeners

    def _serve(self, config: uvicorn.Config, listener: socket.socket) -> None:
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))

        async def stop() -> None:
            server.should_exit = True
            await task

        self._stack.push_async_callback(stop)

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)

        async def stop() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self._stack.push_async_callback(stop)


_SERVER_OPTIONS: dict[str, Any] = {
    "access_log": False,
    "backlog": BACKLOG,
    "lifespan": "off",
    "log_config": None,
    "log_level": "warning",
    "proxy_headers": False,
    "server_header": False,
    "timeout_graceful_shutdown": GOODBYE_SECONDS,
    "timeout_keep_alive": 75,
    "ws": "websockets-sansio",
    "ws_max_size": realtime.MAX_MESSAGE_BYTES,
}


def identity(app_id: str) -> dict[str, str]:
    """What fal tells a runner about its app, in its environment."""
    return {
        "FAL_APP_ID": str(uuid.uuid5(uuid.NAMESPACE_URL, f"https://fal.run/{app_id}")),
        "FAL_APP_NAME": app_id,
        "FAL_HOST": "api.fal.ai",
        "FAL_REGION": "local",
        "FAL_USER_NICKNAME": app_id.partition("/")[0],
    }


def hosts(addresses: Addresses) -> dict[str, str]:
    """Where a runner's own fal_client finds the other apps; the rest of the network stays as it is."""
    host = f"localhost:{addresses.https}"
    return {"FAL_QUEUE_RUN_HOST": f"{host}/queue", "FAL_RUN_HOST": host, "FAL_WS_RUN_HOST": f"{host}/ws"}


async def _sweep(queues: Iterable[Queue], storage: Storage, keep: float) -> None:
    while True:
        try:
            for queue in queues:
                queue.forget(keep)
            storage.forget()
        except (sqlite3.OperationalError, OSError) as error:  # a full disk must not end the sweeping
            log.warning("what has expired could not be removed: %s", error)
        await asyncio.sleep(min(SWEEP_SECONDS, max(1.0, keep / 10)))


def _bind(wanted: int, last: int) -> Listener:
    """Listen on the wanted port; without a wish, on the last one if it is free, else on any."""
    if wanted:
        return _listener(wanted)
    with contextlib.suppress(OSError):
        return _listener(last)
    return _listener(0)


def _listener(port: int) -> Listener:
    # asyncio turns off Nagle's algorithm only for sockets that say that they are TCP, as create_server's do not;
    # with it, every answer of two writes waits 40 ms for the caller's delayed acknowledgement.
    listener = Listener(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)  # here, because only then is a port found taken that another has bound alike
    except OSError:
        listener.close()
        raise
    return listener


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])
