"""The proxy: fal's hosts lead to the gateway, everything else is refused.

Most clients ask for a tunnel (`CONNECT queue.fal.run:443`). Some, axios up to 1.16 among them, send the request itself
in absolute form (`POST https://queue.fal.run/…`), in the clear, and have the proxy speak TLS for them.
"""

import asyncio
import contextlib
import re

from localfal.hosts import FAL_HOSTS

MAX_HEAD = 8192
HEAD_SECONDS = 10.0
MAX_TUNNELS = 2048

ABSOLUTE_FORM = re.compile(r"https://(?P<authority>[^/?#]+)(?P<target>[/?].*)?", re.IGNORECASE)
# Between the client and us alone, and the connection is for one request.
HOP_BY_HOP = ("host", "connection", "proxy-connection", "proxy-authorization", "keep-alive")
UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")
MAX_NAMED = 100
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
REFUSAL = "localfal's proxy leads to {hosts} only; name other hosts in NO_PROXY to reach them directly.\n"


class Proxy:
    """Leads requests for fal's hosts to the gateway: tunnels to its TLS port, plain ones to its HTTP port."""

    def __init__(self, tls_port: int, http_port: int) -> None:
        self._tls_port = tls_port
        self._http_port = http_port
        self._tunnels: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for `asyncio.start_server`."""
        task = asyncio.current_task()
        if task is None or len(self._tunnels) >= MAX_TUNNELS:
            writer.close()
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
        line, _, headers = head.decode("latin-1").partition("\r\n")
        method, _, rest = line.partition(" ")
        wanted, _, version = rest.partition(" ")
        absolute = ABSOLUTE_FORM.fullmatch(wanted)
        authority = wanted if method == "CONNECT" else absolute["authority"] if absolute else ""
        host, _, port = authority.lower().partition(":")
        if method != "CONNECT" and absolute is None:
            await _refuse(writer, "405 Not a request to a proxy", "This is a proxy, and leads to {hosts} only.\n")
        elif host not in FAL_HOSTS or port not in (("443",) if method == "CONNECT" else ("", "443")):
            name = UNSAFE.sub("_", authority)[:MAX_NAMED]
            await _refuse(writer, f"403 localfal does not lead to {name}: name it in NO_PROXY to reach it", REFUSAL)
        elif absolute is None:
            await self._lead(reader, writer, self._tls_port, opening=ESTABLISHED)
        else:
            first = _origin_form(method, absolute["target"] or "/", version, host, headers)
            await self._lead(reader, writer, self._http_port, first=first)

    async def _lead(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        port: int,
        *,
        opening: bytes = b"",
        first: bytes = b"",
    ) -> None:
        """Join the client with the gateway: `opening` is what the client hears first, `first` what the gateway does."""
        gateway_reader, gateway_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(opening)
            gateway_writer.write(first)
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


def _origin_form(method: str, target: str, version: str, host: str, headers: str) -> bytes:
    """The head of a request in absolute form, as the host itself would have got it."""
    kept = [line for line in headers.split("\r\n") if line.partition(":")[0].strip().lower() not in ("", *HOP_BY_HOP)]
    if not target.startswith("/"):
        target = "/" + target
    lines = [f"{method} {target} {version}", f"Host: {host}", *kept, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")


async def _refuse(writer: asyncio.StreamWriter, status: str, reason: str) -> None:
    body = reason.format(hosts=", ".join(FAL_HOSTS)).encode()
    writer.write(
        f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode()
        + body
    )
    await writer.drain()
