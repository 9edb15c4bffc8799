"""The program that measures a card runs from end to end, in miniature on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def bench(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", *options]
    return subprocess.run(command, cwd=ROOT, env=os.environ.copy(), capture_output=True, text=True, timeout=900)


@pytest.mark.slow
def test_every_stage_has_its_rows(tmp_path: Path) -> None:
    run = bench("--small", "--repeat", "1", "--limit", "800", "--out", str(tmp_path))
    assert run.returncode == 0, run.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["card"].startswith("no GPU")
    assert {row["stage"] for row in results["rows"]} == {"machine", "golden", "starts", "pictures", "variants"}
    assert not [row for row in results["rows"] if {"failed", "left_out"} & set(row["values"])]
    (golden,) = (row["values"] for row in results["rows"] if row["name"].startswith("golden latents"))
    assert golden["largest_difference"] < 1e-3
    table = (tmp_path / "table.md").read_text()
    assert "| images | stock diffusers | compiled | this project |" in table
    assert table in run.stdout


def test_a_machine_without_a_card_is_told_so(tmp_path: Path) -> None:
    run = bench("--out", str(tmp_path))
    assert run.returncode == 1
    assert "no GPU" in run.stderr
