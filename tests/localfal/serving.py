"""Platforms for tests: real `localfal serve` processes, each with a state folder of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from localfal.environment import Addresses, client_environment

ECHO_APP = Path(__file__).parents[1] / "clients" / "echo_app.py"
APPS = Path(__file__).with_name("apps.py")
APP_ID = "fal-ai/photomaker"
KEY = {"authorization": "Key id:secret"}
LOCALFAL = [sys.executable, "-c", "from localfal.cli import app; app()"]


# Nothing here takes longer than seconds; a loaded machine is no reason to fail.
PATIENCE = 180.0


def eventually(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until a condition holds, and return what it returned."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            raise TimeoutError(f"not so within {seconds} s: {condition}")
        time.sleep(0.02)


def runs(journal: Path) -> list[tuple[float, str]]:
    """What the echo app has run, and when it began."""
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [(float(moment), prompt) for moment, _, prompt in (line.partition(" ") for line in lines)]


def app_id(name: str) -> str:
    """The id under which an app of apps.py is served."""
    return f"owner/{name.lower()}"


def hosted(*names: str) -> dict[str, str]:
    """Apps of apps.py, by their ids."""
    return {app_id(name): f"{APPS}::{name}" for name in names}


class Served:
    """A platform in a process of its own."""

    def __init__(
        self, state: Path, *options: str, reader: Sequence[str] = (), apps: Mapping[str, str] | None = None
    ) -> None:
        apps = apps or {APP_ID: f"{ECHO_APP}::Echo"}
        self.state = state
        self._reader = reader
        names = [word for app_id in apps for word in ("--as", app_id)]
        self._command = [*LOCALFAL, "serve", *apps.values(), *names, "--state", str(state), *options]
        self.start()

    def start(self) -> None:
        """Start it, and return when it is ready."""
        self.spawn()
        self.wait_until_ready()

    def spawn(self) -> None:
        """Start it, and return at once."""
        self.state.mkdir(exist_ok=True)
        with (self.state / "serve.out").open("ab") as output:
            if self._reader:
                with subprocess.Popen(self._reader, stdin=subprocess.PIPE, stdout=output) as reader:
                    self.process = subprocess.Popen(self._command, stdout=output, stderr=reader.stdin)
            else:
                self.process = subprocess.Popen(self._command, stdout=output, stderr=output)

    def wait_until_ready(self) -> None:
        """Return when the first runner is ready."""

        def ready() -> bool:
            if self.process.poll() is not None:
                raise AssertionError((self.state / "serve.out").read_text())
            note = self.note()
            return note.get("pid") == self.process.pid and note["ready"]

        eventually(ready)

    def note(self) -> dict[str, Any]:
        try:
            return json.loads((self.state / "platform.json").read_text())
        except FileNotFoundError:
            return {}

    @property
    def addresses(self) -> Addresses:
        return Addresses(**self.note()["ports"], bundle=self.state / "ca-bundle.pem")

    @property
    def origin(self) -> str:
        return self.addresses.origin

    @property
    def queue(self) -> str:
        return f"{self.origin}/queue/{APP_ID}"

    @property
    def run(self) -> str:
        return f"{self.origin}/{APP_ID}"

    def environment(self) -> dict[str, str]:
        """The environment that `localfal exec` gives to a command."""
        return {**os.environ, **client_environment(self.addresses)}

    def here(self, url: str) -> str:
        """Where whoever is not led to fal's hosts finds a file of theirs."""
        assert url.startswith("https://v3.fal.media/files/")
        return url.replace("https://v3.fal.media", self.origin)

    def runner_pids(self) -> list[int]:
        """The processes of its runners."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()] if children.exists() else []

    def kill(self) -> None:
        """End it with no chance to clean up."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(PATIENCE) == 0

    def submit(self, client: httpx.Client, headers: dict[str, str] | None = None, query: str = "", **body: Any) -> str:
        """Submit a request; returns its id."""
        response = client.post(self.queue + query, json={"prompt": "x", **body}, headers={**KEY, **(headers or {})})
        response.raise_for_status()
        return response.json()["request_id"]

    def status(self, client: httpx.Client, request_id: str, *, logs: bool = False) -> dict[str, Any]:
        """A request's status, of which the code has been checked."""
        url = f"{self.queue}/requests/{request_id}/status"
        response = client.get(url, params={"logs": int(logs)}, headers=KEY)
        assert response.status_code == (200 if response.json()["status"] == "COMPLETED" else 202)
        return response.json()

    def result(self, client: httpx.Client, request_id: str) -> httpx.Response:
        """A request's result, once it is complete."""
        eventually(lambda: self.status(client, request_id)["status"] == "COMPLETED")
        return client.get(f"{self.queue}/requests/{request_id}", headers=KEY)
