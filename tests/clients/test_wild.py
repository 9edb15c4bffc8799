"""Releases and clients that people already have, unchanged, each at a pinned version, as `localfal exec` runs them."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving import PATIENCE, Served

WILD, NODE = Path(__file__).parent / "wild", Path(__file__).parent / "node"
CACHE = Path(__file__).parents[2] / ".cache" / "clients"
PYTHON_RELEASES = ("0.5.9", "0.7.0", "0.10.0", "0.13.0", "1.0.3")
NODE_RELEASES = ("fal-1-0", "fal-1-2", "fal-1-6", "fal-1-9", "@fal-ai/client", "serverless-0-8", "serverless-0-15")
PROXY_RELEASES = ("server-proxy-1-1", "@fal-ai/server-proxy")
NODE_CLIENTS = ("http-libraries", "vercel", "huggingface", "leaving")
NODE_CALLS = (
    *(f"fal-client.mjs {release}" for release in NODE_RELEASES),
    *(f"server-proxy.mjs {release}" for release in PROXY_RELEASES),
    *(f"{client}.mjs" for client in NODE_CLIENTS),
)
ANYWHERE = ("fal-client.mjs @fal-ai/client", "streaming.mjs", "http-libraries.mjs", "leaving.mjs")
SOCKETS = ("realtime.mjs",)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def wild_node() -> Path:
    """The packages of wild/package-lock.json, installed once for each state of it."""
    lock = (WILD / "package-lock.json").read_bytes()
    folder = CACHE / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        for old in CACHE.glob("node-*"):
            shutil.rmtree(old)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(WILD / name, folder)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (folder / "complete").touch()
    for script in (*WILD.glob("*.mjs"), NODE / "streaming.mjs", NODE / "realtime.mjs"):
        shutil.copy(script, folder)
    return folder


def python_release(version: str) -> Path:
    """A release of fal-client with what it needs, in a folder of its own."""
    folder = CACHE / f"fal-client-{version}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        wanted = [f"fal-client=={version}", "httpx==0.28.1", "httpx-sse==0.4.3"]
        command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--target", str(folder), *wanted]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (folder / "complete").touch()
    return folder


def run(served: Served, *command: str, cwd: Path, **more: str) -> str:
    environment = {**served.environment(), **more}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("version", PYTHON_RELEASES)
def test_fal_client(served: Served, tmp_path: Path, version: str) -> None:
    folder = python_release(version)
    run(served, sys.executable, str(WILD / "fal_client_release.py"), str(folder), cwd=tmp_path, PYTHONPATH=str(folder))


@pytest.mark.parametrize("call", NODE_CALLS)
def test_node(served: Served, wild_node: Path, call: str) -> None:
    run(served, "node", *call.split(), cwd=wild_node)


def runtime(wild_node: Path, package: str) -> str:
    """The program of another version of Node, or of Bun."""
    program = wild_node / "node_modules" / package / "bin" / package.partition("-")[0]
    if not program.exists():
        pytest.skip(f"npm has no {package} for this machine")
    return str(program)


@pytest.mark.parametrize(
    ("package", "calls", "variables"),
    [
        ("bun", ANYWHERE + SOCKETS + NODE_CALLS[-5:-1], {}),
        ("node-18", ANYWHERE, {}),
        ("node-24", ANYWHERE + SOCKETS, {"NODE_USE_ENV_PROXY": "0"}),
        ("node-24", ANYWHERE + SOCKETS, {"NODE_OPTIONS": ""}),
    ],
    ids=["Bun", "older Node", "the hook alone", "the proxy variables alone"],
)
def test_other_runtimes(
    served: Served, wild_node: Path, package: str, calls: tuple[str, ...], variables: dict[str, str]
) -> None:
    program = runtime(wild_node, package)
    for call in calls:
        run(served, program, *call.split(), cwd=wild_node, **variables)


@pytest.mark.parametrize("script", ["http_libraries.py", "hub_client.py"])
def test_python(served: Served, tmp_path: Path, script: str) -> None:
    run(served, sys.executable, str(WILD / script), cwd=tmp_path)


@pytest.mark.parametrize("package", ["fal-client", "node", "node-18", "bun"])
def test_nothing_calls_out(served: Served, wild_node: Path, tmp_path: Path, package: str) -> None:
    """With every connection of the process and its children noted: all of them are to this machine."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    watched = [strace, "-f", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
    if package == "fal-client":
        folder = str(python_release("0.10.0"))
        command = [sys.executable, str(WILD / "fal_client_release.py"), folder]
        run(served, *watched, *command, cwd=tmp_path, PYTHONPATH=folder)
    else:
        program = package if package == "node" else runtime(wild_node, package)
        run(served, *watched, program, "fal-client.mjs", "fal-1-9", cwd=wild_node)
    reached = [line for line in trace.read_text().splitlines() if "sin_addr" in line or "sin6_addr" in line]
    assert reached
    assert all('inet_addr("127.0.0.1")' in line for line in reached), reached
