"""The documentation's pictures of the playground: `python tests/playground/screenshots.py FOLDER`.

Serves PhotoMaker with the small checkpoint, makes pictures of two example people through the page, and looks at it.
"""

import io
import os
import re
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

sys.path.append(str(Path(__file__).parents[1] / "localfal"))

from browsers import launch
from serving import Served

PROJECT = Path(__file__).parents[2]
NANO = PROJECT / "src/photomaker/nano"
APP = {"fal-ai/photomaker": str(PROJECT / "photomaker_app.py") + "::PhotoMaker"}
SETTINGS = {"num_inference_steps": "20", "num_images": "4"}
MAX_COLOURS = 256
SECONDS = 600


def visit(browser: Browser, platform: Served, scheme: str, size: tuple[int, int], scale: float = 1.5) -> Page:
    """The page, as a visitor of its own."""
    context = browser.new_context(
        color_scheme=scheme,
        viewport={"width": size[0], "height": size[1]},
        device_scale_factor=scale,
        is_mobile=size[0] < 500,
        has_touch=size[0] < 500,
        reduced_motion="reduce",
    )
    context.set_default_timeout(SECONDS * 1000)
    page = context.new_page()
    page.goto(platform.origin)
    page.wait_for_selector("body[data-ready]")
    return page


def ask(page: Page, person: str, prompt: str, seed: int) -> None:
    """Fill in the form for an example person, and press Run."""
    page.get_by_role("button", name=person).first.click()
    expect(page.locator("#main-fields .field").filter(has=page.locator(".tile")).locator(".tile img")).to_have_count(4)
    page.locator("#field-prompt").fill(prompt)
    page.locator("#more > summary").click()
    for name, value in {**SETTINGS, "seed": str(seed)}.items():
        page.locator(f"#field-{name}").fill(value)
    page.locator("#more > summary").click()
    page.locator("#run").click()


def save(page: Page, path: Path) -> None:
    """What is on the screen, as a picture of few colours."""
    page.mouse.move(0, 0)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(MAX_COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)
    print(f"{path}: {picture.width} x {picture.height}, {path.stat().st_size // 1000} kB")


def take(browser: Browser, platform: Served, folder: Path) -> None:
    """All pictures."""
    page = visit(browser, platform, "light", (1440, 900))
    ask(page, "bea", "portrait photo of a woman img, smiling, at the beach, colorful", 7)
    expect(page.locator("#state-text")).to_contain_text("Done in")

    page = visit(browser, platform, "light", (1680, 980), 1.25)
    ask(page, "dan", "portrait photo of a man img, in the mountains, wearing a suit", 21)
    expect(page.locator("#state-text")).to_contain_text("Done in")
    expect(page.locator(".entry .thumb img")).to_have_count(2)
    save(page, folder / "playground-result.png")

    dark = visit(browser, platform, "dark", (1440, 900), 1.25)
    dark.get_by_label("Endpoint").select_option("/studio/stream")
    ask(dark, "adam", "portrait photo of a man img, in the forest, wearing a hoodie", 4)
    expect(dark.locator("#state-text")).to_have_text(re.compile(r"Running, 1\d of 20"))
    expect(dark.get_by_role("img", name="Preview")).to_have_count(4)
    save(dark, folder / "playground-running.png")
    expect(dark.locator("#state-text")).to_contain_text("Done in")
    dark.get_by_label("Endpoint").select_option("/")
    ask(dark, "cleo", "portrait photo of a woman img, at night in the city", 5)
    expect(dark.locator("#state-text")).to_contain_text("Done in")
    dark.get_by_role("button", name="Compare with the photos").click()
    expect(dark.locator("#viewer-photos img")).to_have_count(4)
    save(dark, folder / "playground-compare.png")
    dark.keyboard.press("Escape")
    dark.get_by_role("tab", name="Code").click()
    save(dark, folder / "playground-code.png")

    phone = visit(browser, platform, "light", (390, 844), 2)
    phone.get_by_role("tab", name="Requests").click()
    phone.locator(".entry-open").first.click()
    expect(phone.locator("#state-text")).to_contain_text("Done in")
    expect(phone.locator(".gallery img")).to_have_count(4)
    phone.locator("#panel").evaluate("panel => panel.scrollIntoView()")
    save(phone, folder / "playground-phone.png")


def main(folder: Path) -> None:
    """Take all pictures into a folder."""
    expect.set_options(timeout=SECONDS * 1000)
    os.environ["PHOTOMAKER_DEPLOYMENT"] = str(NANO / "fal.toml")
    with tempfile.TemporaryDirectory() as state, sync_playwright() as playwright:
        platform = Served(Path(state), "--examples", str(NANO / "examples"), apps=APP)
        browser = launch(playwright)
        if browser is None:
            raise SystemExit("The pictures are taken with Chromium: apt-get install chromium")
        try:
            take(browser, platform, folder)
        finally:
            browser.close()
            platform.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
