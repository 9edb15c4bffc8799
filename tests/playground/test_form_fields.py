"""The form in a real browser: every kind of field, and what is sent of it."""

import base64
from pathlib import Path

import httpx
import pytest
from hosting import Hosted
from playwright.sync_api import expect
from visiting import Axe, Open, answer, drop, settings, state

pytestmark = pytest.mark.slow


def test_every_kind_of_field(open_page: Open, hosted: Hosted, axe: Axe, photos: list[Path], tmp_path: Path) -> None:
    page = open_page(hosted)
    settings(page)
    sound = tmp_path / "voice.wav"
    sound.write_bytes(b"RIFF")
    expect(page.locator("[id^=field-secret]")).to_have_count(0)  # hidden
    expect(page.locator("#field-frozen")).to_be_disabled()
    page.get_by_label("Prompt").first.fill("everything")
    page.get_by_label("Title").fill("A title")
    page.locator("#field-image_url-file").set_input_files(photos[0])
    page.locator("#field-image_urls-file").set_input_files(photos[1:3])
    page.locator("#field-mask-file").set_input_files(photos[3])
    page.locator("#field-audio_url-file").set_input_files(sound)
    page.locator("#field-video_url").fill("https://example.com/clip.mp4")
    page.get_by_label("Mood").select_option("wild")
    page.get_by_label("Style").select_option("Line art")
    page.get_by_role("slider", name="Guidance").fill("7.5")
    page.get_by_role("button", name="Draw a seed").click()
    page.get_by_role("switch", name="Upscale").check()
    page.get_by_role("switch", name="Tiling").check()
    page.get_by_role("checkbox", name="text").check()
    for word in ("one", "two"):
        page.get_by_role("button", name="Add to tags").click()
        page.keyboard.type(word)
    page.get_by_role("button", name="Add to sizes").click()
    page.keyboard.type("3")
    page.get_by_role("button", name="Add to loras").click()
    page.keyboard.type("a.safetensors")
    page.get_by_role("button", name="Image Size").click()
    page.locator("#field-image_size-kind0-width").fill("640")
    page.locator("#field-image_size-kind0-height").fill("480")
    page.locator("#field-camera-angle").fill("45")
    page.locator("#field-camera-lora-path").fill("b.safetensors")
    page.get_by_role("button", name="Track").click()
    page.get_by_label("Speed").fill("2")
    page.locator("#field-tree-name").fill("root")
    page.locator("#field-tree-children").fill('[{"name": "leaf"}]')
    page.get_by_label("Extra").fill("{")
    page.locator("#run").click()
    expect(page.locator("#field-extra-error")).to_contain_text("This is not JSON")
    page.get_by_label("Extra").fill('{"a": [1, null]}')
    assert axe(page) == []
    page.locator("#run").click()
    state(page, "Done in")
    expect(page.locator(".texts")).to_contain_text("everything")

    sent = answer(page, hosted)["json_input"]
    urls = {"image_url": sent.pop("image_url"), "mask": sent.pop("mask")["url"], "audio_url": sent.pop("audio_url")}
    for name, path in {"image_url": photos[0], "mask": photos[3], "audio_url": sound}.items():
        assert httpx.get(hosted.origin + httpx.URL(urls[name]).path, trust_env=False).content == path.read_bytes()
    assert len(sent.pop("image_urls")) == 2
    assert 0 <= sent.pop("seed") < 2**31
    assert sent == {
        "prompt": "everything",
        "title": "A title",
        "video_url": "https://example.com/clip.mp4",
        "mood": "wild",
        "style": "Line art",
        "guidance": 7.5,
        "upscale": True,
        "tiling": True,
        "outputs": ["image", "text"],
        "tags": ["one", "two"],
        "sizes": [3],
        "loras": [{"path": "a.safetensors"}],
        "image_size": {"width": 640, "height": 480},
        "camera": {"kind": "camera", "angle": 45, "lora": {"path": "b.safetensors"}},
        "motion": {"kind": "track", "speed": 2},
        "tree": {"name": "root", "children": [{"name": "leaf"}]},
        "extra": {"a": [1, None]},
    }

    # Back in the form as it was, and gone with one click.
    page.reload()
    state(page, "Done in")
    page.locator("#run").click()
    state(page, "Done in")
    assert answer(page, hosted)["json_input"]["camera"] == sent["camera"]
    page.get_by_role("button", name="Reset", exact=True).click()
    expect(page.get_by_label("Prompt").first).to_have_value("")
    expect(page.locator("#field-image_urls-file ~ .drop .tile")).to_have_count(0)


def test_arguments_outside_of_a_body_and_bodies_that_are_no_objects(open_page: Open, hosted: Hosted) -> None:
    page = open_page(hosted)
    page.get_by_label("Endpoint").select_option("/scale")
    page.locator("#run").click()
    expect(page.locator("#field-factor-error")).to_have_text("This field is required.")
    page.get_by_label("Factor").fill("2.5")
    page.locator("#run").click()
    expect(page.locator(".texts")).to_contain_text("2.5 times False")
    page.get_by_label("Endpoint").select_option("/ping")
    expect(page.get_by_text("This endpoint takes no input")).to_be_visible()
    page.locator("#run").click()
    expect(page.locator(".answer")).to_have_text("pong")
    page.get_by_label("Endpoint").select_option("/sum")
    for number in ("4", "5"):
        page.get_by_role("button", name="Add to").click()
        page.keyboard.type(number)
    page.locator("#run").click()
    expect(page.locator(".texts")).to_contain_text("9")
    page.reload()
    expect(page.locator("#endpoint-id")).to_have_text("demo/fields/sum")
    expect(page.locator("input[type=number]")).to_have_count(2)


def test_a_pasted_photo_and_one_dropped_beside_the_field(open_page: Open, hosted: Hosted, photos: list[Path]) -> None:
    page = open_page(hosted)
    drop(page, "#panel", photos[:1])
    expect(page.locator(".field-archive .tile")).to_have_count(1)
    page.evaluate(
        """data => {
            const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        base64.b64encode(photos[1].read_bytes()).decode(),
    )
    expect(page.locator(".field-archive .tile")).to_have_count(2)
    expect(page.locator(".field-archive .file-state")).to_contain_text("2 files")
