import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cloud import Cloud
from .index import uv_settings


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A fal that takes deploys and runs nothing."""
    cloud = Cloud(tmp_path_factory.mktemp("cloud"))
    cloud.start()
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A fal that builds what a deploy asks for, and runs it."""
    cloud = Cloud(tmp_path_factory.mktemp("cloud"), runs=True)
    cloud.start()
    with pytest.MonkeyPatch.context() as patch:  # isolate takes uv and its settings from this process
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        for name, value in {**uv_settings(), "SSL_CERT_FILE": str(cloud.bundle)}.items():
            patch.setenv(name, value)
        # its locks would lie in a folder that another user's tests may have made
        patch.setattr("isolate.backends.settings._SYSTEM_TEMP_DIR", tmp_path_factory.mktemp("isolate"))
        yield cloud
    cloud.stop()
