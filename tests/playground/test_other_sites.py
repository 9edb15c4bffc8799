"""Pages of other sites cannot use the platform, and nothing that a result or a log says becomes part of the page."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from hosting import APP_ID, Hosted
from playwright.sync_api import Browser, Page, Request, expect
from serving import KEY

pytestmark = pytest.mark.slow

SITE = "other-site.example"
Open = Callable[..., Page]

# What a page of another site could try, with and without a key, and what each attempt brought it.
ATTEMPTS = """async ([origin, app]) => {
    const key = { authorization: "Key anything" };
    const tries = {
        models: () => fetch(`${origin}/v1/models?expand=openapi-3.0`),
        requests: () => fetch(`${origin}/v1/models/requests/by-endpoint?expand=payloads`, { headers: key }),
        submit: () => fetch(`${origin}/queue/${app}`, { method: "POST", headers: key, body: '{"prompt": "theirs"}' }),
        simple: () => fetch(`${origin}/queue/${app}`, { method: "POST", body: '{"prompt": "theirs"}' }),
        blind: () => fetch(`${origin}/queue/${app}`, { method: "POST", mode: "no-cors", body: '{"prompt": "theirs"}' }),
        page: () => fetch(`${origin}/`),
        module: () => import(`${origin}/playground/fal.mjs`),
    };
    const told = {};
    for (const [name, attempt] of Object.entries(tries)) {
        try {
            const response = await attempt();
            told[name] = response.type === "opaque" ? "nothing" : "an answer";
        } catch {
            told[name] = "nothing";
        }
    }
    return told;
}"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another site</title>")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def other_site() -> Iterator[str]:
    """A page elsewhere, as far as the browser can tell."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{SITE}:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_page_of_another_site(browser: Browser, hosted: Hosted, other_site: str) -> None:
    before = hosted.requests()["items"]
    context = browser.new_context()
    page = context.new_page()
    page.goto(other_site)
    told = page.evaluate(ATTEMPTS, [hosted.origin, APP_ID])
    assert told == dict.fromkeys(told, "nothing")
    assert hosted.requests()["items"] == before, "nothing was run for it"
    page.evaluate(
        """origin => new Promise((done) => {
            const frame = document.createElement("iframe");
            frame.addEventListener("load", done);
            frame.src = origin;
            document.body.append(frame);
        })""",
        hosted.origin,
    )
    assert len(page.frames) == 2
    assert page.frames[1].locator("#run").count() == 0, "the page is not shown in another's frame"
    context.close()


def test_a_site_whose_name_leads_here(browser: Browser, hosted: Hosted) -> None:
    context = browser.new_context()
    page = context.new_page()
    answer = page.goto(f"http://{SITE}:{hosted.addresses.http}/")
    assert answer is not None
    assert answer.status == 400
    assert "Host" in answer.text()
    context.close()


def test_the_page_speaks_to_the_platform_alone(open_page: Open, hosted: Hosted) -> None:
    page = open_page(hosted)
    asked: list[str] = []
    page.on("request", lambda request: _note(request, asked))
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.get_by_label("Prompt").first.fill("x")
    page.locator("#more > summary").click()
    page.get_by_role("checkbox", name="file").check()
    page.locator("#run").click()
    expect(page.get_by_role("link", name="elsewhere.bin")).to_be_visible()
    assert asked
    assert [url for url in asked if not url.startswith((hosted.origin, "data:", "blob:"))] == []


def _note(request: Request, asked: list[str]) -> None:
    asked.append(request.url)


def test_what_an_app_says_is_text(open_page: Open, own: Hosted, gate: Path) -> None:
    markup = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    hostile = {"prompt": markup, "title": markup, "outputs": ["image", "text", "file"], "loras": [{"path": markup}]}
    own.ask(**hostile)
    with httpx.Client(trust_env=False) as client:
        wrong = {"prompt": {markup: 1}, "steps": markup}
        client.post(f"{own.origin}/queue/{APP_ID}", json=wrong, headers=KEY).raise_for_status()
    own.until_idle()
    page = open_page(own)
    page.get_by_role("tab", name="Requests").click()
    expect(page.locator(".entry")).to_have_count(2)
    page.locator(".entry-open").last.click()
    expect(page.locator(".texts")).to_contain_text(markup)
    expect(page.get_by_label("Prompt").first).to_have_value(markup)
    page.get_by_role("button", name="JSON", exact=True).click()
    expect(page.locator("#json-text")).to_contain_text(json.dumps(markup))
    page.get_by_role("tab", name="Code").click()
    expect(page.locator("#snippet")).to_contain_text("onerror")
    page.get_by_role("tab", name="Requests").click()
    page.locator(".entry-open").first.click()
    expect(page.locator("#state-text")).to_contain_text("Failed")
    assert page.locator("img[src=x], main script").count() == 0
    assert "owned" not in page.title()
    # The one file that would be a page is only ever handed out as a download.
    (one,) = own.requests(request_id=own.requests()["items"][1]["request_id"], expand="payloads")["items"]
    url = httpx.URL(one["json_output"]["files"][0]["url"])
    with httpx.Client(trust_env=False) as client:
        answer = client.get(own.origin + url.path)
    assert answer.headers["content-security-policy"] == "sandbox"
    assert answer.headers["content-disposition"].startswith("attachment")
