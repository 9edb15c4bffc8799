"""Where the platform listens, for which hosts it speaks, and for no others."""

import os
import socket
import ssl
from pathlib import Path

import httpx
import pytest
from serving import APP_ID, KEY, PATIENCE, Served


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


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads the kernel's list of listeners")
def test_everything_listens_on_loopback_alone(served: Served) -> None:
    inodes = set()
    for pid in [served.process.pid, *served.runner_pids()]:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            link = os.readlink(descriptor)
            if link.startswith("socket:["):
                inodes.add(link[8:-1])
    listening = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for row in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            fields = row.split()
            if fields[3] == "0A" and fields[9] in inodes:
                listening.append(fields[1].partition(":")[0])
    assert len(listening) >= 5
    assert set(listening) == {"0100007F"}
