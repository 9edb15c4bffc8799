"""The project as its owner has it, in a folder where a test may change it, and `fal deploy` run there."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NEEDED = ("pyproject.toml", "README.md", "fal.toml", "photomaker_app.py")

BY_NAME = "photomaker"  # as pyproject.toml names it, whatever the deployment file says
BY_CLASS = "photomaker_app.py::PhotoMaker --reset-scale"  # under the deployment file's own app_name


@dataclass
class Project:
    """A copy of what a deploy needs."""

    folder: Path

    def __post_init__(self) -> None:
        for name in NEEDED:
            shutil.copy(ROOT / name, self.folder / name)
        shutil.copytree(ROOT / "src", self.folder / "src", ignore=shutil.ignore_patterns("__pycache__"))

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text that is there once."""
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
        file.write_text(text.replace(old, new))

    def schema(self) -> Any:
        """The app's OpenAPI document, as this copy makes it."""
        code = "import json, photomaker_app as app; print(json.dumps(app.PhotoMaker(_allow_init=True).openapi()))"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=self._environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return json.loads(done.stdout)

    def deploy(self, variables: dict[str, str], reference: str = BY_NAME) -> subprocess.CompletedProcess[str]:
        """`fal deploy`, of this copy, as typed in its folder."""
        fal = Path(sys.executable).parent / "fal"
        return subprocess.run(
            [fal, "deploy", *reference.split()],
            cwd=self.folder,
            env=self._environment() | variables,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def _environment(self) -> dict[str, str]:
        """With the package of this copy, whichever is installed."""
        return {**os.environ, "PYTHONPATH": str(self.folder / "src")}
