"""Both clients' ``stream`` on /studio/stream of the real app, through the local platform."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import fal_client
import pytest
from serving import APP_ID, PATIENCE, Served, eventually

from tests.archives import data_uri, photos

ROOT = Path(__file__).parents[2]
BODY = {
    "image_urls": [data_uri(photos())],
    "prompt": "portrait photo of a man img",
    "num_inference_steps": 12,
    "seed": 7,
    "sync_mode": True,
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTOMAKER_DEPLOYMENT", str(ROOT / "tests" / "deployment.toml"))
        platform = Served(
            tmp_path_factory.mktemp("studio") / "state", apps={APP_ID: f"{ROOT / 'photomaker_app.py'}::PhotoMaker"}
        )
    yield platform
    platform.stop()


@pytest.fixture
def client(platform: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[fal_client.SyncClient]:
    for name, value in platform.environment().items():
        monkeypatch.setenv(name, value)
    client = fal_client.SyncClient(key="id:secret")
    yield client
    client._client.close()


def test_python(client: fal_client.SyncClient) -> None:
    *underway, answer = client.stream(f"{APP_ID}/studio", BODY)
    assert [event["step"] for event in underway if not event["previews"]] == list(range(1, 13))
    assert [event["step"] for event in underway if event["previews"]] == [5, 10]
    whole = client.run(APP_ID, BODY, path="/studio")
    assert answer["images"][0]["url"] == whole["images"][0]["url"]
    assert answer["seed"] == 7


def test_javascript(platform: Served, node_folder: Path) -> None:
    shutil.copy(Path(__file__).parent / "node" / "studio.mjs", node_folder)
    (node_folder / "photos.zip").write_bytes(photos())
    done = subprocess.run(
        ["node", "studio.mjs", "photos.zip"],
        cwd=node_folder,
        env=platform.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_caller_who_leaves_ends_the_work(client: fal_client.SyncClient, platform: Served) -> None:
    output = platform.state / "serve.out"
    events = client.stream(f"{APP_ID}/studio", BODY | {"num_inference_steps": 100, "num_images": 4})
    assert next(events)["step"] == 1
    events.close()
    client.run(APP_ID, BODY | {"num_inference_steps": 1}, path="/studio")  # the runner is free again
    eventually(lambda: "step 1/1\n" in output.read_text().replace("\r", ""))
    assert "step 100/100" not in output.read_text()
