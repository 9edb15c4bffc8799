"""The machine's own Chromium, driven by Playwright."""

import os
import shutil

from playwright.sync_api import Browser, Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def launch(playwright: Playwright, *arguments: str) -> Browser | None:
    """A browser; None where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        return None
    # As root, Chromium has no sandbox to put its pages into.
    return playwright.chromium.launch(executable_path=found, chromium_sandbox=os.geteuid() != 0, args=list(arguments))
