"""What may come between a request and its end: cancelling, reloads, restarts, other tabs, leaving a stream."""

from pathlib import Path

import pytest
from hosting import Hosted
from playwright.sync_api import expect
from serving import eventually
from visiting import Axe, Open, answer, settings, state

pytestmark = pytest.mark.slow


def test_cancel_what_runs_and_what_waits(open_page: Open, own: Hosted, axe: Axe) -> None:
    page = open_page(own)
    page.get_by_label("Prompt").first.fill("long")
    settings(page)
    page.get_by_role("spinbutton", name="Delay").fill("60")
    page.keyboard.press("Control+Enter")
    state(page, "Running")
    first = answer(page, own)["request_id"]
    page.get_by_role("spinbutton", name="Delay").fill("0")
    page.keyboard.press("Control+Enter")
    state(page, "Next in the queue")
    page.keyboard.press("Control+Enter")
    state(page, "In the queue behind 1 other")
    assert axe(page) == []
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_text("The request was cancelled.")).to_be_visible()

    page.get_by_role("tab", name="Requests").click()
    expect(page.locator(".entry")).to_have_count(3)
    running = page.locator(f".entry[data-id='{first}']")
    running.get_by_role("button", name="Cancel this request").click()
    expect(running.locator(".entry-meta")).to_contain_text("Cancelled")
    assert axe(page) == []
    own.until_idle()
    assert sorted(item["status_code"] for item in own.requests()["items"]) == [200, 499, 499]


def test_a_reload_while_it_runs_loses_nothing(open_page: Open, own: Hosted, gate: Path) -> None:
    page = open_page(own)
    page.get_by_label("Prompt").first.fill("patience")
    settings(page)
    page.get_by_label("Gate").fill(str(gate))
    page.locator("#run").click()
    state(page, "Running, 2 of 4")
    page.get_by_label("Notes").fill("typed, not sent yet")
    eventually(lambda: "not sent yet" in page.evaluate("JSON.stringify(localStorage)"))
    page.reload()
    state(page, "Running, 2 of 4")
    expect(page.locator("#log-lines")).to_contain_text("step 1/4")
    expect(page.get_by_label("Prompt").first).to_have_value("patience")
    expect(page.get_by_label("Notes")).to_have_value("typed, not sent yet")
    gate.touch()
    state(page, "Done in")
    page.reload()
    state(page, "Done in")
    expect(page.get_by_role("img", name="Result")).to_be_visible()


def test_a_restart_of_the_platform_while_it_runs(open_page: Open, own: Hosted, axe: Axe, gate: Path) -> None:
    page = open_page(own)
    page.get_by_label("Prompt").first.fill("through thick and thin")
    settings(page)
    page.get_by_label("Gate").fill(str(gate))
    page.locator("#run").click()
    state(page, "Running, 2 of 4")
    own.kill()
    expect(page.locator("#offline")).to_be_visible()
    assert axe(page) == []
    own.start()
    expect(page.locator("#offline")).to_be_hidden()
    gate.touch()
    state(page, "Done in")
    steps = [line for line in page.locator("#log-lines").inner_text().splitlines() if line.startswith("step")]
    assert steps[-4:] == [f"step {n}/4" for n in (1, 2, 3, 4)]
    assert len(steps) <= 6, "each line is told once, not once a connection"


def test_two_tabs_see_each_other(open_page: Open, own: Hosted, gate: Path) -> None:
    one, other = open_page(own), open_page(own)
    other.get_by_role("tab", name="Requests").click()
    expect(other.get_by_text("No requests yet")).to_be_visible()
    one.get_by_label("Prompt").first.fill("from the first tab")
    settings(one)
    one.get_by_label("Gate").fill(str(gate))
    one.locator("#run").click()
    expect(other.locator(".entry-title")).to_have_text("from the first tab")
    other.locator(".entry-open").click()
    state(other, "Running, 2 of 4")
    gate.touch()
    state(one, "Done in")
    state(other, "Done in")
    expect(other.get_by_label("Prompt").first).to_have_value("from the first tab")


def test_a_stream_is_watched_and_left(open_page: Open, hosted: Hosted, axe: Axe, gate: Path) -> None:
    page = open_page(hosted)
    page.get_by_label("Endpoint").select_option("/stream")
    page.get_by_label("Prompt").first.fill("forming")
    settings(page)
    page.get_by_label("Gate").fill(str(gate))
    page.locator("#run").click()
    expect(page.get_by_role("img", name="Preview")).to_be_visible()
    state(page, "Running, 2 of 4")
    assert axe(page) == []
    gate.touch()
    state(page, "Done in")
    expect(page.get_by_role("img", name="Result")).to_be_visible()
    expect(page.locator("#seed")).to_have_text("7")
    gate.unlink()
    page.locator("#run").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_text("The request was cancelled.")).to_be_visible()
    gate.touch()


def test_thirty_requests(open_page: Open, own: Hosted, axe: Axe) -> None:
    ids = [own.ask(prompt=f"number {n}", seed=n, fail="body" if n == 3 else "no") for n in range(30)]
    own.until_idle()
    page = open_page(own)
    page.get_by_label("Prompt").first.fill("draft")
    page.get_by_role("tab", name="Requests").click()
    expect(page.locator(".entry")).to_have_count(30)
    assert page.locator(".entry").first.get_attribute("data-id") == ids[-1], "newest first"
    expect(page.locator(".entry .entry-title").first).to_have_text("number 29")
    expect(page.locator(".entry .thumb img").first).to_be_visible()
    failed = page.locator(f".entry[data-id='{ids[3]}']")
    failed.scroll_into_view_if_needed()
    expect(failed.locator(".entry-meta")).to_contain_text("Failed with 422")
    expect(failed.locator(".entry-title")).to_have_text("number 3")
    assert axe(page) == []

    page.locator(f".entry[data-id='{ids[7]}'] .entry-open").click()
    expect(page.get_by_label("Prompt").first).to_have_value("number 7")
    expect(page.locator("#seed")).to_have_text("7")
    expect(page.locator("#field-seed")).to_have_value("7")
