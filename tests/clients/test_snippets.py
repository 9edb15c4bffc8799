"""endpoint.md's own snippets, byte for byte as printed there, through `localfal exec`."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from serving import APP_ID, ECHO_APP, LOCALFAL, PATIENCE, Served

ENDPOINT = (Path(__file__).parents[1] / "endpoint.md").read_text()
PROMPT = "instagram photo, portrait photo of a man img, colorful, perfect face, natural skin, hard shadows, film grain"


def snippet(heading: str, language: str) -> str:
    """The last code block of a language under a heading: the one before it installs the client."""
    section = ENDPOINT.split(f"### {heading}\n")[1].split("\n### ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[-1]


def run(served: Served, *command: str, cwd: Path) -> str:
    """Run a command as `localfal exec` does, and return what it prints."""
    done = subprocess.run(
        [*LOCALFAL, "exec", "--state", str(served.state), "--", *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" or done.stderr.startswith("  %")  # curl's progress; nothing of ours
    return done.stdout


def test_curl(served: Served, tmp_path: Path) -> None:
    output = run(served, "bash", "-c", snippet("cURL", "bash"), cwd=tmp_path)
    result = json.loads(output)
    assert result.get("prompt") == PROMPT, result
    assert result["images"][0]["content_type"] == "image/png"


def test_python(served: Served, tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(snippet("Python", "python"))
    *updates, result = run(served, sys.executable, "snippet.py", cwd=tmp_path).splitlines()
    assert ast.literal_eval(result)["prompt"] == PROMPT
    assert all(line.startswith(PROMPT) for line in updates)


@pytest.mark.slow
def test_javascript(served: Served, node_folder: Path) -> None:
    (node_folder / "snippet.mjs").write_text(snippet("JavaScript", "javascript"))
    output = run(served, "node", "snippet.mjs", cwd=node_folder)
    assert PROMPT in output
    assert "content_type: 'image/png'" in output
    assert re.search(r"^[0-9a-f-]{36}$", output, re.MULTILINE)


@pytest.mark.slow
def test_exec_brings_a_platform_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "snippet.py").write_text(snippet("Python", "python") + "raise SystemExit(7)\n")
    state = tmp_path / "a state"
    app = ["--app", f"{ECHO_APP}::Echo", "--as", APP_ID, "--state", str(state)]
    done = subprocess.run(
        [*LOCALFAL, "exec", *app, "--", sys.executable, "snippet.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 7
    assert ast.literal_eval(done.stdout.splitlines()[-1])["prompt"] == PROMPT
    assert "ready after" in done.stderr
    assert not json.loads((state / "platform.json").read_text())["ready"]
