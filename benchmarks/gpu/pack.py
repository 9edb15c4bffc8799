"""What a machine without a network needs besides its torch: this project's sources, the small checkpoint, wheels."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("src/photomaker", "benchmarks", "tests/__init__.py", "tests/golden", "fal.toml", "pyproject.toml")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "nano", "nano_*", "previews", "apps")
WHEELS = (  # what a machine with torch does not have as a rule, in the versions installed here
    "accelerate",
    "annotated-types",
    "diffusers",
    "filelock",
    "flashpack",
    "huggingface-hub",
    "importlib-metadata",
    "peft",
    "pydantic",
    "pydantic-core",
    "safetensors",
    "tokenizers",
    "transformers",
    "typing-inspection",
    "zipp",
)
RUN = """#!/bin/sh
# On the machine with the card, from any folder: sh run.sh [options of benchmarks.gpu]. Nothing is downloaded.
# It brings torch (with triton), numpy, pillow, OpenCV and httpx; {python}, Linux, x86-64.
here=$(cd "$(dirname "$0")" && pwd)
site=${{SITE:-/tmp/photomaker-site}}
python3 -m pip install --quiet --no-index --no-deps --upgrade --target "$site" "$here"/wheels/*.whl || exit
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
    platforms = [f"--platform={name}_x86_64" for name in ("manylinux_2_28", "manylinux_2_17", "manylinux2014")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", *platforms]
    command += [f"--python-version={python}", "--implementation=cp", f"--dest={folder / 'wheels'}"]
    subprocess.run([*command, *(f"{name}=={version(name)}" for name in WHEELS)], check=True)
    (folder / "run.sh").write_text(RUN.format(python=f"Python {python}"))
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.0f} MB. There: sh run.sh --out results")
