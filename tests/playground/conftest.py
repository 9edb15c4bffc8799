import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browsers import launch
from hosting import Hosted
from playwright.sync_api import Browser, Page, expect, sync_playwright
from serving import PATIENCE

HERE = Path(__file__).parent
PICTURES = sorted((HERE.parents[1] / "src/photomaker/nano/examples/bea").glob("*.png"))
DESK, PHONE = (1360, 850), (390, 844)


@pytest.fixture(scope="session")
def photos() -> list[Path]:
    """Some photos of a person."""
    return PICTURES


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of example files: an archive and a picture."""
    folder = tmp_path_factory.mktemp("examples")
    with zipfile.ZipFile(folder / "bea.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in PICTURES:
            archive.write(path, f"photos/{path.name}")
    shutil.copy(PICTURES[0], folder / "face.png")
    (folder / ".hidden").write_text("not offered")
    return folder


@pytest.fixture(scope="session")
def hosted(tmp_path_factory: pytest.TempPathFactory, examples: Path) -> Iterator[Hosted]:
    """One platform for all tests that leave it as they found it."""
    platform = Hosted(tmp_path_factory.mktemp("playground") / "state", examples)
    yield platform
    platform.stop()


@pytest.fixture
def own(tmp_path: Path, examples: Path) -> Iterator[Hosted]:
    """A platform with a queue and a history of its own, that a test may kill."""
    platform = Hosted(tmp_path / "state", examples)
    yield platform
    if platform.process.poll() is None:
        platform.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The machine's own Chromium; a name that is not this machine's leads here too, for the tests of other sites.

    Closed with each file: as long as it is open, Playwright's event loop counts as running in this thread.
    """
    expect.set_options(timeout=PATIENCE * 1000)
    with sync_playwright() as playwright:
        browser = launch(playwright, "--host-resolver-rules=MAP other-site.example 127.0.0.1")
        if browser is None:
            pytest.skip("there is no Chromium here, and it could not be installed: apt-get install chromium")
        yield browser
        browser.close()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A request that waits for this file goes on when a test makes it, and at the end of the test."""
    path = tmp_path / "gate"
    yield path
    path.touch()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens the page of a platform as a visitor of its own; at the end it must have met no error of its own."""
    contexts = []
    problems: list[str] = []

    def open_page(platform: Hosted, *, scheme: str = "light", size: tuple[int, int] = DESK, path: str = "/") -> Page:
        phone = size[0] < 500
        context = browser.new_context(
            color_scheme=scheme,
            viewport={"width": size[0], "height": size[1]},
            has_touch=phone,
            is_mobile=phone,
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.set_default_timeout(PATIENCE * 1000)
        contexts.append(context)
        page = context.new_page()
        watch(page, problems)
        page.goto(platform.origin + path)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def watch(page: Page, problems: list[str]) -> None:
    """Collect what goes wrong in a page; that an answer was an error is its own business."""
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: _note(message.type, message.text, problems))


def _note(kind: str, text: str, problems: list[str]) -> None:
    if kind == "error" and "Failed to load resource" not in text:
        problems.append(text)


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def size(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Page], list[str]]:
    """What axe-core finds wrong with a page as it is, in light and in dark."""
    folder = tmp_path_factory.mktemp("axe")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    install = ["npm", "ci", "--no-audit", "--no-fund", "--prefer-offline"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True)
    script = (folder / "node_modules/axe-core/axe.min.js").read_text()

    def violations(page: Page) -> list[str]:
        page.evaluate(script + "\n;0")
        found = []
        for scheme, options in (("dark", {"runOnly": ["color-contrast"]}), ("light", {})):
            page.emulate_media(color_scheme=scheme)
            for one in page.evaluate("options => axe.run(options)", options)["violations"]:
                found.append(f"{one['id']}, in {scheme}: {[node['html'] for node in one['nodes']]}")
        return found

    return violations
