"""How an app starts, or says why not, and how it ends."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest
from serving import APPS, KEY, LOCALFAL, PATIENCE, Served, hosted, runs


@pytest.mark.slow
def test_runners_know_who_they_are_and_get_their_grace_period(tmp_path: Path, client: httpx.Client) -> None:
    journal = tmp_path / "journal"
    os.environ["GRACEFUL_JOURNAL"] = str(journal)
    try:
        platform = Served(tmp_path / "state", apps=hosted("Graceful"))
    finally:
        del os.environ["GRACEFUL_JOURNAL"]
    seen = client.post(f"{platform.origin}/owner/graceful", headers=KEY).json()
    assert (seen["FAL_APP_NAME"], seen["FAL_USER_NICKNAME"]) == ("owner/graceful", "owner")
    assert seen["FAL_JOB_ID"] == seen["FAL_RUNNER_ID"]
    assert seen["FAL_RUNNER_STATE"] == "RUNNING"
    assert {"FAL_APP_ID", "FAL_HOST", "FAL_KEY", "FAL_REGION", "LOCALFAL_FILES"} <= set(seen)
    platform.stop()
    assert [text for _, text in runs(journal)] == ["torn down"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("app", "cause"),
    [
        (f"{APPS}::Broken", "LookupError: no checkpoint in the folder"),
        (f"{APPS}::TooSlowToStart", "setup() was not over within the app's startup_timeout of 1 s"),
        (f"{APPS}::Nobody", "Function 'Nobody' not found in module"),
        ("nowhere.py::Nobody", "No such file or directory"),
    ],
)
def test_a_failed_start_says_why(tmp_path: Path, app: str, cause: str) -> None:
    state = tmp_path / "state"
    command = [*LOCALFAL, "serve", app, "--as", "owner/app", "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    *_, said, where = done.stderr.strip().splitlines()
    assert f"{app} does not start: " in said
    assert cause in said
    assert where == f"The whole log is {state / 'runner.log'}"


@pytest.mark.slow
def test_a_missing_module_is_named(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("import fal, no_such_module\n\n\nclass App(fal.App):\n    pass\n")
    command = [*LOCALFAL, "serve", f"{app}::App", "--as", "owner/app", "--state", str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert "does not start: ModuleNotFoundError: No module named 'no_such_module'" in done.stderr
    assert "Traceback" in (tmp_path / "state" / "runner.log").read_text()
