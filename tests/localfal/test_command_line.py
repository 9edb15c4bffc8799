"""`localfal` itself: what it prints, refuses and returns."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from serving import APP_ID, ECHO_APP, LOCALFAL, PATIENCE, Served
from typer import BadParameter

from localfal.cli import parse_app_id, parse_duration
from localfal.environment import Addresses, client_environment, runner_environment
from localfal.runner_log import RunnerLog

pytestmark = pytest.mark.slow


def localfal(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LOCALFAL, *arguments], capture_output=True, text=True, timeout=PATIENCE)


def test_a_second_gateway_says_so(served: Served) -> None:
    done = localfal("serve", f"{ECHO_APP}::Echo", "--as", APP_ID, "--state", str(served.state))
    assert done.returncode == 1
    assert "another localfal is serving from" in done.stderr


def test_serve_prints_what_to_paste(served: Served) -> None:
    printed = (served.state / "serve.out").read_text()
    for name, value in client_environment(served.addresses, {}).items():
        assert f"export {name}=" in printed
        assert value.split()[-1] in printed
    assert "is ready after" in printed
    # One address, and nothing that every start prints.
    assert len([line for line in printed.splitlines() if served.origin in line and "export " not in line]) == 1
    assert not [line for line in printed.splitlines() if "Uvicorn" in line or "server process" in line]
    assert "Uvicorn running" in (served.state / "runner.log").read_text()


def test_exports_work_in_a_shell(served: Served) -> None:
    lines = (served.state / "serve.out").read_text().splitlines()
    exports = "\n".join(line for line in lines if line.startswith("export "))
    call = (
        f'curl -sS --fail https://fal.run/{APP_ID}/quick -H "Authorization: Key $FAL_KEY"'
        " -H 'Content-Type: application/json' -d '{\"prompt\": \"pasted\"}'"
    )
    done = subprocess.run(["bash", "-c", f"{exports}\n{call}"], capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == '{"prompt":"pasted"}', done.stderr


def test_exec_passes_everything_through(served: Served) -> None:
    exec_ = ["exec", "--state", str(served.state), "--"]
    done = localfal(*exec_, "bash", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert localfal(*exec_, "bash", "-c", "kill -TERM $$").returncode == 128 + signal.SIGTERM
    missing = localfal(*exec_, "no-such-command")
    assert missing.returncode == 127
    assert "no-such-command" in missing.stderr
    assert localfal(*exec_, "/etc/passwd").returncode == 126
    assert localfal(*exec_, sys.executable, "-c", "print(1)", "--state").stdout == "1\n"


def test_exec_needs_a_platform(served: Served, tmp_path: Path) -> None:
    done = localfal("exec", "--state", str(tmp_path / "none"), "--", "true")
    assert done.returncode == 1
    assert "pass the --state of one that runs" in done.stderr
    assert not (tmp_path / "none").exists()
    done = localfal("exec", "--app", "x.py::X", "--", "true")
    assert (done.returncode, "each app needs one --as" in done.stderr) == (1, True)
    other = ["--app", "x.py::X", "--as", "fal-ai/other"]
    done = localfal("exec", *other, "--state", str(served.state), "--", "true")
    assert done.returncode == 1
    assert f"serves {APP_ID}, not fal-ai/other" in done.stderr


def test_a_state_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = ["--app", f"{ECHO_APP}::Echo", "--as", APP_ID]
    done = localfal("exec", *app, "--state", str(tmp_path / "file" / "state"), "--", "true")
    assert (done.returncode, "cannot hold the state" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
    (tmp_path / "state.db").write_bytes(b"no database" * 1000)
    done = localfal("exec", *app, "--state", str(tmp_path), "--", "true")
    assert (done.returncode, "cannot start" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_nobody_has_to_read_along(tmp_path: Path, client: httpx.Client) -> None:
    platform = Served(tmp_path / "state", reader=["head", "-1"])
    try:
        assert platform.result(client, platform.submit(client, lines=1000)).status_code == 200
    finally:
        platform.stop()


def test_stopping_takes_the_runners_along(own: Served) -> None:
    pids = own.runner_pids()
    assert pids
    own.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert "stopping" in (own.state / "serve.out").read_text()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no file that is always full")
def test_a_log_on_a_full_disk_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "runner.log").symlink_to("/dev/full")
    log = RunnerLog(tmp_path / "runner.log", echo=None)
    for _ in range(3):
        log.add("owner/app", 1, "a line of an app" * 1000)
    log.close()
    assert log.last.startswith("a line")
    assert capfd.readouterr().err == ""


def test_arguments() -> None:
    assert parse_app_id("fal-ai/photomaker") == "fal-ai/photomaker"
    assert [parse_duration(text) for text in ("90s", "30m", "12h", "7d")] == [90, 1800, 43200, 604800]
    for text in ("photomaker", "a/b/c", "queue/x", "files/x", ""):
        with pytest.raises(BadParameter):
            parse_app_id(text)
    for text in ("7", "d", "-1d", "1w"):
        with pytest.raises(BadParameter):
            parse_duration(text)


def test_environments_keep_what_was_there(tmp_path: Path) -> None:
    addresses = Addresses(1, 2, 3, tmp_path / "ca-bundle.pem")
    current = {"NODE_OPTIONS": "--enable-source-maps", "NO_PROXY": "example.com,*", "PATH": "/bin", "FAL_KEY": "a:b"}
    current |= {"BUN_OPTIONS": "--smol", "PYTHONPATH": "/mine"}
    client = client_environment(addresses, current)
    assert client["NODE_OPTIONS"].startswith("--enable-source-maps --import file:///")
    assert client["PYTHONPATH"].endswith(f"python_hook{os.pathsep}/mine")
    assert client["BUN_OPTIONS"].startswith("--smol --preload /")
    assert client["NO_PROXY"] == client["no_proxy"] == "example.com,127.0.0.1,localhost"
    again = client_environment(addresses, {**current, **client})
    assert all(again[name] == client[name] for name in ("NODE_OPTIONS", "BUN_OPTIONS", "PYTHONPATH"))
    assert client["NODE_USE_ENV_PROXY"] == "1"
    assert client["FAL_KEY"] != "a:b"
    runner = runner_environment(addresses, current)
    assert runner["PATH"] == "/bin"
    assert runner["FAL_REST_HOST"] == "127.0.0.1:2"
    assert runner["LOCALFAL_FILES"] == "http://127.0.0.1:1"
    assert "HTTPS_PROXY" not in runner
