"""The npm packages that tests use, as package-lock.json pins them."""

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent


def install(folder: Path) -> Path:
    """Put them into a folder, where a test's modules find them."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder
