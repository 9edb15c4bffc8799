"""The program that measures a card runs from end to end, in miniature on a CPU."""

import json
import os
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT))
from benchmarks.gpu.pack import BROUGHT, with_requirements  # noqa: E402

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *options]
    return subprocess.run(command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, timeout=900)


def test_a_machine_without_a_card_is_told_so(tmp_path: Path) -> None:
    run = bench("--out", str(tmp_path))
    assert run.returncode == 1
    assert "no GPU" in run.stderr


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with torch, little else, and no network."""
    machine = tmp_path / "machine"
    venv.create(machine)
    (site,) = machine.glob("lib/python*/site-packages")
    for name in with_requirements(BROUGHT, PYTHON):
        found = distribution(name)
        for part in {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            (site / part).symlink_to(Path(str(found.locate_file(part))))
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    path = f"{machine / 'bin'}:/usr/bin:/bin"
    return nowhere | {"PATH": path, "HOME": str(tmp_path), "SITE": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_every_stage_has_its_rows_where_it_was_carried(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    """What is packed is all that the other machine lacks."""
    packed = bench("--pack", str(tmp_path / "packed"), "--python", PYTHON)
    assert packed.returncode == 0, packed.stderr
    carried = (tmp_path / "packed").rename(tmp_path / "carried")
    options = ["--small", "--repeat", "1", "--limit", "800", "--out", str(tmp_path / "results")]
    command = ["sh", str(carried / "run.sh"), *options]
    run = subprocess.run(command, cwd=tmp_path, env=elsewhere, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["card"].startswith("no GPU")
    assert {row["stage"] for row in results["rows"]} == {"machine", "golden", "starts", "pictures", "variants"}
    assert not [row for row in results["rows"] if {"failed", "left_out"} & set(row["values"])]
    (golden,) = (row["values"] for row in results["rows"] if row["name"].startswith("golden latents"))
    assert golden["largest_difference"] < 1e-3
    table = (tmp_path / "results" / "table.md").read_text()
    assert "| images | stock diffusers | compiled | this project |" in table
    assert table in run.stdout
