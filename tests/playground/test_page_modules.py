"""The page's pure modules, under Node's own test runner."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NODE = Path(__file__).parent / "node"


@pytest.mark.parametrize("module", sorted(path.name for path in NODE.glob("*.test.mjs")))
def test_under_node(module: str) -> None:
    node = shutil.which("node")
    assert node, "the page's modules are tested with Node.js"
    environment = {**os.environ, "PYTHON": sys.executable}
    run = subprocess.run(
        [node, "--test", str(NODE / module)], capture_output=True, text=True, env=environment, check=False
    )
    assert run.returncode == 0, run.stdout
