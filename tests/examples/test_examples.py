"""Every program of examples/, run as its first lines say, against this repository's own app."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packages import install
from PIL import Image
from serving import LOCALFAL, PATIENCE, Served

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PEOPLE = ROOT / "src/photomaker/nano/examples"
ARCHIVE = str(PEOPLE / "adam.zip")
STRICT = ["--strict", "--target", "es2022", "--module", "nodenext", "--skipLibCheck", "false"]

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def called(platform: Served, *command: str, cwd: Path) -> str:
    """What a program prints under `localfal exec`."""
    return run(*LOCALFAL, "exec", "--state", str(platform.state), "--", *command, cwd=cwd)


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.tobytes()


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("node"))


def test_none_is_left_out() -> None:
    here = Path(__file__).read_text()
    for program in EXAMPLES.iterdir():
        assert f'"{program.name}"' in here or program.name == "README.md"
        assert program.name == "README.md" or f"`{program.name}" in (EXAMPLES / "README.md").read_text()


def test_sync(nano_platform: Served, tmp_path: Path) -> None:
    called(nano_platform, sys.executable, str(EXAMPLES / "sync.py"), ARCHIVE, cwd=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sync-42.png", "sync-43.png"]
    assert pixels(tmp_path / "sync-42.png") != pixels(tmp_path / "sync-43.png")


def test_async(nano_platform: Served, tmp_path: Path) -> None:
    printed = called(nano_platform, sys.executable, str(EXAMPLES / "async.py"), ARCHIVE, cwd=tmp_path)
    assert all(f"{place}: http" in printed for place in ("on a beach", "in a city at night", "in the snow"))


def test_queue_webhook(nano_platform: Served, tmp_path: Path) -> None:
    printed = called(nano_platform, sys.executable, str(EXAMPLES / "queue_webhook.py"), ARCHIVE, cwd=tmp_path)
    submitted, told = printed.splitlines()
    assert told == f"{submitted.removeprefix('submitted ')}: OK, 1 picture"


def test_node(nano_platform: Served, packages: Path) -> None:
    shutil.copy(EXAMPLES / "node.mjs", packages)
    called(nano_platform, "node", "node.mjs", ARCHIVE, cwd=packages)
    assert pixels(packages / "node-42.png") != pixels(packages / "node-43.png")


def test_typescript(nano_platform: Served, packages: Path) -> None:
    shutil.copy(EXAMPLES / "typed.ts", packages)
    run("npx", "--no-install", "tsc", *STRICT, "typed.ts", cwd=packages)
    assert ", image/png" in called(nano_platform, "node", "typed.js", ARCHIVE, cwd=packages)


def test_curl(nano_platform: Served, tmp_path: Path) -> None:
    upload = f"import fal_client; print(fal_client.upload_file({ARCHIVE!r}))"
    url = called(nano_platform, sys.executable, "-c", upload, cwd=tmp_path).strip()
    waited, submitted, later = called(nano_platform, "bash", str(EXAMPLES / "call.sh"), url, cwd=tmp_path).splitlines()[
        1:
    ]
    assert waited.startswith('{"images":')
    assert submitted.startswith("submitted ")
    assert later.startswith('{"images":')


def test_pipeline(tmp_path: Path) -> None:
    photos = sorted(map(str, (PEOPLE / "cleo").iterdir()))
    program = str(EXAMPLES / "pipeline.py")
    run(sys.executable, program, *photos, cwd=tmp_path)
    assert pixels(tmp_path / "pipeline-0.png") != pixels(tmp_path / "pipeline-1.png")
