"""Where the platform listens, for which hosts it speaks, and for no others."""

import os
import socket
import ssl
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest
from serving import APP_ID, KEY, PATIENCE, Served, eventually


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
            with pytest.raises(httpx.ProxyError, match="403"):
                client.get(url)
        with pytest.raises(httpx.ProxyError, match="403"):
            client.get("https://falrun.com/")
    with socket.create_connection(("127.0.0.1", addresses.proxy), timeout=PATIENCE) as plain:
        plain.sendall(b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.1 405")
    with httpx.Client(verify=trusting, trust_env=False) as client:
        response = client.post(f"https://localhost:{addresses.https}/queue/{APP_ID}", json={"prompt": "x"}, headers=KEY)
        assert response.json()["status_url"].startswith(f"https://localhost:{addresses.https}/queue/{APP_ID}/")


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
