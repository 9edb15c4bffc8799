"""A deployed app on its runner: the environment built from what was sent, and the pickled app run in it."""

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image

from .cloud import Cloud
from .documented import DOCUMENTED
from .project import BY_CLASS, ROOT, Project
from .runner import Runner
from .sent import layers

pytestmark = pytest.mark.slow

LISTING = """
import json
from importlib.metadata import distributions
from importlib.resources import files
from pathlib import Path
root = Path(str(files("photomaker")))
print(json.dumps({
    "installed": {found.metadata["Name"]: found.version for found in distributions()},
    "files": [path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()],
}))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


def deployed(cloud: Cloud, project: Project, deployment: Path) -> Runner:
    done = project.deploy(cloud.deployer() | {"PHOTOMAKER_DEPLOYMENT": str(deployment)}, BY_CLASS)
    assert done.returncode == 0, done.stdout + done.stderr
    (runner,) = cloud.runners
    runner.ready()
    return runner


@pytest.fixture(scope="module")
def runner(running_cloud: Cloud, project: Project) -> Runner:
    """The tiny checkpoint's deployment, put where a deploy sends it from, and ready for requests."""
    package = project.folder / "src" / "photomaker"
    shutil.copytree(ROOT / "tests" / "golden", package / "golden")
    return deployed(running_cloud, project, Path(shutil.copy(ROOT / "tests" / "deployment.toml", package)))


@pytest.fixture(scope="module")
def client(running_cloud: Cloud) -> Iterator[httpx.Client]:
    with running_cloud.client() as client:
        yield client


@pytest.fixture(scope="module")
def archive_url(running_cloud: Cloud) -> str:
    """Photos in the storage, as a caller's client uploads them."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as photos:
        for photo in sorted((ROOT / "tests" / "golden" / "photos").iterdir()):
            photos.write(photo, photo.name)
    return running_cloud.upload("photos.zip", archive.getvalue())


def test_the_environment_is_what_was_sent(running_cloud: Cloud, project: Project, runner: Runner) -> None:
    listed = json.loads(runner.python(LISTING))
    installed = {name.lower().replace("_", "-"): version for name, version in listed["installed"].items()}
    for pin in layers(running_cloud.controller.deployed[-1])[0]:
        name, _, version = pin.partition("==")
        assert installed[name].partition("+")[0] == version  # a local build of torch says so after a plus sign
    assert not {"fal", "localfal", "pytest"} & installed.keys()
    source = project.folder / "src" / "photomaker"
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert {name for name in listed["files"] if "__pycache__" not in name} == {
        name for name in there if "__pycache__" not in name
    }


def test_opencv_asks_the_machine_for_no_windows(runner: Runner) -> None:
    folder = Path(runner.python("import cv2; print(cv2.__file__)")).parent
    needed = subprocess.run(["ldd", folder / "cv2.abi3.so"], check=True, capture_output=True, text=True).stdout
    assert "libc.so" in needed
    assert "libGL" not in needed


def test_the_schema_is_the_local_one(project: Project, runner: Runner, client: httpx.Client) -> None:
    assert client.get(f"{runner.url}/openapi.json").json() == project.schema()


def test_the_documented_request_is_answered(runner: Runner, client: httpx.Client, archive_url: str) -> None:
    answer = client.post(runner.url, json={**DOCUMENTED, "image_archive_url": archive_url})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-fal-billable-units"] == "1"
    assert answer.json()["seed"] == DOCUMENTED["seed"]
    (described,) = answer.json()["images"]
    uploaded = client.get(described["url"])
    assert uploaded.headers["content-type"] == described["content_type"] == "image/png"
    assert len(uploaded.content) == described["file_size"]
    with Image.open(io.BytesIO(uploaded.content)) as picture:
        picture.load()
        assert picture.size == (described["width"], described["height"]) == (64, 64)


def test_the_other_endpoints_are_there(runner: Runner, client: httpx.Client, archive_url: str) -> None:
    """Their schemas and what they stand on came along."""
    body = {"prompt": DOCUMENTED["prompt"], "image_urls": [archive_url], "seed": 7, "num_inference_steps": 2}
    report = client.post(f"{runner.url}/inspect", json=body)
    assert (report.json()["ok"], report.headers["x-fal-billable-units"]) == (True, "0"), report.text
    studio = client.post(f"{runner.url}/studio", json={**body, "output_format": "webp"})
    assert studio.headers["x-fal-billable-units"] == "1", studio.text
    (described,) = studio.json()["images"]
    assert client.get(described["url"]).headers["content-type"] == described["content_type"] == "image/webp"
    with client.stream("POST", f"{runner.url}/studio/stream", json=body) as stream:
        *_, last = (line.removeprefix("data: ") for line in stream.iter_lines() if line.startswith("data: "))
    assert json.loads(last)["seed"] == 7
    assert client.post(f"{runner.url}/healthy").json() == {"healthy": True}
    assert client.post(f"{runner.url}/studio/cancel").json() == {"cancelled": False}


def test_a_bad_request_is_told_so(runner: Runner, client: httpx.Client, archive_url: str) -> None:
    answer = client.post(runner.url, json={"image_archive_url": archive_url, "prompt": "photo of nobody"})
    assert answer.status_code == 422
    assert answer.headers["x-fal-billable-units"] == "0"
    (detail,) = answer.json()["detail"]
    assert detail["loc"] == ["body", "prompt"]
    assert detail["type"] == "value_error"


def test_a_second_deploy_runs_the_edited_project(
    running_cloud: Cloud, project: Project, runner: Runner, client: httpx.Client, archive_url: str
) -> None:
    """Edits of installed code and of code that travels by value; the checkpoint that the package carries."""
    project.edit(
        "src/photomaker/method/prompts.py", "The prompt has no trigger word", "The edited prompt has no trigger word"
    )
    project.edit("src/photomaker/schema.py", "Optional initial image for img2img", "An edited description")
    project.edit("src/photomaker/studio_schema.py", "What the pictures should not show.", "What they should not show.")
    deployment = project.folder / "src" / "photomaker" / "nano" / "fal.toml"
    edited = deployed(running_cloud, project, deployment)
    assert edited is not runner
    assert any("Application shutdown complete" in line for line in runner.lines)
    assert client.get(f"{edited.url}/openapi.json").json() == project.schema()
    served = client.get(f"{edited.url}/openapi.json").text
    assert "An edited description" in served
    assert "What they should not show." in served
    answer = client.post(edited.url, json={"image_archive_url": archive_url, "prompt": "photo of nobody"})
    assert answer.json()["detail"][0]["msg"].startswith("The edited prompt")
    answer = client.post(edited.url, json={**DOCUMENTED, "image_archive_url": archive_url})
    assert answer.status_code == 200, answer.text
