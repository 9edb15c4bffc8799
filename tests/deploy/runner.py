"""One of fal's runners on this machine: the environment that a deploy asks for, and the pickled app run in it."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
import isolate
import isolate_proto as proto
from google.protobuf.json_format import MessageToDict
from isolate.backends import BaseEnvironment
from isolate.backends.settings import IsolateSettings
from isolate.connections import LocalPythonGRPC
from isolate.logs import Log

from .waiting import eventually

AGENT_REQUIREMENTS = ("isolate", "cloudpickle")  # what runs the app on a runner, beside the app's own environment
START_SECONDS = 300.0

# `serve_at` is sent to the runner, which has none of these tests.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def serve_at(definition: bytes, port: int, metrics_port: int) -> Callable[[], Any]:
    """The app as it was sent, serving at these ports.

    A runner of fal's has a machine of its own, where the default ports are always free.
    """

    def serve() -> Any:
        import pickle

        return pickle.loads(definition)(exposed_port=port, exposed_metrics_port=metrics_port)

    serve._run_on_main_thread = True  # type: ignore[attr-defined]  # as the app asks: it takes SIGTERM there
    return serve


class Process(LocalPythonGRPC):
    """The runner's process, which inherits nothing of this one's environment variables."""

    variables: dict[str, str]

    def get_env_vars(self) -> dict[str, str]:
        all_of_them: dict[str, str] = super().get_env_vars()
        isolates = {name: value for name, value in all_of_them.items() if os.environ.get(name) != value}
        return {**isolates, **self.variables}


@dataclass
class Runner:
    """One deployed app: `start()`, then `stop()`."""

    folder: Path
    variables: dict[str, str]
    lines: list[str] = field(default_factory=list)

    def build(self, request: proto.BuildEnvironmentRequest) -> Path:
        """The environment, made as fal makes it: a virtualenv with exactly the requirements that were sent."""
        path: Path = self.environment(request).create()
        for earlier in path.parent.iterdir():
            if earlier != path:
                take_over_bytecode(earlier, path)
        return path

    def environment(self, request: proto.BuildEnvironmentRequest | proto.RegisterApplicationRequest) -> BaseEnvironment:
        (definition,) = request.environments
        options = MessageToDict(definition.configuration)
        settings = IsolateSettings(
            cache_dir=self.folder / "environments", serialization_method="cloudpickle", log_hook=self.log
        )
        settings.cache_dir.mkdir(parents=True, exist_ok=True)
        return isolate.prepare_environment(definition.kind, context=settings, **options)

    def start(self, request: proto.RegisterApplicationRequest) -> None:
        """Run the app that was sent, and return at once."""
        environment = self.environment(request)
        self.path: Path = environment.create()
        port, metrics_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self.process = Process(environment, self.path, extra_inheritance_paths=[agent(self.folder / "agent")])
        self.process.variables = self.variables
        served = serve_at(request.function.definition, port, metrics_port)
        self._thread = threading.Thread(target=self._run, args=[served])
        self._thread.start()

    def _run(self, served: Callable[[], Any]) -> None:
        try:
            self.process.run(served)
        except Exception as error:  # the connection's end, too, when the runner is stopped
            self.lines.append(f"{type(error).__name__}: {error}")

    def ready(self) -> str:
        """The app's address, once its setup is over."""

        def healthy() -> bool:
            assert self._thread.is_alive(), "\n".join(self.lines[-60:])
            try:
                return httpx.get(f"{self.url}/health", trust_env=False).is_success
            except httpx.TransportError:
                return False

        try:
            eventually(healthy, START_SECONDS)
        except TimeoutError:
            raise AssertionError("\n".join(self.lines[-60:])) from None
        return self.url

    def stop(self) -> None:
        """End the app as fal does, with SIGTERM."""
        self.process.abort_agent()
        self._thread.join()

    def python(self, code: str) -> str:
        """What a program prints in the runner's environment, run outside the project."""
        done = subprocess.run(
            [self.path / "bin" / "python", "-I", "-c", code],
            cwd=self.folder,
            env=self.variables,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def log(self, log: Log) -> None:
        self.lines.append(log.message_str())


def take_over_bytecode(earlier: Path, environment: Path) -> None:
    """What an environment of the same packages has compiled: uv links the same files into both.

    Python looks at their times, so what is not the same file is compiled anew.
    """
    for compiled in earlier.glob("lib/python*/site-packages/**/__pycache__/*.pyc"):
        if "photomaker" not in compiled.parts:  # the project's own may have been edited
            copy = environment / compiled.relative_to(earlier)
            if copy.parents[1].is_dir() and not copy.exists():
                copy.parent.mkdir(exist_ok=True)
                copy.hardlink_to(compiled)


def agent(folder: Path) -> Path:
    """The environment of what starts the app; fal's runners have it beside the app's own."""
    if not folder.exists():
        from importlib.metadata import version

        pins = [f"{name}=={version(name)}" for name in AGENT_REQUIREMENTS]
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, folder], check=True)
        environ = {**os.environ, "VIRTUAL_ENV": str(folder)}
        subprocess.run(["uv", "pip", "install", "--quiet", *pins], check=True, env=environ)
    return folder


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listening.getsockname()[1]) for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports
