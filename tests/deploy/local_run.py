"""The app in a process of its own, as `fal run --local` serves it: a real server that takes real signals."""

import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from .project import ROOT
from .runner import free_ports
from .waiting import eventually

TINY = ROOT / "tests" / "golden"
PIXELS = 160  # pictures large enough that a hundred steps take a while on any machine


@dataclass
class LocalRun:
    """Started and stopped by `with`; the app's output is in `lines`."""

    folder: Path
    deployment: Path | None = None  # one on the tiny checkpoint, with large pictures
    grace_seconds: int | None = None
    allow_hosts: str = ""
    lines: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        port, metrics_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        ports = ["--exposed-port", str(port), "--exposed-metrics-port", str(metrics_port)]
        nobody = self.folder / "nobody"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
        self.process = subprocess.Popen(
            [Path(sys.executable).parent / "fal", "run", "--local", "photomaker_app.py::PhotoMaker", *ports],
            cwd=ROOT,
            env={
                **inherited,
                "PHOTOMAKER_DEPLOYMENT": str(self.deployment or self._large_pictures()),
                "PHOTOMAKER_ALLOW_HOSTS": self.allow_hosts,
                "FAL_CONFIG_PATH": str(nobody / "config.toml"),
                "FAL_HOME_DIR": str(nobody),
                "HF_HUB_OFFLINE": "1",
                "OMP_NUM_THREADS": "1",  # tiny networks are fastest so, by far where other programs run as well
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        try:
            eventually(self._healthy, 300)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.ended()

    def ended(self, seconds: float = 60.0) -> str:
        """Wait until the process is gone by itself; returns its output."""
        self.process.wait(seconds)
        self._reading.join()
        return self.output()

    def output(self) -> str:
        return "".join(self.lines)

    def _large_pictures(self) -> Path:
        path = self.folder / "deployment.toml"
        grace = f"termination_grace_period_seconds = {self.grace_seconds}" if self.grace_seconds else ""
        path.write_text(
            f"""
            device = "cpu"
            dtype = "float32"
            height = {PIXELS}
            width = {PIXELS}
            faces = "off"
            safety = "off"
            [app]
            {grace}
            [pipelines.photomaker]
            base = '{TINY / "base"}'
            adapter = '{TINY / "photomaker-v1.bin"}'
            """
        )
        return path

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    def _healthy(self) -> bool:
        assert self.process.poll() is None, self.output()
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).is_success
        except httpx.TransportError:
            return False
