"""The nano checkpoint, loaded once."""

import pytest


@pytest.fixture(scope="session")
def nano():
    """The pipeline as src/photomaker/nano/fal.toml serves it."""
    from training.cases import load_nano

    return load_nano()
