from collections.abc import Callable, Iterator

import httpx
import pytest
from serving import KEY, PATIENCE, Served, app_id, eventually, hosted


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


@pytest.fixture
def call(platform: Served, client: httpx.Client) -> Callable[..., httpx.Response]:
    def call(app: str, /, sent: dict[str, str] | None = None, path: str = "", **order: object) -> httpx.Response:
        url = f"{platform.origin}/{app_id(app)}{path}"
        return client.post(url, json=order, headers={**KEY, **(sent or {})})

    return call


@pytest.fixture
def queued(platform: Served, client: httpx.Client) -> Callable[..., httpx.Response]:
    """Submit, wait, and fetch the result."""

    def queued(app: str, /, sent: dict[str, str] | None = None, **order: object) -> httpx.Response:
        url = f"{platform.origin}/queue/{app_id(app)}"
        submitted = client.post(url, json=order, headers={**KEY, **(sent or {})}).raise_for_status().json()
        eventually(lambda: client.get(submitted["status_url"], headers=KEY).json()["status"] == "COMPLETED")
        return client.get(submitted["response_url"], headers=KEY)

    return queued
