"""Sockets to an app (`@fal.realtime`, or any websocket endpoint): one runner's turn for as long as one is open."""

import asyncio
from collections.abc import Mapping

from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from localfal.dispatch import Dispatcher, request_timeout
from localfal.errors import (
    NotFoundError,
    PlatformError,
    RequestTimeoutError,
    RunnerLostError,
    RunnerUnreachableError,
)
from localfal.fleet import follow_up
from localfal.outcome import of_error
from localfal.runner import Exchange

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
OPEN_SECONDS = 30.0
NO_STATUS = 1005
GOING_AWAY = 1001
INTERNAL_ERROR = 1011


async def connect(
    dispatcher: Dispatcher, socket: WebSocket, path: str, headers: Mapping[str, str], start_timeout: float | None
) -> None:
    """Join a caller's socket with the app's; raises a PlatformError before it is open.

    A socket is one request: it ends with the app's `request_timeout`, and the work behind it with its runner.
    """
    async with dispatcher.lease(start_timeout) as exchange:
        try:
            async with await _open(exchange, socket, path, headers) as app:
                await socket.accept(subprotocol=app.subprotocol)
                try:
                    async with request_timeout(exchange.runner):
                        await _join(socket, app)
                except RequestTimeoutError as error:
                    await follow_up(exchange.runner, of_error(error))
                    await socket.close(INTERNAL_ERROR, error.detail)
        except PlatformError as error:
            await follow_up(exchange.runner, of_error(error))
            raise


async def _open(exchange: Exchange, socket: WebSocket, path: str, headers: Mapping[str, str]) -> ClientConnection:
    protocols = [Subprotocol(name) for name in socket.scope.get("subprotocols", [])]
    try:
        return await unix_connect(
            str(exchange.runner.socket),
            uri=f"ws://127.0.0.1{path}",
            additional_headers={**headers, **exchange.headers()},
            subprotocols=protocols or None,
            open_timeout=OPEN_SECONDS,
            max_size=MAX_MESSAGE_BYTES,
            user_agent_header=None,
            compression=None,
            proxy=None,
        )
    except InvalidStatus as error:
        raise NotFoundError(f"Path {path.partition('?')[0]} is no socket: {error.response.status_code}") from None
    except (OSError, TimeoutError):
        raise RunnerUnreachableError from None
    except InvalidHandshake:
        raise RunnerLostError from None


async def _join(socket: WebSocket, app: ClientConnection) -> None:
    """Pass messages both ways, until one side closes; the other is closed in the same words."""
    upward = asyncio.create_task(_from_caller(socket, app))
    downward = asyncio.create_task(_from_app(socket, app))
    try:
        await asyncio.wait({upward, downward}, return_when=asyncio.FIRST_COMPLETED)
        if upward.done():
            code, reason = upward.result()
            await app.close(code, reason)
        else:
            code, reason = downward.result()
            await socket.close(code, reason)
    finally:
        for task in (upward, downward):
            task.cancel()
        await asyncio.gather(upward, downward, return_exceptions=True)


async def _from_caller(socket: WebSocket, app: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return _sendable(message.get("code") or NO_STATUS), message.get("reason") or ""
            content = message.get("bytes")
            await app.send(message["text"] if content is None else content)
    except ConnectionClosed as closed:
        return _close_of(closed)


async def _from_app(socket: WebSocket, app: ClientConnection) -> tuple[int, str]:
    try:
        while True:
            message = await app.recv()
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)
    except WebSocketDisconnect:
        return GOING_AWAY, ""
    except ConnectionClosed as closed:
        return _close_of(closed)


def _close_of(closed: ConnectionClosed) -> tuple[int, str]:
    if closed.rcvd is None:  # cut off
        return INTERNAL_ERROR, "the runner disconnected"
    return _sendable(closed.rcvd.code), closed.rcvd.reason


def _sendable(code: int) -> int:
    """Some codes say that there was none, and must not be sent."""
    return 1000 if code in (NO_STATUS, 1006, 1015) else code
