"""What a visitor of the page does, and where the page is looked at."""

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hosting import Hosted
from playwright.sync_api import Page, expect

Open = Callable[..., Page]
Axe = Callable[[Page], list[str]]


def settings(page: Page) -> None:
    """Unfold the additional settings."""
    if page.locator("#more").get_attribute("open") is None:
        page.locator("#more > summary").click()


def drop(page: Page, target: str, files: list[Path]) -> None:
    """Drop files on an element, as a mouse would."""
    content = [(path.name, base64.b64encode(path.read_bytes()).decode()) for path in files]
    transfer = page.evaluate_handle(
        """files => {
            const transfer = new DataTransfer();
            for (const [name, data] of files) {
                const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
            }
            return transfer;
        }""",
        content,
    )
    page.dispatch_event(target, "dragover", {"dataTransfer": transfer})
    page.dispatch_event(target, "drop", {"dataTransfer": transfer})


def state(page: Page, text: str) -> None:
    expect(page.locator("#state-text")).to_contain_text(text)


def answer(page: Page, hosted: Hosted) -> Any:
    """The answer to the request that the page shows."""
    request_id = page.evaluate("new URLSearchParams(location.hash.slice(1)).get('request')")
    return hosted.requests(expand="payloads", request_id=request_id)["items"][0]
