"""The CONNECT proxy: fal's four hosts lead to the gateway, everything else is refused."""

import asyncio
import contextlib

from localfal.certificates import FAL_HOSTS

MAX_HEAD = 8192
HEAD_SECONDS = 10.0
MAX_TUNNELS = 2048

REFUSAL = "localfal's proxy leads to {hosts} only; name other hosts in NO_PROXY to reach them directly.\n"


class Proxy:
    """Tunnels CONNECT requests for fal's hosts to the gateway's TLS port."""

    def __init__(self, gateway_port: int) -> None:
        self._gateway_port = gateway_port
        self._tunnels: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for `asyncio.start_server`."""
        task = asyncio.current_task()
        if task is None:
            return
        self._tunnels.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
                await self._answer(reader, writer)
        except asyncio.CancelledError:
            pass  # the platform stops
        finally:
            self._tunnels.discard(task)
            writer.close()

    async def stop(self) -> None:
        """Close the tunnels that are open."""
        for task in self._tunnels:
            task.cancel()
        await asyncio.gather(*self._tunnels, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.decode("latin-1").partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT":
            await _refuse(writer, "405 Method Not Allowed")
        elif host.lower() not in FAL_HOSTS or port != "443":
            await _refuse(writer, "403 Forbidden")
        elif len(self._tunnels) > MAX_TUNNELS:
            await _refuse(writer, "503 Service Unavailable")
        else:
            await self._tunnel(reader, writer)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gateway_reader, gateway_writer = await asyncio.open_connection("127.0.0.1", self._gateway_port)
        try:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            sending = asyncio.create_task(_copy(reader, gateway_writer))
            try:
                await _copy(gateway_reader, writer)  # the gateway's end is the end, whatever a client still holds open
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        finally:
            gateway_writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65536):
            target.write(chunk)
            await target.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if target.can_write_eof():
            target.write_eof()


async def _refuse(writer: asyncio.StreamWriter, status: str) -> None:
    body = REFUSAL.format(hosts=", ".join(FAL_HOSTS)).encode()
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
