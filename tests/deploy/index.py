"""Where a runner's packages come from on this machine: wherever its pip takes them from."""

import subprocess
import sys

# uv installs a runner's packages, and reads none of pip's settings.
OPTIONS = {"index-url": "UV_DEFAULT_INDEX", "find-links": "UV_FIND_LINKS"}


def uv_settings() -> dict[str, str]:
    """pip's index and folders of wheels as uv's variables; none where pip has no settings."""
    pip = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(pip, check=True, capture_output=True, text=True).stdout
    settings = {}
    for line in listed.splitlines():  # global.find-links='/a/folder', or :env:.find-links='/a/folder'
        key, _, value = line.partition("=")
        variable = OPTIONS.get(key.rpartition(".")[2])
        if variable:
            settings[variable] = ",".join(value.strip("'").split()) if variable == "UV_FIND_LINKS" else value.strip("'")
    return settings
