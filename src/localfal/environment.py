"""Environments: for a client whose calls shall reach the platform, and for a runner whose uploads shall."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localfal.hosts import FAL_HOSTS

# Any key opens the local platform; a real one has no business here, so clients are given this one.
CLIENT_KEY = "localfal:client"
RUNNER_KEY = "localfal:runner"
# Tells a runner which of its file descriptors closes when its gateway ends.
LIFELINE = "LOCALFAL_LIFELINE"
# Tells a runner at which port the gateway speaks TLS.
GATEWAY_PORT = "LOCALFAL_GATEWAY_PORT"
# Tells a runner where it listens.
SOCKET = "LOCALFAL_SOCKET"
JAVASCRIPT_HOOK = Path(__file__).with_name("fal-hosts.mjs")
PYTHON_HOOK = Path(__file__).with_name("python_hook")
LOOPBACK_NAMES = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Addresses:
    """Where a platform listens, and the certificates that vouch for it."""

    http: int
    https: int
    proxy: int
    bundle: Path

    @property
    def origin(self) -> str:
        """The plain address: needs no certificate and no proxy."""
        return f"http://127.0.0.1:{self.http}"


def client_environment(addresses: Addresses, current: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What to add to the environment of curl, Python and Node so that fal's hosts are this machine."""
    bundle, proxy = str(addresses.bundle), f"http://127.0.0.1:{addresses.proxy}"
    direct = _direct_hosts(current)
    return {
        "FAL_KEY": CLIENT_KEY,
        # Both spellings: which one wins differs from tool to tool.
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
        "SSL_CERT_FILE": bundle,
        "CURL_CA_BUNDLE": bundle,
        "REQUESTS_CA_BUNDLE": bundle,
        "NODE_EXTRA_CA_CERTS": bundle,
        # Node reads the proxy variables from 22.21 on, with this; the hook leads fal's hosts in any version.
        "NODE_USE_ENV_PROXY": "1",
        "NODE_OPTIONS": _with(current.get("NODE_OPTIONS", ""), f"--import {JAVASCRIPT_HOOK.as_uri()}"),
        # Bun takes neither URLs nor quotes.
        "BUN_OPTIONS": _with(current.get("BUN_OPTIONS", ""), f"--preload {_escaped(JAVASCRIPT_HOOK)}"),
        "PYTHONPATH": _first(str(PYTHON_HOOK), current.get("PYTHONPATH", "")),
        "LOCALFAL_GATEWAY": f"127.0.0.1:{addresses.https}",
        "LOCALFAL_HOSTS": ",".join(FAL_HOSTS),
        "LOCALFAL_FILES": addresses.origin,
    }


def runner_environment(addresses: Addresses, current: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The whole environment of a runner: the caller's, with the app's own uploads led to the local storage."""
    direct = _direct_hosts(current)
    return {
        **current,
        "FAL_KEY": RUNNER_KEY,
        "FAL_REST_HOST": f"127.0.0.1:{addresses.https}",
        "SSL_CERT_FILE": str(addresses.bundle),
        "REQUESTS_CA_BUNDLE": str(addresses.bundle),
        "NO_PROXY": direct,
        "no_proxy": direct,
        GATEWAY_PORT: str(addresses.https),
        "LOCALFAL_FILES": addresses.origin,
    }


def _with(options: str, wanted: str) -> str:
    return options if wanted in options else f"{options} {wanted}".strip()


def _first(folder: str, path: str) -> str:
    return os.pathsep.join([folder, *(part for part in path.split(os.pathsep) if part not in ("", folder))])


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(" ", "\\ ")


def _direct_hosts(current: Mapping[str, str]) -> str:
    listed = (current.get("NO_PROXY") or current.get("no_proxy") or "").split(",")
    kept = [host.strip() for host in listed if host.strip() not in ("", "*", *LOOPBACK_NAMES)]
    return ",".join([*kept, *LOOPBACK_NAMES])
