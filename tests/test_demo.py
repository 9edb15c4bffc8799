"""The demonstration: the documentation's example to the letter, run through a local platform."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from photomaker.demo import DOCUMENTED_ARCHIVE, SNIPPET

DOCUMENTATION = (Path(__file__).parent / "endpoint.md").read_text()


def test_the_example_is_the_documentations() -> None:
    assert f"```python\n{SNIPPET}```" in DOCUMENTATION
    assert SNIPPET.count(DOCUMENTED_ARCHIVE) == 1


@pytest.mark.slow
def test_it_makes_pictures_and_shows_them_beside_the_photos(tmp_path: Path) -> None:
    command = [Path(sys.executable).with_name("photomaker"), "demo", "--output", tmp_path]
    ran = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False, timeout=300
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "step 1/50" in ran.stdout
    beside, made = sorted(tmp_path.iterdir(), key=lambda path: "beside" not in path.name)
    with Image.open(made) as picture, Image.open(beside) as strip:
        assert picture.size == (128, 128)
        assert strip.width > 5 * 256  # four photos and the picture
    assert str(beside) in ran.stdout.replace("\n", "")
