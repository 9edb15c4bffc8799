"""A request in a real browser, on a desk and on a phone, in light and in dark: from its photos to its end."""

import io
import zipfile
from pathlib import Path

import httpx
import pytest
from hosting import Hosted
from PIL import Image
from playwright.sync_api import expect
from visiting import Axe, Open, answer, drop, settings, state


@pytest.mark.slow
def test_from_dropped_photos_to_a_downloaded_picture(
    open_page: Open, hosted: Hosted, axe: Axe, photos: list[Path], gate: Path, size: tuple[int, int]
) -> None:
    page = open_page(hosted, size=size)
    assert axe(page) == []
    drop(page, "#field-photos_archive_url ~ *, .field-archive .drop", photos)
    expect(page.locator(".field-archive .tile img")).to_have_count(4)
    expect(page.locator(".field-archive .file-state")).to_contain_text("as photos.zip")
    page.get_by_role("button", name=f"Remove {photos[0].name}").click()
    expect(page.locator(".field-archive .tile img")).to_have_count(3)
    page.get_by_label("Prompt", exact=False).first.fill("a lighthouse")
    settings(page)
    page.get_by_label("Gate").fill(str(gate))
    assert axe(page) == []

    page.locator("#run").click()
    state(page, "Running, 2 of 4")
    expect(page.locator("#log-lines")).to_contain_text("step 2/4")
    assert axe(page) == []
    gate.touch()
    state(page, "Done in")
    expect(page.get_by_role("img", name="Result")).to_be_visible()
    assert axe(page) == []

    with page.expect_download() as saved:
        page.get_by_role("link", name="Download Result", exact=True).first.click()
    with Image.open(saved.value.path()) as picture:
        assert (picture.format, picture.size) == ("PNG", (192, 192))
    assert saved.value.suggested_filename == "picture-1.png"

    sent = answer(page, hosted)["json_input"]
    assert set(sent) == {"prompt", "photos_archive_url", "gate"}, "only what was chosen is sent"
    archive = httpx.get(hosted.origin + httpx.URL(sent["photos_archive_url"]).path, trust_env=False).content
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == {
            path.name: path.read_bytes() for path in photos[1:]
        }


@pytest.mark.slow
def test_errors_stand_at_their_fields(open_page: Open, hosted: Hosted, axe: Axe, size: tuple[int, int]) -> None:
    page = open_page(hosted, size=size)
    page.locator("#run").click()
    expect(page.locator("#field-prompt-error")).to_have_text("This field is required.")
    expect(page.locator("#field-prompt")).to_be_focused()
    page.keyboard.type("x")
    expect(page.locator("#field-prompt-error")).to_be_empty()

    settings(page)
    page.get_by_label("Fail").select_option("typed")
    page.locator("#run").click()
    state(page, "Failed with 422")
    # The app's own words, and never as markup.
    expect(page.locator("#field-photos_archive_url-error")).to_have_text(
        "No face is in these photos: <b>send others</b>."
    )
    assert page.locator("#field-photos_archive_url-error b").count() == 0
    assert axe(page) == []

    page.get_by_role("spinbutton", name="Steps").fill("99")
    page.locator("#run").click()
    expect(page.locator("#field-steps-error")).to_have_text("Input should be less than or equal to 50")
    expect(page.locator("#field-photos_archive_url-error")).to_be_empty()
    page.get_by_role("spinbutton", name="Steps").fill("1")

    page.get_by_role("button", name="Add to loras").click()
    page.get_by_label("Path").first.fill("here.safetensors")
    page.get_by_label("Fail").select_option("nested")
    page.locator("#run").click()
    expect(page.locator("#field-loras-0-path-error")).to_have_text("There is no such file.")
    expect(page.locator("#field-loras-0-path")).to_be_focused()

    page.get_by_label("Fail").select_option("body")
    page.locator("#run").click()
    expect(page.locator("#problem")).to_have_text("Too much at once.")
    page.get_by_label("Fail").select_option("text")
    page.locator("#run").click()
    expect(page.locator("#problem")).to_have_text("<img src=x onerror=alert(1)> is not what I do.")
    page.get_by_label("Fail").select_option("crash")
    page.locator("#run").click()
    state(page, "Failed with 500")
    assert axe(page) == []
