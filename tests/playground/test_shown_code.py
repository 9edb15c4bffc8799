"""The programs that the page shows run as they are, through the platform."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hosting import Hosted
from playwright.sync_api import Page, expect
from serving import PATIENCE

pytestmark = pytest.mark.slow

Open = Callable[..., Page]
CLIENTS = Path(__file__).parents[1] / "clients"


@pytest.fixture(scope="session")
def node_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fal's JavaScript client, where a program can be put."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(CLIENTS / name, folder)
    install = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True)
    return folder


def run(language: str, program: str, folder: Path, hosted: Hosted, gate: Path | None = None) -> str:
    """Run a program as `localfal exec` would; what it prints. With its second step the gate is opened."""
    name = {"python": "shown.py", "javascript": "shown.mjs", "shell": "shown.sh"}[language]
    (folder / name).write_text(program)
    command = {"python": [sys.executable], "javascript": ["node"], "shell": ["sh"]}[language]
    environment = {**hosted.environment(), "PYTHONUNBUFFERED": "1"}
    printed = ""
    with (
        (folder / "errors").open("w+") as errors,
        subprocess.Popen(
            [*command, name], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as running,
    ):
        watchdog = threading.Timer(PATIENCE, running.kill)
        watchdog.start()
        for line in running.stdout or ():
            printed += line
            if gate and "step 2/4" in line:
                gate.touch()
        watchdog.cancel()
    assert running.returncode == 0, program + printed + (folder / "errors").read_text()
    return printed


def shown(page: Page, language: str) -> str:
    """The program that the page would copy."""
    page.get_by_role("tab", name="Code").click()
    page.locator(f"[data-language={language}]").click()
    page.get_by_role("button", name="Copy", exact=True).click()
    return str(page.evaluate("navigator.clipboard.readText()"))


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_the_current_input_as_a_program(
    open_page: Open, hosted: Hosted, photos: list[Path], examples: Path, node_folder: Path, gate: Path, language: str
) -> None:
    shutil.copy(examples / "bea.zip", node_folder)
    shutil.copy(photos[0], node_folder / "face.png")
    page = open_page(hosted)
    text = 'it\'s a "test" of $HOME, `ls` and \\n: ünïcode 😀'
    page.get_by_label("Prompt").first.fill(text)
    page.get_by_role("button", name="bea").first.click()
    expect(page.locator(".field-archive .file-state")).to_contain_text("as bea.zip")
    page.locator("#more > summary").click()
    page.locator("#field-image_urls").locator("xpath=..").get_by_role("button", name="face").click()
    expect(page.locator("#field-image_urls-file ~ .drop .tile")).to_have_count(1)
    page.get_by_role("checkbox", name="text").check()
    page.get_by_role("spinbutton", name="Seed").fill("123")
    if language != "shell":  # a direct call shows no log
        page.get_by_label("Gate").fill(str(gate))
    program = shown(page, language)
    printed = run(language, program, node_folder, hosted, gate)

    (sent,) = hosted.requests(limit=1, expand="payloads")["items"] if language != "shell" else [None]
    if sent is not None:
        assert sent["json_input"]["prompt"] == text
        assert re.search(r"/files/\w+/bea\.zip$", sent["json_input"]["photos_archive_url"])
        assert sent["json_input"]["image_urls"][0].endswith("face.png")
        assert sent["json_output"]["text"] == text
        assert "step 2/4" in printed
    else:  # a direct call, which the queue does not know
        assert json.loads(printed)["text"] == text
        assert json.loads(printed)["seed"] == 123


@pytest.mark.parametrize("language", ["python", "javascript", "shell"])
def test_queries_and_streams_as_programs(open_page: Open, hosted: Hosted, node_folder: Path, language: str) -> None:
    page = open_page(hosted)
    page.get_by_label("Endpoint").select_option("/scale")
    page.get_by_label("Factor").fill("2.5")
    assert "2.5 times False" in run(language, shown(page, language), node_folder, hosted)
    page.get_by_label("Endpoint").select_option("/stream")
    page.get_by_label("Prompt").first.fill("forming")
    printed = run(language, shown(page, language), node_folder, hosted)
    assert printed.count("preview") >= 4
    assert "images" in printed
