"""The app in this process, behind starlette's client."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

ROOT = Path(__file__).parent.parent


@contextmanager
def served(deployment: Path, home: Path) -> Iterator[TestClient]:
    """The app of a deployment, started; without an account, whose place would be in ``home``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IS_ISOLATE_AGENT", "1")
        patch.setenv("PHOTOMAKER_DEPLOYMENT", str(deployment))
        for account in ("FAL_KEY", "FAL_KEY_ID", "FAL_KEY_SECRET"):
            patch.delenv(account, raising=False)
        patch.setenv("FAL_HOME_DIR", str(home))
        patch.syspath_prepend(str(ROOT))
        from fal import ref

        from photomaker_app import PhotoMaker

        app = PhotoMaker()
        patch.setattr(ref, "current_app", None)  # until the next file's
        ref.set_current_app(app)
        with TestClient(app._build_app(), raise_server_exceptions=False) as client:
            yield client
