"""What every test needs."""

import gc
import logging
import os
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

    from photomaker.photos.faces import FaceFinder

# Tiny networks run fastest on one thread, above all beside other work.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# The libraries' advice about their own optional parts is not what a failing test should print.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
# A failing test shows what this project logs, not what a decoder says of every byte.
logging.getLogger("PIL").setLevel(logging.INFO)
# No test asks how fast the machine is.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


# The collector would look through all that the test files import, and all that a compiler keeps, again and again: for
# a fifth of the whole run.
gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: those who take a file at a time then come to their end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def finder() -> "FaceFinder":
    """The real detector and recogniser; the same photos are in most tests, and are seen once."""
    from photomaker.photos.faces import FaceFinder  # only tests of faces wait for InsightFace
    from tests.assets import PACK, face_root

    finder = FaceFinder(PACK, face_root())
    finder.detector.detect = once_each(finder.detector.detect)
    finder.recogniser.get_feat = once_each(finder.recogniser.get_feat)
    return finder


def once_each(network: Callable[..., Any]) -> Callable[..., Any]:
    """A network that remembers what it said of an image."""
    said: dict[tuple[Any, ...], Any] = {}

    def remembering(image: Any, **options: Any) -> Any:
        asked = image.shape, sha256(image).digest(), *options.items()
        if asked not in said:
            said[asked] = network(image, **options)
        return said[asked]

    return remembering


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    """Nothing has been compiled or counted before, and nothing is left for the next test."""
    import torch
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator["TestClient"]:
    """The app of tests/deployment.toml, one for each file that asks for it."""
    from tests.serving import served

    with served(Path(__file__).parent / "deployment.toml", tmp_path_factory.mktemp("no-account")) as client:
        yield client


@pytest.fixture
def service(client: "TestClient") -> Any:
    """That app's service."""
    from fal.ref import get_current_app

    return get_current_app().service
