"""A caller's URL or data URI becomes bytes: in memory, bounded, and never from inside our own network.

A URL is written by a stranger, and the machine that fetches it sits beside things a stranger must not reach:
its own loopback services, its neighbours, the cloud's metadata service. So every hop resolves its host once,
checks every address that came back, and connects to a checked address; the name stays in the Host header and
in TLS. No second look-up happens between check and connect, so a DNS answer that changes has no effect.
Proxy settings of the environment are not used: a proxy would look the name up again by itself.
"""

import base64
import binascii
import ipaddress
import re
import socket
import ssl
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import httpcore
import httpx

from photomaker.errors import Cancelled, FileDownloadError, FileTooLargeError

MAX_ARCHIVE_BYTES = 512 * 1024**2  # fifty photos as a camera writes them; held in memory about once
MAX_URL_CHARS = 8192  # a signed storage URL has one or two thousand
MAX_DATA_URI_CHARS = 96 * 1024**2  # 72 MiB once decoded: beyond that, a URL serves the caller better
MAX_REDIRECTS = 5
MAX_ADDRESSES = 4  # of one host, tried one after the other
TOTAL_SECONDS = 120.0  # from the first look-up to the last byte
CONNECT_SECONDS = 10.0  # each for a look-up, an address, a TLS handshake
IDLE_SECONDS = 20.0  # between two pieces
WAKE_SECONDS = 0.5  # how often a silent connection looks for a cancellation
CHUNK_BYTES = 64 * 1024

REDIRECTS = frozenset({301, 302, 303, 307, 308})
DEFAULT_PORTS = {"http": 80, "https": 443}
USER_AGENT = "photomaker"

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


def fetch(
    url: str,
    *,
    field: str,
    max_bytes: int = MAX_ARCHIVE_BYTES,
    allow: frozenset[str] = frozenset(),
    cancelled: Callable[[], bool] = lambda: False,
    total_seconds: float = TOTAL_SECONDS,
    resolve: Resolve = socket.getaddrinfo,
) -> bytes:
    """The bytes that an https or http URL or a data URI names.

    Args:
        url: As the caller wrote it.
        field: The input field that held it; errors carry it.
        max_bytes: The most that is read, after any gzip content encoding is undone.
        allow: Hosts, as "host" or "host:port", that may be at an address which is not public. Compared in
            lower case with the host as the URL (or a redirect) writes it; a port that a URL leaves out is its
            scheme's. An IPv6 address may stand in brackets, and must when a port follows.
        cancelled: Asked about twice a second.
        total_seconds: For everything, redirects included.
        resolve: Looks host names up.

    Raises:
        FileDownloadError: The URL is malformed, leads to an address that is not public, or does not answer
            with a complete file in time. The message names neither addresses nor paths, queries, credentials.
        FileTooLargeError: There are more than ``max_bytes``.
        Cancelled: ``cancelled`` said so.
    """
    url = url.strip()
    if url[:5].lower() == "data:":
        return _from_data_uri(url, field, max_bytes)
    watch = _Watch(field, time.monotonic() + total_seconds, cancelled)
    backend = _CheckingBackend(watch, frozenset(entry.lower() for entry in allow), resolve)
    target = _parsed(url, field)
    # httpx's context honours SSL_CERT_FILE and falls back on certifi where a machine has no certificates.
    with httpcore.ConnectionPool(ssl_context=httpx.create_ssl_context(), network_backend=backend) as pool:
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with pool.stream("GET", _as_httpcore(target), headers=_headers(target)) as response:
                    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
                    location = headers.get(b"location")
                    if response.status not in REDIRECTS or location is None:
                        return _body(response, headers, target, field, max_bytes)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                raise FileDownloadError(field, _reason(error, target.host)) from error
            target = _parsed(location, field, base=target)
    raise FileDownloadError(
        field, f"The URL redirects more than {MAX_REDIRECTS} times. Use the address at the end of the redirects."
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


class _Watch:
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


class _CheckingBackend(httpcore.NetworkBackend):
    """Opens connections to checked addresses only, and puts them under watch."""

    def __init__(self, watch: _Watch, allow: frozenset[str], resolve: Resolve) -> None:
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

    def __init__(self, stream: httpcore.NetworkStream, watch: _Watch) -> None:
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


def _parsed(url: str, field: str, base: httpx.URL | None = None) -> httpx.URL:
    """The URL, or the redirect relative to ``base``, if it is one that may be fetched at all."""
    if len(url) > MAX_URL_CHARS:
        raise FileDownloadError(field, f"The URL is longer than {MAX_URL_CHARS} characters. Use a shorter one.")
    try:
        target = base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise FileDownloadError(field, "The URL is malformed. Use an https URL, an http URL, or a data URI.") from error
    if target.scheme not in DEFAULT_PORTS or not 0 < len(target.host) <= 253 or not _port(target) < 2**16:
        raise FileDownloadError(field, "The URL cannot be fetched. Use an https URL, an http URL, or a data URI.")
    if target.userinfo:
        raise FileDownloadError(
            field, "The URL holds a user name or a password. Use one that needs neither, such as a signed URL."
        )
    return target


def _port(target: httpx.URL) -> int:
    return target.port if target.port is not None else DEFAULT_PORTS[target.scheme]


def _as_httpcore(target: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=_port(target), target=target.raw_path)


def _headers(target: httpx.URL) -> list[tuple[bytes | str, bytes | str]]:
    return [
        ("Host", target.netloc),
        ("User-Agent", USER_AGENT),
        ("Accept", "*/*"),
        ("Accept-Encoding", "identity"),
    ]


def _body(
    response: httpcore.Response, headers: dict[bytes, str], target: httpx.URL, field: str, max_bytes: int
) -> bytes:
    if not 200 <= response.status < 300:
        raise FileDownloadError(
            field,
            f"{target.host} answered with status {response.status} instead of the file. "
            "Check that the URL opens in a private browser window.",
        )
    declared = headers.get(b"content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(field, max_bytes)
    body = BytesIO()
    # The declared length is a courtesy; what counts is what arrives.
    for chunk in _decoded(response.iter_stream(), headers.get(b"content-encoding", ""), field):
        if body.tell() + len(chunk) > max_bytes:
            raise _too_large(field, max_bytes)
        body.write(chunk)
    return body.getvalue()


def _decoded(chunks: Iterable[bytes], encoding: str, field: str) -> Iterator[bytes]:
    """The chunks without their content encoding, in small pieces whatever they expand to.

    We ask for none, but storage buckets serve files that were uploaded compressed as they are.
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        yield from chunks
        return
    if encoding not in ("gzip", "x-gzip"):
        raise FileDownloadError(field, "The file is served with a content encoding. Serve it without one.")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        for chunk in chunks:
            while chunk and not inflate.eof:
                yield inflate.decompress(chunk, CHUNK_BYTES)
                chunk = inflate.unconsumed_tail
        yield inflate.flush()
    except zlib.error as error:
        raise FileDownloadError(field, "The file's gzip content encoding is damaged. Upload it again.") from error
    if not inflate.eof:
        raise FileDownloadError(field, "The file arrived incomplete. Upload it again.")


def _reason(error: Exception, host: str) -> str:
    if isinstance(error, httpcore.ConnectError):
        return f"{host} accepts no connection. Check the URL."
    if isinstance(error, httpcore.TimeoutException):
        return f"{host} does not answer. Try again, or host the file somewhere else."
    return f"{host} broke the download off. Try again, or host the file somewhere else."


def _from_data_uri(uri: str, field: str, max_bytes: int) -> bytes:
    """RFC 2397, with the liberties that callers take: line breaks, missing padding, the URL-safe alphabet."""
    if len(uri) > MAX_DATA_URI_CHARS:
        raise _too_large(field, min(max_bytes, MAX_DATA_URI_CHARS * 3 // 4))
    head, comma, payload = uri.partition(",")
    malformed = "The data URI is malformed. Write it as data:application/zip;base64,… with the file in base64."
    if not comma or not uri.isascii():
        raise FileDownloadError(field, malformed)
    if not re.search(r";\s*base64\s*$", head, re.IGNORECASE):
        data = unquote_to_bytes(payload)
    else:
        text = unquote_to_bytes(payload) if "%" in payload else payload.encode("ascii")
        text = text.translate(bytes.maketrans(b"-_", b"+/"), b" \t\r\n\f\v").rstrip(b"=")
        if len(text) * 3 // 4 > max_bytes:
            raise _too_large(field, max_bytes)
        try:
            data = base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error as error:
            raise FileDownloadError(field, malformed) from error
    if len(data) > max_bytes:
        raise _too_large(field, max_bytes)
    return data


def _too_large(field: str, max_bytes: int) -> FileTooLargeError:
    return FileTooLargeError(
        field, f"The file is larger than {max_bytes:,} bytes. Send fewer or smaller photos.", max_size=max_bytes
    )
