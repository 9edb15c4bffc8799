"""@fal-ai/client in Node against the platform: the public API of the package, unchanged."""

import shutil
import subprocess
from pathlib import Path

import pytest
from serving import PATIENCE, Served

SCRIPTS = Path(__file__).parent / "node"
STRICT = ["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "false"]

pytestmark = pytest.mark.slow


def run(served: Served, folder: Path, *command: str) -> str:
    environment = served.environment()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", ["subscribe.mjs", "queue.mjs", "storage.mjs", "errors.mjs", "streaming.mjs"])
def test_script(served: Served, node_folder: Path, script: str) -> None:
    shutil.copy(SCRIPTS / script, node_folder)
    run(served, node_folder, "node", script)


def test_realtime(served: Served, node_folder: Path) -> None:
    shutil.copy(SCRIPTS / "realtime.mjs", node_folder)
    # Node has WebSocket from 22 on; 20 has it behind this.
    run(served, node_folder, "node", "--experimental-websocket", "realtime.mjs")


def test_typescript(served: Served, node_folder: Path) -> None:
    shutil.copy(SCRIPTS / "typed.ts", node_folder)
    run(served, node_folder, "npx", "--no-install", "tsc", *STRICT, "typed.ts")
    assert run(served, node_folder, "node", "typed.js").startswith("1 ")
