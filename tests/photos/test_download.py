"""Downloads from a server on loopback, which the allow-list opens: what works, and what is too much."""

import base64
import gzip
import socket
import threading
import tracemalloc
from contextlib import suppress
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photomaker.errors import Cancelled, FileDownloadError, FileTooLargeError, RequestError
from photomaker.photos import connections, download
from photomaker.photos.download import fetch
from tests.photos.web import BODY, FIELD, body, drip, get, redirect

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


@given(st.binary(max_size=60), st.integers(3, 9))
def test_percent_encoding_is_undone_wherever_it_is_cut(data, piece):
    encoded = "".join(f"%{byte:02x}" if byte % 3 else quote_from_bytes(bytes((byte,)), safe="/") for byte in data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "CHUNK_BYTES", piece)
        assert fetch(f"data:,{encoded}%2%", field=FIELD) == data + b"%2%"


def test_percent_encoding_costs_no_more_than_its_text():
    uri = "data:," + "%41" * 300_000
    tracemalloc.start()
    try:
        assert fetch(uri, field=FIELD) == b"A" * 300_000
        assert tracemalloc.get_traced_memory()[1] < 8 * len(uri)
    finally:
        tracemalloc.stop()


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


def test_whoever_counts_the_bytes_ends_the_download(server):
    server.answers["/endless"] = drip(bytes(65536), pause=0)
    taken = []

    def take(count):
        taken.append(count)
        if sum(taken) > 200_000:
            raise FileTooLargeError("image_urls.7", "together", max_size=200_000)

    with pytest.raises(FileTooLargeError, match="together"):
        get(server.url("/endless"), take=take)
    assert sum(taken) < 400_000
    taken.clear()
    assert fetch("data:,abc", field=FIELD, take=take) == b"abc"
    assert taken == [3]


def test_a_compressed_bomb_stays_small(server):
    server.answers["/bomb"] = body(gzip.compress(bytes(200_000_000), 9), content_encoding="gzip")
    tracemalloc.start()
    with pytest.raises(FileTooLargeError):
        get(server.url("/bomb"), max_bytes=1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "encoding"),
    [(b"abc", "br"), (b"abc", "gzip"), (gzip.compress(BODY, mtime=0)[:-20], "gzip"), (b"", "gzip")],
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

    def silent(handler):
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


@given(
    st.text(max_size=60),
    st.sampled_from(["", "http://", "https://", "data:", "data:;base64,", "http://127.0.0.1/", "http://["]),
)
def test_nothing_but_request_errors_whatever_the_url(text, prefix):
    def nowhere(*args: object, **options: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(-2, "Name or service not known")

    with suppress(RequestError):
        fetch(prefix + text, field=FIELD, resolve=nowhere)
