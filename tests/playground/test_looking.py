"""What the page shows in a real browser: every kind of answer, by mouse and by keyboard, on every screen."""

import json
import zipfile
from pathlib import Path

import pytest
from hosting import Hosted
from playwright.sync_api import expect
from serving import ECHO_APP
from visiting import Axe, Open, settings, state

pytestmark = pytest.mark.slow


def test_every_kind_of_answer(open_page: Open, hosted: Hosted, axe: Axe, size: tuple[int, int]) -> None:
    page = open_page(hosted, size=size)
    page.get_by_role("button", name="Example").first.click()
    expect(page.get_by_label("Prompt").first).to_have_value("a red lighthouse in a storm")
    page.get_by_role("button", name="bea").first.click()
    expect(page.locator(".field-archive .tile img").first).to_be_visible()
    settings(page)
    for kind in ("video", "audio", "file", "text"):
        page.get_by_role("checkbox", name=kind).check()
    page.get_by_role("spinbutton", name="Count").fill("2")
    page.get_by_role("spinbutton", name="Seed").fill("11")
    page.locator("#run").click()
    state(page, "Done in")
    assert page.locator("#stage video").count() == page.locator("#stage audio").count() == 1
    expect(page.locator(".texts")).to_contain_text("a red lighthouse")
    elsewhere = page.get_by_role("link", name="elsewhere.bin")
    expect(elsewhere).to_contain_text("Open at example.com")  # a link, never loaded by itself
    assert axe(page) == []

    page.get_by_role("button", name="Result 1 of").click()
    viewer = page.locator("#viewer")
    expect(viewer).to_be_visible()
    expect(page.locator("#viewer-about")).to_contain_text("1 of 2")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#viewer-about")).to_contain_text("2 of 2")
    page.keyboard.press("c")
    expect(page.locator("#viewer-photos img")).to_have_count(4)
    expect(page.locator("#viewer-photos img").first).to_be_visible()
    assert axe(page) == []
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()

    with page.expect_download() as saved:
        page.get_by_role("button", name="Download all").click()
    with zipfile.ZipFile(saved.value.path()) as opened:
        assert opened.testzip() is None
        assert {"picture-1.png", "picture-2.png", "tone.wav", "clip.mp4", "page.html"} <= set(opened.namelist())
    page.get_by_role("spinbutton", name="Seed").fill("")
    page.get_by_role("button", name="Use again").click()
    expect(page.get_by_role("spinbutton", name="Seed")).to_have_value("11")
    page.get_by_role("button", name="JSON", exact=True).click()
    assert json.loads(page.locator("#json-text").inner_text())["seed"] == 11
    assert axe(page) == []


def test_by_keyboard_alone(open_page: Open, hosted: Hosted) -> None:
    page = open_page(hosted)

    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the form")).to_be_focused()
    page.keyboard.press("Enter")
    tab_to("#field-prompt")
    page.keyboard.type("by hand")
    tab_to("#more > summary")
    page.keyboard.press("Space")
    tab_to("#field-count")
    page.keyboard.press("ArrowUp")
    tab_to("#run")
    page.keyboard.press("Enter")
    state(page, "Done in")
    tab_to(".tile-figure .open")
    page.keyboard.press("Enter")
    expect(page.locator("#viewer-about")).to_contain_text("1 of 2")
    page.keyboard.press("End")
    expect(page.locator("#viewer-about")).to_contain_text("2 of 2")
    page.keyboard.press("Escape")
    expect(page.locator(".tile-figure .open").first).to_be_focused()
    page.locator("#tab-result").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Code")).to_be_focused()
    expect(page.locator("#snippet")).to_contain_text('"prompt": "by hand"')
    page.keyboard.press("ArrowRight")
    expect(page.locator(".entry").first).to_be_visible()


def test_light_and_dark_by_the_system_and_by_the_switch(open_page: Open, hosted: Hosted) -> None:
    def ground() -> int:
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in colour[4:-1].split(","))

    page = open_page(hosted, scheme="dark")
    assert ground() < 100
    page.get_by_role("button", name="Colours: as the system. Change").click()
    assert ground() > 600
    page.reload()
    assert ground() > 600
    page.get_by_role("button", name="Colours: light. Change").click()
    assert ground() < 100
    page.get_by_role("button", name="Colours: dark. Change").click()
    page.emulate_media(color_scheme="light")
    assert ground() > 600


def test_a_wide_screen_has_the_requests_beside_the_result(open_page: Open, own: Hosted, axe: Axe) -> None:
    page = open_page(own, size=(1800, 1000))
    expect(page.get_by_role("tab", name="Requests")).to_be_hidden()
    expect(page.get_by_text("No requests yet")).to_be_visible()
    page.get_by_label("Prompt").first.fill("wide")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".entry-title")).to_have_text("wide")
    state(page, "Done in")
    assert axe(page) == []
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_nothing_is_wider_than_the_screen(open_page: Open, hosted: Hosted) -> None:
    page = open_page(hosted, size=(320, 640))
    settings(page)
    page.get_by_label("Prompt").first.fill("x" * 300)
    page.locator("#run").click()
    state(page, "Done in")
    for tab in ("Result", "Code", "Requests"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_several_apps_on_one_platform(open_page: Open, tmp_path: Path, examples: Path, axe: Axe) -> None:
    platform = Hosted(tmp_path / "state", examples, **{"demo/echo": f"{ECHO_APP}::Echo"})
    try:
        page = open_page(platform)
        page.get_by_label("App").select_option("demo/echo")
        expect(page.locator("#endpoint-id")).to_have_text("demo/echo")
        page.get_by_label("Prompt").first.fill("to the other")
        page.locator("#run").click()
        state(page, "Done in")
        expect(page.locator(".texts")).to_contain_text("to the other")
        page.get_by_label("App").select_option("demo/fields")
        page.get_by_label("Endpoint").select_option("/ping")
        page.locator("#run").click()
        expect(page.locator(".answer")).to_have_text("pong")
        assert axe(page) == []
        page.get_by_role("tab", name="Requests").click()
        page.locator(".entry-open").last.click()
        expect(page.locator("#endpoint-id")).to_have_text("demo/echo")
        expect(page.get_by_label("Prompt").first).to_have_value("to the other")
    finally:
        platform.stop()
