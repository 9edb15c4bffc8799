import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "localfal"))

from packages import install
from serving import APP_ID, ECHO_APP, Served, hosted


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One platform for all client tests."""
    apps = {APP_ID: f"{ECHO_APP}::Echo"} | hosted("Listening", "Talking", "Reading")
    platform = Served(tmp_path_factory.mktemp("clients") / "state", apps=apps)
    yield platform
    platform.stop()


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of package-lock.json installed, where a test's modules can be put."""
    return install(tmp_path_factory.mktemp("node"))
