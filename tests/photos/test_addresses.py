"""What a URL of a caller's may lead to: no address that is not public, by no name, notation or redirect."""

import socket
import threading
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from photomaker.errors import FileDownloadError
from photomaker.photos import connections
from photomaker.photos.connections import is_public
from photomaker.photos.download import fetch
from tests.photos.web import BODY, FIELD, NameServer, get, redirect


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
