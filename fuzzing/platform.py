"""The whole app behind the local platform, in processes of its own, on the small checkpoint of the tests."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

APP = "fal-ai/photomaker"
ROOT = Path(__file__).parent.parent
START_SECONDS = 300.0


class Platform:
    """`localfal serve` with its state in a folder.

    Args:
        state: An empty folder.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.log = state / "serve.out"
        state.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, "-c", "from localfal.cli import app; app()", "serve"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*program, f"{ROOT / 'photomaker_app.py'}::PhotoMaker", "--as", APP, "--state", str(state)],
                cwd=ROOT,
                env=inherited | {"PHOTOMAKER_DEPLOYMENT": str(ROOT / "tests" / "deployment.toml")},
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.note().get("ready"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.1)

    def note(self) -> dict[str, Any]:
        """What it says about itself."""
        try:
            note: dict[str, Any] = json.loads((self.state / "platform.json").read_text())
        except (OSError, ValueError):
            return {}
        return note if note.get("pid") == self.process.pid else {}

    @property
    def port(self) -> int:
        return int(self.note()["ports"]["http"])

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)
