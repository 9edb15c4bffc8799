"""Connections to public addresses only, every one of them under watch.

A URL is written by a stranger, and the machine that fetches it sits beside things a stranger must not reach:
its own loopback services, its neighbours, the cloud's metadata service. So a host is resolved once for each
connection, every address that came back is checked, and a checked address is connected to; the name stays in
the Host header and in TLS. No second look-up happens between check and connect, so a DNS answer that changes
has no effect.
"""

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from photomaker.errors import Cancelled, FileDownloadError

MAX_ADDRESSES = 4  # of one host, tried one after the other
CONNECT_SECONDS = 10.0  # each for a look-up, an address, a TLS handshake
IDLE_SECONDS = 20.0  # between two pieces
WAKE_SECONDS = 0.5  # how often a silent connection looks for a cancellation

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[..., Sequence[tuple[Any, ...]]]
"""Answers as :func:`socket.getaddrinfo` does."""

GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")  # all that IPv6 routes publicly
NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Beyond what the ipaddress module counts as private, in any Python version.
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT, and one cloud's metadata service
        "168.63.129.16/32",  # Azure's host service, on a public address
        "192.0.0.0/24",  # protocol assignments, and one cloud's metadata service
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # protocol assignments, among them Teredo, which embeds an IPv4 address
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds an IPv4 address
        "3fff::/20",  # documentation
    )
)


def is_public(address: str) -> bool:
    """Whether an IP address, as text, belongs to the public internet.

    IPv6 forms that carry an IPv4 address count as that address where they are in real use (IPv4-mapped,
    NAT64), and as not public otherwise (6to4, Teredo).
    """
    ip: Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        elif ip in NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NOT_PUBLIC)


class Watch:
    """The clock and the caller's wish of one download."""

    def __init__(self, field: str, deadline: float, cancelled: Callable[[], bool]) -> None:
        self.field = field
        self._deadline = deadline
        self._cancelled = cancelled

    def at_most(self, seconds: float) -> float:
        """``seconds``, or what remains of the whole download's time; raises when nothing does."""
        if self._cancelled():
            raise Cancelled
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise FileDownloadError(
                self.field, "The download took too long. Host the file somewhere faster, or make it smaller."
            )
        return min(seconds, remaining)


class CheckingBackend(httpcore.NetworkBackend):
    """Opens connections to checked addresses only, and puts them under watch."""

    def __init__(self, watch: Watch, allow: frozenset[str], resolve: Resolve) -> None:
        self._watch = watch
        self._allow = allow
        self._resolve = resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception = httpcore.ConnectError()
        for address in self._checked(host, port)[:MAX_ADDRESSES]:
            try:
                stream = self._sockets.connect_tcp(address, port, self._watch.at_most(CONNECT_SECONDS))
                return _WatchedStream(stream, self._watch)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _checked(self, host: str, port: int) -> list[str]:
        # A look-up has no timeout of its own, and a stranger's name server may be slow on purpose.
        worker = ThreadPoolExecutor(1, thread_name_prefix="look-up")
        try:
            answer = worker.submit(self._resolve, host, port, type=socket.SOCK_STREAM)
            found = answer.result(self._watch.at_most(CONNECT_SECONDS))
        except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError
            raise FileDownloadError(
                self._watch.field, f"The host {host} cannot be found. Check the URL's spelling."
            ) from error
        finally:
            worker.shutdown(wait=False)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        if not self._is_allowed(host, port) and not all(is_public(address) for address in addresses):
            raise FileDownloadError(
                self._watch.field,
                "The URL leads to an address that is not on the public internet. "
                "Upload the file where anybody can reach it.",
            )
        return addresses

    def _is_allowed(self, host: str, port: int) -> bool:
        if ":" in host:
            return not self._allow.isdisjoint({host, f"[{host}]", f"[{host}]:{port}"})
        return not self._allow.isdisjoint({host, f"{host}:{port}"})


class _WatchedStream(httpcore.NetworkStream):
    """A connection of which every single read and write keeps to the download's time."""

    def __init__(self, stream: httpcore.NetworkStream, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        idle_until = time.monotonic() + IDLE_SECONDS
        while True:
            try:
                return self._stream.read(max_bytes, self._watch.at_most(WAKE_SECONDS))
            except httpcore.ReadTimeout:
                if time.monotonic() >= idle_until:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._watch.at_most(IDLE_SECONDS))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = self._watch.at_most(CONNECT_SECONDS)
        try:
            return _WatchedStream(self._stream.start_tls(ssl_context, server_hostname, seconds), self._watch)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise FileDownloadError(
                self._watch.field,
                f"{server_hostname} offers no secure connection that can be trusted. Host the file somewhere else.",
            ) from error

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
