"""The app of this repository with the small checkpoint, on a platform of its own."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "tests" / "localfal"), str(ROOT / "tests" / "clients")]

from serving import APP_ID, Served  # noqa: E402


@pytest.fixture(scope="session")
def nano_platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOMAKER_DEPLOYMENT", str(ROOT / "src/photomaker/nano/fal.toml"))
        patch.setenv("OMP_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
        app = {APP_ID: f"{ROOT / 'photomaker_app.py'}::PhotoMaker"}
        platform = Served(tmp_path_factory.mktemp("examples") / "state", apps=app)
    yield platform
    platform.stop()
