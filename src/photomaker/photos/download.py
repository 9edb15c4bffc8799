"""A caller's URL or data URI becomes bytes: in memory, bounded, and never from inside our own network.

Every hop of a URL connects through :mod:`photomaker.photos.connections`. Proxy settings of the environment are not
used: a proxy would look the name up again by itself.
"""

import base64
import binascii
import re
import socket
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from urllib.parse import unquote_to_bytes

import httpcore
import httpx

from photomaker.errors import FileDownloadError, FileTooLargeError, typed
from photomaker.photos.connections import CheckingBackend, Resolve, Watch

MAX_ARCHIVE_BYTES = 512 * 1024**2  # fifty photos as a camera writes them; held in memory about once
MAX_URL_CHARS = 8192  # a signed storage URL has one or two thousand
MAX_DATA_URI_CHARS = 96 * 1024**2  # 72 MiB once decoded: beyond that, a URL serves the caller better
MAX_REDIRECTS = 5
TOTAL_SECONDS = 120.0  # from the first look-up to the last byte
CHUNK_BYTES = 64 * 1024

MALFORMED = "The URL is malformed. Use an https URL, an http URL, or a data URI."
REDIRECTS = frozenset({301, 302, 303, 307, 308})
DEFAULT_PORTS = {"http": 80, "https": 443}
USER_AGENT = "photomaker"


def fetch(
    url: str,
    *,
    field: str,
    max_bytes: int = MAX_ARCHIVE_BYTES,
    allow: frozenset[str] = frozenset(),
    cancelled: Callable[[], bool] = lambda: False,
    total_seconds: float = TOTAL_SECONDS,
    take: Callable[[int], None] = lambda count: None,
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
        take: Told of every few bytes as they come; what it raises ends the download.
        resolve: Looks host names up.

    Raises:
        FileDownloadError: The URL is malformed, leads to an address that is not public, or does not answer
            with a complete file in time. The message names neither addresses nor paths, queries, credentials.
        FileTooLargeError: There are more than ``max_bytes``.
        Cancelled: ``cancelled`` said so.
    """
    with typed(lambda: FileDownloadError(field, MALFORMED)):
        return _fetched(url.strip(), field, max_bytes, allow, cancelled, total_seconds, take, resolve)


def _fetched(
    url: str,
    field: str,
    max_bytes: int,
    allow: frozenset[str],
    cancelled: Callable[[], bool],
    total_seconds: float,
    take: Callable[[int], None],
    resolve: Resolve,
) -> bytes:
    if url[:5].lower() == "data:":
        data = _from_data_uri(url, field, max_bytes)
        take(len(data))
        return data
    watch = Watch(field, time.monotonic() + total_seconds, cancelled)
    backend = CheckingBackend(watch, frozenset(entry.lower() for entry in allow), resolve)
    target = _parsed(url, field)
    # httpx's context honours SSL_CERT_FILE and falls back on certifi where a machine has no certificates.
    with httpcore.ConnectionPool(ssl_context=httpx.create_ssl_context(), network_backend=backend) as pool:
        for _ in range(MAX_REDIRECTS + 1):
            try:
                with pool.stream("GET", _as_httpcore(target), headers=_headers(target)) as response:
                    headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
                    location = headers.get(b"location")
                    if response.status not in REDIRECTS or location is None:
                        return _body(response, headers, target, field, max_bytes, take)
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
                raise FileDownloadError(field, _reason(error, target.host)) from error
            target = _parsed(location, field, base=target)
    raise FileDownloadError(
        field, f"The URL redirects more than {MAX_REDIRECTS} times. Use the address at the end of the redirects."
    )


def _parsed(url: str, field: str, base: httpx.URL | None = None) -> httpx.URL:
    """The URL, or the redirect relative to ``base``, if it is one that may be fetched at all."""
    if len(url) > MAX_URL_CHARS:
        raise FileDownloadError(field, f"The URL is longer than {MAX_URL_CHARS} characters. Use a shorter one.")
    try:
        target = base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise FileDownloadError(field, MALFORMED) from error
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
    response: httpcore.Response,
    headers: dict[bytes, str],
    target: httpx.URL,
    field: str,
    max_bytes: int,
    take: Callable[[int], None],
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
        take(len(chunk))
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
        data = _unquoted(payload)
    else:
        text = _unquoted(payload)
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


def _unquoted(text: str) -> bytes:
    """Without percent-encoding; piece by piece, as Python needs some fifty times the memory of what it decodes."""
    if "%" not in text:
        return text.encode("ascii")
    decoded, start = BytesIO(), 0
    while start < len(text):
        end = start + CHUNK_BYTES
        escape = text.rfind("%", max(start + 1, end - 2), end)  # which would be cut in two
        end = escape if escape > 0 else end
        decoded.write(unquote_to_bytes(text[start:end]))
        start = end
    return decoded.getvalue()


def _too_large(field: str, max_bytes: int) -> FileTooLargeError:
    return FileTooLargeError(
        field, f"The file is larger than {max_bytes:,} bytes. Send fewer or smaller photos.", max_size=max_bytes
    )
