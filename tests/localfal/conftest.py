from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from serving import PATIENCE, Served


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One platform for all tests that leave it as they found it."""
    platform = Served(tmp_path_factory.mktemp("platform") / "state")
    yield platform
    platform.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """A platform that a test may kill."""
    platform = Served(tmp_path / "state")
    yield platform
    if platform.process.poll() is None:
        platform.stop()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        yield client
