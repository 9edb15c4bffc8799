"""What a machine without a network needs besides its torch: this project's sources, the small checkpoint, wheels."""

import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PARTS = ("src/photomaker", "benchmarks", "tests/__init__.py", "tests/golden", "fal.toml", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "nano", "nano_*", "previews", "apps")
BROUGHT = ("torch", "numpy", "pillow", "opencv-python-headless", "httpx", "pip")  # what a machine with torch has
NEEDED = ("accelerate", "diffusers", "flashpack", "peft", "pydantic", "transformers")
PLATFORMS = ("2_28", "2_27", "2_26", "2_24", "2_17", "2014", "2_12", "2010", "2_5", "1")  # of manylinux
RUN = """#!/bin/sh
# On the machine with the card, from any folder: sh run.sh [options of benchmarks.gpu]. Nothing is downloaded.
# It brings torch (with triton), numpy, pillow, OpenCV and httpx; {python}, Linux, x86-64.
here=$(cd "$(dirname "$0")" && pwd)
site=${{SITE:-/tmp/photomaker-site}}
# Not compiled: Python does that for what is imported, which is little of it.
python3 -m pip install --quiet --no-index --no-deps --no-compile --upgrade --target "$site" "$here"/wheels/*.whl || exit
cd "$here" && PYTHONPATH="$here/src:$site" HF_HUB_OFFLINE=1 exec python3 -m benchmarks.gpu "$@"
"""


def pack(folder: Path, python: str) -> None:
    """Make a folder to be carried to the card, with wheels for that version of Python ("3.12")."""
    for name in PARTS:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(source, target, ignore=LEFT_OUT)
        else:
            shutil.copy(source, target)
    platforms = [f"--platform=manylinux{'_' * ('_' in name)}{name}_x86_64" for name in PLATFORMS]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms]
    command += [f"--python-version={python}", "--implementation=cp", f"--dest={folder / 'wheels'}"]
    wheels = with_requirements(NEEDED, python) - with_requirements(BROUGHT, python)
    subprocess.run([*command, *(f"{name}=={version(name)}" for name in sorted(wheels))], check=True)
    (folder / "run.sh").write_text(RUN.format(python=f"Python {python}"))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.0f} MB. There: sh run.sh --out results")


def with_requirements(names: Iterable[str], python: str) -> set[str]:
    """These packages, as they are installed here, and all that they require."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            required = map(Requirement, requires(name) or ())
            environment = {"python_version": python, "extra": ""}
            wanted = (one for one in required if one.marker is None or one.marker.evaluate(environment))
            waiting += [canonicalize_name(one.name) for one in wanted]
    return found
