"""What both clients and the platform say to each other in a real run, kept in exchanges.json.

A test that fails prints the exchange that it saw, in the file's own form.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from recorder import recorder, without_waiting
from serving import APP_ID, PATIENCE, Served

pytestmark = pytest.mark.slow

EXPECTED = json.loads(Path(__file__).with_name("exchanges.json").read_text())

PYTHON = f"""
import fal_client

def submitted(**arguments):
    handle = fal_client.submit("{APP_ID}", arguments)
    for event in handle.iter_events(with_logs=True, interval=0.05):
        pass
    return handle.get()

assert submitted(prompt="x", seconds=0.5)["prompt"] == "x"
assert fal_client.run("{APP_ID}", {{"prompt": "run"}})["prompt"] == "run"
try:
    submitted(prompt="x", fail="typed")
except fal_client.FalClientHTTPError as error:
    assert error.status_code == 422
"""
JAVASCRIPT = f"""
import {{ fal }} from "@fal-ai/client";

const input = {{ prompt: "x", seconds: 0.5 }};
for (const mode of ["polling", "streaming"]) {{
  await fal.subscribe("{APP_ID}", {{ input, logs: true, mode, pollInterval: 50 }});
}}
await fal.run("{APP_ID}", {{ input }});
await fal.storage.upload(new Blob(["abc"], {{ type: "text/plain" }}));
await fal.queue.submit("{APP_ID}", {{ input, priority: "low", hint: "same", startTimeout: 30 }});
"""


def run(environment: dict[str, str], *command: str, cwd: Path) -> None:
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def test_python(served: Served, tmp_path: Path) -> None:
    with recorder(served) as (address, exchanges):
        hosts = {"FAL_RUN_HOST": address, "FAL_QUEUE_RUN_HOST": f"{address}/queue"}
        run({**served.environment(), **hosts}, sys.executable, "-c", PYTHON, cwd=tmp_path)
    assert without_waiting(exchanges) == EXPECTED["python"], json.dumps(without_waiting(exchanges))


def test_javascript(served: Served, node_folder: Path) -> None:
    (node_folder / "exchange.mjs").write_text(JAVASCRIPT)
    with recorder(served) as (address, exchanges):
        gateway = {"LOCALFAL_GATEWAY": address, "NODE_USE_ENV_PROXY": "0"}
        run({**served.environment(), **gateway}, "node", "exchange.mjs", cwd=node_folder)
    assert without_waiting(exchanges) == EXPECTED["javascript"], json.dumps(without_waiting(exchanges))
