"""Where the platform listens, for which hosts it speaks, and for no others."""

import json
import os
import socket
import ssl
import stat
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from serving import APP_ID, KEY, PATIENCE, Served, eventually

from localfal.environment import client_environment


def test_tls_for_fals_hosts_through_the_proxy_and_for_no_other(served: Served) -> None:
    addresses = served.addresses
    proxy = f"http://127.0.0.1:{addresses.proxy}"
    trusting = ssl.create_default_context(cafile=addresses.bundle)
    with httpx.Client(proxy=proxy, verify=trusting, trust_env=False) as client:
        response = client.post(f"https://fal.run/{APP_ID}/quick", json={"prompt": "tls"}, headers=KEY)
        assert response.json() == {"prompt": "tls"}
        submitted = client.post(f"https://queue.fal.run/{APP_ID}", json={"prompt": "tls"}, headers=KEY).json()
        assert submitted["status_url"].startswith("https://queue.fal.run/")
        assert "keys" in client.get("https://rest.fal.ai/.well-known/jwks.json").json()
        for url in ("https://example.com/", "https://fal.run:8443/", "https://127.0.0.1:22/"):
            # All that most clients show is the reason phrase.
            with pytest.raises(httpx.ProxyError, match=f"403 .*{httpx.URL(url).host}.*NO_PROXY"):
                client.get(url)
        with pytest.raises(httpx.ProxyError, match="403"):
            client.get("https://falrun.com/")
    with socket.create_connection(("127.0.0.1", addresses.proxy), timeout=PATIENCE) as plain:
        plain.sendall(b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 405")
    with httpx.Client(verify=trusting, trust_env=False) as client:
        response = client.post(f"https://localhost:{addresses.https}/queue/{APP_ID}", json={"prompt": "x"}, headers=KEY)
        assert response.json()["status_url"].startswith(f"https://localhost:{addresses.https}/queue/{APP_ID}/")


def test_every_host_of_fals_is_answered_here_and_by_its_name(served: Served) -> None:
    trusting = ssl.create_default_context(cafile=served.addresses.bundle)
    proxy = f"http://127.0.0.1:{served.addresses.proxy}"
    with httpx.Client(proxy=proxy, verify=trusting, trust_env=False, timeout=PATIENCE, headers=KEY) as client:
        for host in ("fal.run", "ws.fal.run", "gateway.alpha.fal.ai"):
            assert client.post(f"https://{host}/{APP_ID}/quick", json={"prompt": host}).json() == {"prompt": host}
        for host in ("queue.fal.run", "queue.falrun.com"):
            submitted = client.post(f"https://{host}/{APP_ID}", json={"prompt": host}).json()
            assert submitted["status_url"].startswith(f"https://{host}/{APP_ID}/requests/")
        for host in ("rest.fal.ai", "rest.alpha.fal.ai"):
            assert "token" in client.post(f"https://{host}/storage/auth/token").json()
        uploaded = client.post("https://v3.fal.media/files/upload", content=b"here").json()["access_url"]
        for host in ("fal.media", "v3.fal.media", "v3b.fal.media"):
            assert client.get(f"https://{host}{httpx.URL(uploaded).path}").content == b"here"
        for host in ("api.fal.ai", "fal.ai"):
            response = client.get(f"https://{host}/no/such/path")
            assert (response.status_code, f"https://{host}/no/such/path" in response.text) == (404, True)


PROGRAM = """
import urllib.request

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(direct.open("https://rest.fal.ai/.well-known/jwks.json").status)
try:
    direct.open("https://grpc.fal.ai/")
except OSError as error:
    print(error)
"""


def test_a_python_that_heeds_no_proxy_is_led_too(served: Served, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('mine')\n")  # somebody may have one of their own
    led = client_environment(served.addresses, {"PYTHONPATH": str(tmp_path)})
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env={**os.environ, **led}, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    mine, answered, refused = done.stdout.splitlines()
    assert (mine, answered) == ("mine", "200")
    assert "grpc.fal.ai is a host of fal's that localfal does not answer for; nothing was sent" in refused


def through(proxy: int, head: str, body: bytes = b"") -> tuple[str, bytes]:
    """What a proxy answers to a request in the clear: the status line, and the body."""
    with socket.create_connection(("127.0.0.1", proxy), timeout=PATIENCE) as plain:
        plain.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: plain.recv(65536), b""))
    first, _, content = answer.partition(b"\r\n\r\n")
    return first.decode().partition("\r\n")[0], content


def test_requests_in_absolute_form(served: Served) -> None:
    proxy, body = served.addresses.proxy, b'{"prompt": "in the clear"}'
    rest = f"Host: example.com\nAuthorization: Key a:b\nContent-Type: application/json\nContent-Length: {len(body)}"
    kept = f"{rest}\nConnection: keep-alive\nProxy-Connection: keep-alive\nProxy-Authorization: Basic eDp5"
    for authority in ("fal.run", "FAL.run:443"):
        status, content = through(proxy, f"POST https://{authority}/{APP_ID}/quick HTTP/1.1\n{kept}", body)
        assert (status, content) == ("HTTP/1.1 200 OK", b'{"prompt":"in the clear"}')
    _, content = through(proxy, f"POST https://queue.fal.run/{APP_ID}?x=1 HTTP/1.1\n{rest}", body)
    assert json.loads(content)["cancel_url"].startswith(f"https://queue.fal.run/{APP_ID}/requests/")
    for authority in ("example.com", "fal.run:8443", "fal.run@example.com", "127.0.0.1", "fal.run\tx"):
        status, content = through(proxy, f"POST https://{authority}/ HTTP/1.1\n{rest}", body)
        assert status.startswith("HTTP/1.1 403 ")
        assert b"NO_PROXY" in content


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads the kernel's list of open files")
def test_a_tunnel_ends_with_the_gateways_side(served: Served) -> None:
    def descriptors() -> int:
        return len(list(Path(f"/proc/{served.process.pid}/fd").iterdir()))

    before = descriptors()
    with ExitStack() as kept_open:
        for _ in range(20):
            address = ("127.0.0.1", served.addresses.proxy)
            connection = kept_open.enter_context(socket.create_connection(address, timeout=PATIENCE))
            connection.sendall(b"CONNECT fal.run:443 HTTP/1.1\r\n\r\nno TLS")
            while connection.recv(1024):
                pass
        eventually(lambda: descriptors() <= before)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's list of listeners")
def test_everything_listens_on_loopback_alone(served: Served, client: httpx.Client) -> None:
    assert client.post(served.run, json={"prompt": "x"}, headers=KEY).status_code == 200
    assert listening(served) == ["0100007F"] * 3  # all the gateway's: runners are out of reach for pages
    assert stat.S_IMODE((served.state / "sockets").stat().st_mode) == 0o700


def listening(served: Served) -> list[str]:
    """The addresses on which a platform and its runners listen."""
    inodes = set()
    for pid in [served.process.pid, *served.runner_pids()]:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                inodes.add(os.readlink(descriptor).removeprefix("socket:[").removesuffix("]"))
    tables = [Path("/proc/net/tcp"), Path("/proc/net/tcp6")]
    rows = [row.split() for table in tables if table.exists() for row in table.read_text().splitlines()[1:]]
    return [row[1].partition(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes]
