"""Downloads against a server on loopback, which the allow-list opens, and against everything that it must not."""

import base64
import gzip
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from photomaker.errors import Cancelled, FileDownloadError, FileTooLargeError, RequestError
from photomaker.photos import connections, download
from photomaker.photos.connections import is_public
from photomaker.photos.download import fetch

FIELD = "image_archive_url"
BODY = bytes(range(256)) * 40
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers each path as it is told to, and remembers who asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.answers: dict[str, Answer] = {"/file": body(BODY)}
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.asked.append((self.headers["Host"], self.path))
                with suppress(OSError):  # a client that hangs up is the point of some tests
                    outer.answers[self.path.partition("?")[0]](self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self.thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/file", host: str = "localhost", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def body(content: bytes, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        if "content_length" not in headers:
            handler.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)
        handler.close_connection = True

    return answer


def redirect(location: str, status: int = 302) -> Answer:
    return body(b"", status, location=location)


def drip(chunk: bytes, first: bytes = b"HTTP/1.1 200 OK\r\n\r\n", pause: float = 0.05) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(first)
        for _ in range(400):
            handler.wfile.write(chunk)
            time.sleep(pause)
        handler.close_connection = True

    return answer


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def get(url: str, **options: object) -> bytes:
    return fetch(url, field=FIELD, **{"allow": frozenset({"localhost"}), **options})


class NameServer:
    """A getaddrinfo that gives each of its answers once, and then the last one again and again."""

    def __init__(self, *answers: str | list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        addresses = [answer] if isinstance(answer, str) else answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]


# What works


def test_a_file(server):
    assert get(server.url()) == BODY
    assert server.asked == [(f"localhost:{server.port}", "/file")]


def test_a_file_without_a_length_and_in_chunks(server):
    def chunked(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    server.answers["/chunked"] = chunked
    server.answers["/until-close"] = drip(b"", b"HTTP/1.0 200 OK\r\n\r\nabcde", pause=0)
    assert get(server.url("/chunked")) == b"abcde"
    assert get(server.url("/until-close")) == b"abcde"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server, status):
    server.answers["/old"] = redirect("/older?x=1#part", status)
    server.answers["/older"] = redirect(server.url(), status)
    assert get(server.url("/old")) == BODY
    assert [path for _, path in server.asked] == ["/old", "/older?x=1", "/file"]


def test_gzip_as_content_encoding_is_undone(server):
    server.answers["/zipped"] = body(gzip.compress(BODY), content_encoding="gzip")
    assert get(server.url("/zipped")) == BODY


@pytest.mark.parametrize("entry", ["localhost", "LOCALHOST", "localhost:{port}", "Localhost:{port}"])
def test_the_allow_list_opens_a_host_or_one_of_its_ports(server, entry):
    allow = frozenset({entry.format(port=server.port)})
    assert get(server.url(), allow=allow) == BODY
    assert get(server.url(host="LOCALHOST"), allow=allow) == BODY
    with pytest.raises(FileDownloadError, match="public internet"):
        get(server.url(host="127.0.0.1"), allow=allow)


def test_the_allow_list_is_about_that_port_only(server):
    with pytest.raises(FileDownloadError, match="public internet"):
        get(server.url(), allow=frozenset({f"localhost:{server.port + 1}", f"host:{server.port}", "ocalhost"}))


@pytest.mark.parametrize("entry", ["::1", "[::1]", "[::1]:1"])
def test_the_allow_list_knows_ipv6(entry):
    with pytest.raises(FileDownloadError, match="accepts no connection"):
        get("http://[::1]:1/", allow=frozenset({entry}))


@pytest.mark.parametrize(
    ("uri", "data"),
    [
        ("data:application/zip;base64,aGVsbG8=", b"hello"),
        ("data:;base64,aGVsbG8", b"hello"),
        ("DATA:application/zip;charset=x;BASE64,aGVs\r\n  bG8=\n", b"hello"),
        ("data:application/zip;base64,aGVsbG8%3D", b"hello"),
        ("data:application/zip;base64,-_-_", b"\xfb\xff\xbf"),
        ("data:,a%20b%00", b"a b\0"),
        ("data:text/plain,a+b", b"a+b"),
        (" data:;base64,", b""),
    ],
)
def test_data_uris(uri, data):
    assert fetch(uri, field=FIELD) == data


@given(st.binary(max_size=300))
def test_data_uris_give_back_any_bytes(data):
    assert fetch(f"data:application/zip;base64,{base64.b64encode(data).decode()}", field=FIELD) == data


# What is refused


@pytest.mark.parametrize(
    "uri", ["data:", "data:abc", "data:;base64,a", "data:;base64,a*b=", "data:;base64,é", "data:,é"]
)
def test_malformed_data_uris(uri):
    with pytest.raises(FileDownloadError, match="data URI") as caught:
        fetch(uri, field="initial_image_url")
    assert caught.value.field == "initial_image_url"


def test_data_uris_are_bounded_before_they_are_decoded(monkeypatch):
    uri = "data:;base64," + base64.b64encode(bytes(101)).decode()
    assert len(fetch(uri, field=FIELD, max_bytes=101)) == 101
    for large in (uri, "data:," + "a" * 101):
        with pytest.raises(FileTooLargeError) as caught:
            fetch(large, field=FIELD, max_bytes=100)
        assert caught.value.context == {"max_size": 100}
    monkeypatch.setattr(download, "MAX_DATA_URI_CHARS", 100)
    with pytest.raises(FileTooLargeError):
        fetch(uri, field=FIELD)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "photos.zip",
        "/etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com/a.zip",
        "gopher://example.com/",
        "javascript:alert(1)",
        "//example.com/a.zip",
        "http://",
        "http:///a.zip",
        "https://?a",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://exa\nmple.com/",
        "http://example.com/\x00",
        "http://[::1/",
        "http://[zz]/",
        "http://a b.com/",
        "http://user:secret@example.com/a.zip",
        "http://example.com@127.0.0.1/",
        "http://127.0.0.1\\@example.com/",
        f"http://{'a' * 70}.com/",
        f"http://{'a.' * 200}com/",
        "http://..../",
        "http://\u200b.com/",
        "http://xn--/",
        "https://a.xn--.com/a.zip",
        f"http://xn--{'9' * 50}/",
        "http://0177.0.0.1/",
        "http://127.0.0.256/",
        f"https://example.com/{'a' * 9000}",
        "https://\ud800.com/",
        "http://%6c%6fcalhost/",
    ],
)
def test_urls_that_cannot_be_fetched(url):
    with pytest.raises(FileDownloadError) as caught:
        fetch(url, field=FIELD)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "0xa9fea9fe",
        "168.63.129.16",
        "192.0.0.192",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fd00:ec2::254]",
        "[fc00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[100::1]",
    ],
)
def test_addresses_that_are_not_public(host, server):
    with pytest.raises(FileDownloadError, match="public internet") as caught:
        fetch(server.url("/file?token=secret", host), field=FIELD)
    assert not server.asked
    assert "secret" not in caught.value.message


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "142.250.0.1", "172.32.0.1", "100.128.0.1", "2607:f8b0:4005::1", "2a00:1450::1", "64:ff9b::808:808"],
)
def test_public_addresses(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_ipv6_form(address):
    number = int(address)
    for form in (
        f"::ffff:{address}",
        str(ip_address((0x64FF9B << 96) | number)),
        str(ip_address(number + (0xFFFF << 32))),
    ):
        assert is_public(form) == is_public(str(address))
    assert not is_public(str(ip_address((0x2002 << 112) | (number << 80))))


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/file",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:127.0.0.1]:{port}/file",
        "//127.0.0.1:{port}/file",
    ],
)
def test_redirects_to_addresses_that_are_not_public(server, location):
    server.answers["/old"] = redirect(location.format(port=server.port))
    with pytest.raises(FileDownloadError, match="public internet"):
        get(server.url("/old"))
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "data:,hello", "ftp://example.com/", "http://[", "x" * 9000, "http://xn--/", "//xn--0/"],
)
def test_redirects_to_what_is_no_http(server, location):
    server.answers["/old"] = redirect(location)
    with pytest.raises(FileDownloadError):
        get(server.url("/old"))


def test_redirects_without_end(server):
    server.answers["/old"] = redirect("/old")
    with pytest.raises(FileDownloadError, match="redirects more than 5 times"):
        get(server.url("/old"))
    assert len(server.asked) == 6


def test_a_name_is_looked_up_once_and_the_checked_address_is_the_one_connected_to(server, monkeypatch):
    # 127.0.0.1 plays the public address; a second look-up would lead elsewhere, and fail.
    monkeypatch.setattr(connections, "is_public", lambda address: address == "127.0.0.1")
    names = NameServer("127.0.0.1", "127.0.0.2")
    assert get(server.url(host="photos.example"), allow=frozenset(), resolve=names) == BODY
    assert names.asked == ["photos.example"]
    assert server.asked == [(f"photos.example:{server.port}", "/file")]


def test_a_name_that_turns_inwards_on_the_next_hop(server, monkeypatch):
    monkeypatch.setattr(connections, "is_public", lambda address: address == "127.0.0.1")
    server.answers["/old"] = redirect(server.url(host="other.example"))
    names = NameServer("127.0.0.1", "10.0.0.7")
    with pytest.raises(FileDownloadError, match="public internet") as caught:
        get(server.url("/old", host="photos.example"), allow=frozenset(), resolve=names)
    assert "10.0.0.7" not in str(caught.value.as_detail())
    assert len(server.asked) == 1


def test_one_address_that_is_not_public_is_one_too_many():
    with pytest.raises(FileDownloadError, match="public internet"):
        get("http://photos.example/", resolve=NameServer(["8.8.8.8", "10.0.0.1"]))


def test_the_next_address_is_tried_when_one_refuses(server, monkeypatch):
    monkeypatch.setattr(connections, "is_public", lambda address: True)
    names = NameServer(["127.0.0.77", "127.0.0.1"])  # the server listens on the second only
    assert get(server.url(host="photos.example"), resolve=names) == BODY


def test_proxies_of_the_environment_are_not_used(server, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(server.url()) == BODY


def test_an_unknown_host_and_a_slow_name_server(monkeypatch):
    def unknown(*args: object, **options: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(FileDownloadError, match=r"nowhere\.example cannot be found"):
        get("http://nowhere.example/", resolve=unknown)

    release, resolved = threading.Event(), threading.Event()

    def slow(*args: object, **options: object) -> list[tuple[object, ...]]:
        release.wait(60)
        resolved.set()
        return []

    monkeypatch.setattr(connections, "CONNECT_SECONDS", 0.2)
    with pytest.raises(FileDownloadError, match="cannot be found"):
        get("http://slow.example/", resolve=slow)
    assert not resolved.is_set()
    release.set()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503, 304])
def test_other_answers_than_a_file(server, status):
    server.answers["/gone"] = body(b"", status)
    with pytest.raises(FileDownloadError, match=str(status)) as caught:
        get(server.url("/gone?signature=secret"))
    assert "secret" not in str(caught.value.as_detail())


def test_size_is_bounded_by_declaration_and_by_count(server):
    server.answers["/declared"] = body(b"abc", content_length="999999999999")
    server.answers["/endless"] = drip(bytes(65536), pause=0)
    server.answers["/lying"] = body(bytes(5000), content_length="7")
    assert len(get(server.url(), max_bytes=len(BODY))) == len(BODY)
    for path in ("/file", "/declared", "/endless"):
        with pytest.raises(FileTooLargeError) as caught:
            get(server.url(path), max_bytes=len(BODY) - 1)
        assert caught.value.context == {"max_size": len(BODY) - 1}
    assert len(get(server.url("/lying"))) == 7


def test_a_compressed_bomb_stays_small(server):
    server.answers["/bomb"] = body(gzip.compress(bytes(200_000_000), 9), content_encoding="gzip")
    tracemalloc.start()
    with pytest.raises(FileTooLargeError):
        get(server.url("/bomb"), max_bytes=1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "encoding"), [(b"abc", "br"), (b"abc", "gzip"), (gzip.compress(BODY)[:-20], "gzip"), (b"", "gzip")]
)
def test_content_encodings_that_do_not_work(server, content, encoding):
    server.answers["/encoded"] = body(content, content_encoding=encoding)
    with pytest.raises(FileDownloadError):
        get(server.url("/encoded"))


def test_a_file_that_breaks_off(server):
    server.answers["/short"] = body(b"abc", content_length="10")
    server.answers["/nothing"] = drip(b"", b"", pause=0)
    server.answers["/garbage"] = drip(b"", b"SSH-2.0-OpenSSH_9\r\n\r\n", pause=0)
    for path in ("/short", "/nothing", "/garbage"):
        with pytest.raises(FileDownloadError, match="broke the download off"):
            get(server.url(path))
    with pytest.raises(FileDownloadError, match="accepts no connection"):
        get("http://localhost:1/")


@pytest.mark.parametrize(
    "answer",
    [drip(b"a"), drip(b"X-a: b\r\n", b"HTTP/1.1 200 OK\r\n"), drip(b"", b"", pause=0.1)],
    ids=["body", "headers", "silence"],
)
def test_a_slow_server_meets_the_deadline(server, answer):
    server.answers["/slow"] = answer  # which ends by itself, in time enough for a client without a deadline
    with pytest.raises(FileDownloadError, match="too long"):
        get(server.url("/slow"), total_seconds=0.8)


def test_a_silent_server_is_given_up(server, monkeypatch):
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(connections, "WAKE_SECONDS", 0.1)
    server.answers["/silent"] = drip(b"", b"HTTP/1.1 200 OK\r\n\r\nabc")
    with pytest.raises(FileDownloadError, match="does not answer"):
        get(server.url("/silent"))


def test_cancellation_interrupts_a_silent_download(server):
    release, over = threading.Event(), threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\nabc")
        release.wait(60)
        over.set()
        handler.close_connection = True

    server.answers["/silent"] = silent
    asked = iter(range(10**9))
    with pytest.raises(Cancelled):
        get(server.url("/silent"), cancelled=lambda: next(asked) > 2)
    assert not over.is_set()
    release.set()


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A self-signed certificate for photos.example and localhost, as certificate and key files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("photos.example"), x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture
def secure(certificates) -> Iterator[Server]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificates)
    server = Server(context)
    yield server
    server.close()


def test_tls_names_the_host_and_not_the_address(secure, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    url = secure.url(host="photos.example", scheme="https")
    allow = frozenset({"photos.example"})
    assert get(url, allow=allow, resolve=NameServer("127.0.0.1")) == BODY
    assert secure.asked == [(f"photos.example:{secure.port}", "/file")]
    with pytest.raises(FileDownloadError, match="secure connection"):  # the certificate is for another name
        get(
            secure.url(host="other.example", scheme="https"),
            allow=frozenset({"other.example"}),
            resolve=NameServer("127.0.0.1"),
        )


def test_certificates_are_verified(secure):
    with pytest.raises(FileDownloadError, match="secure connection"):
        get(secure.url(scheme="https"))


def test_tls_to_a_server_that_speaks_none(server, secure):
    with pytest.raises(FileDownloadError):
        get(server.url(scheme="https"))
    with pytest.raises(FileDownloadError):
        get(secure.url(scheme="http"))


def test_a_slow_tls_server_meets_the_deadline(secure, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates[0]))
    secure.answers["/slow"] = drip(b"a")
    with pytest.raises(FileDownloadError, match="too long"):
        get(secure.url("/slow", scheme="https"), total_seconds=1.2)


@given(
    st.text(max_size=60),
    st.sampled_from(["", "http://", "https://", "data:", "data:;base64,", "http://127.0.0.1/", "http://["]),
)
def test_nothing_but_request_errors_whatever_the_url(text, prefix):
    def nowhere(*args: object, **options: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(-2, "Name or service not known")

    with suppress(RequestError):
        fetch(prefix + text, field=FIELD, resolve=nowhere)
