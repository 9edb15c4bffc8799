"""How many cores a process takes for its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from photomaker.cores import usable_cores

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "6400000 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_containers_share_counts(files: dict[str, str], cores: int | None, tmp_path: Path) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert usable_cores(tmp_path) == (cores or len(os.sched_getaffinity(0)))


def test_the_cores_a_process_is_bound_to_count(tmp_path: Path) -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    program += "from pathlib import Path; from photomaker.cores import usable_cores\n"
    program += f"print(usable_cores(Path({str(tmp_path)!r})))"
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "1\n"


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "threads"), [({}, "1"), ({"OMP_NUM_THREADS": "2"}, "2")], ids=["default", "set"])
def test_a_small_network_computes_on_one_thread(variable: dict[str, str], threads: str) -> None:
    program = (
        "import torch; from photomaker.deployment import Deployment; from photomaker.service import Service\n"
        f"Service.start(Deployment.read({str(HERE / 'deployment.toml')!r}), log=lambda line: None)\n"
        "print(torch.get_num_threads())"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"} | variable
    said = subprocess.check_output([sys.executable, "-c", program], text=True, env=environment)
    assert said.splitlines()[-1] == threads
