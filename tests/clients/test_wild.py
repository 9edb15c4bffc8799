"""Releases and clients that people already have, unchanged, each at a pinned version, as `localfal exec` runs them."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from serving import PATIENCE, Served

WILD = Path(__file__).parent / "wild"
CACHE = Path(__file__).parents[2] / ".cache" / "clients"
PYTHON_RELEASES = ("0.5.9", "0.7.0", "0.10.0", "0.13.0", "1.0.3")
NODE_RELEASES = ("fal-1-0", "fal-1-2", "fal-1-6", "fal-1-9", "fal-1-10")
NODE_CLIENTS = ("http-libraries", "vercel", "huggingface", "server-proxy", "leaving")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def wild_node() -> Path:
    """The packages of wild/package-lock.json, installed once for each state of it."""
    lock = (WILD / "package-lock.json").read_bytes()
    folder = CACHE / f"node-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(WILD / name, folder)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (folder / "complete").touch()
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


@pytest.mark.parametrize("release", NODE_RELEASES)
def test_fal_ai_client(served: Served, wild_node: Path, release: str) -> None:
    shutil.copy(WILD / "fal-client.mjs", wild_node)
    run(served, "node", "fal-client.mjs", release, cwd=wild_node)


@pytest.mark.parametrize("script", NODE_CLIENTS)
def test_node(served: Served, wild_node: Path, script: str) -> None:
    shutil.copy(WILD / f"{script}.mjs", wild_node)
    run(served, "node", f"{script}.mjs", cwd=wild_node)


def test_huggingface_hub(served: Served, tmp_path: Path) -> None:
    run(served, sys.executable, str(WILD / "hub_client.py"), cwd=tmp_path)


def test_nothing_calls_out(served: Served, wild_node: Path, tmp_path: Path) -> None:
    """With every connection of the process and its children noted: all of them are to this machine."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    watched = [strace, "-f", "-e", "trace=connect,sendto,sendmsg", "-o", str(trace)]
    shutil.copy(WILD / "fal-client.mjs", wild_node)
    run(served, *watched, "node", "fal-client.mjs", "fal-1-9", cwd=wild_node)
    reached = [line for line in trace.read_text().splitlines() if "sin_addr" in line or "sin6_addr" in line]
    assert reached
    assert all('inet_addr("127.0.0.1")' in line for line in reached), reached
