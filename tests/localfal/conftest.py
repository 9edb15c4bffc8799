from collections.abc import Iterator

import httpx
import pytest
from serving import PATIENCE, Served, hosted


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One platform for all tests that leave it as they found it."""
    platform = Served(tmp_path_factory.mktemp("platform") / "state")
    yield platform
    platform.stop()


@pytest.fixture(scope="module")
def platform(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One platform for a file's tests, of the apps in apps.py that it names."""
    platform = Served(tmp_path_factory.mktemp("apps") / "state", apps=hosted(*request.module.NAMES))
    yield platform
    platform.stop()


@pytest.fixture(scope="module")
def killable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    platform = Served(tmp_path_factory.mktemp("own") / "state")
    yield platform
    if platform.process.poll() is None:
        platform.stop()


@pytest.fixture
def own(killable: Served) -> Served:
    """A platform that a test may kill; it keeps its state, and is there again for the next test of the file."""
    if killable.process.poll() is not None:
        killable.start()
    return killable


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=PATIENCE) as client:
        yield client
