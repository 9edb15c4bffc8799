"""The nano checkpoint, loaded once, and the network that reads its pictures."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def nano():
    """The pipeline as src/photomaker/nano/fal.toml serves it."""
    from photomaker import PhotoMakerPipeline

    folder = ROOT / "src/photomaker/nano"
    return PhotoMakerPipeline.from_pretrained(folder / "base", folder / "photomaker-v1.safetensors", scheduler="euler")
