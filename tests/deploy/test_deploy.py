"""What `fal deploy photomaker` sends: taken by a controller of the tests' own, which runs nothing."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict

from photomaker.deployment import AppSettings

from .cloud import Cloud
from .project import BY_CLASS, ROOT, Project
from .sent import ARRIVES, Sent, arrived, layers, package, package_url

pytestmark = pytest.mark.slow

PINNED = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]

# Each with a value that is nobody's default.
EVERY_SETTING: dict[str, Any] = {
    "app_name": "portraits",
    "app_auth": "public",
    "machine_type": ["GPU-H200", "GPU-B200", "GPU-H100"],
    "num_gpus": 2,
    "regions": ["us-east", "eu-west"],
    "keep_alive": 31,
    "min_concurrency": 3,
    "max_concurrency": 7,
    "concurrency_buffer": 4,
    "scaling_delay": 11,
    "max_multiplexing": 5,
    "request_timeout": 601,
    "startup_timeout": 901,
    "termination_grace_period_seconds": 29,
    "secrets": ["HF_TOKEN", "OTHER"],
    "data_mounts": ["/data/models"],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def sent(cloud: Cloud, project: Project) -> Sent:
    """The project's first deploy, exactly as it is."""
    done = project.deploy(cloud.deployer())
    assert done.returncode == 0, done.stdout + done.stderr
    return cloud.controller.deployed[-1]


def test_every_app_setting_of_fal_toml_arrives(sent: Sent) -> None:
    settings = tomllib.loads((ROOT / "fal.toml").read_text())["app"]
    assert arrived(sent, settings) == settings


def test_every_app_setting_there_is_arrives(cloud: Cloud, project: Project, tmp_path: Path) -> None:
    assert set(EVERY_SETTING) == set(ARRIVES) == set(AppSettings.model_fields)
    other = tmp_path / "other.toml"
    pipelines = (project.folder / "fal.toml").read_text().partition("\n[pipelines")[1:]
    app = "\n".join(f"{key} = {value!r}" for key, value in EVERY_SETTING.items())
    other.write_text(f"[app]\n{app}\n{''.join(pipelines)}")
    done = project.deploy(cloud.deployer() | {"PHOTOMAKER_DEPLOYMENT": str(other)}, BY_CLASS)
    assert done.returncode == 0, done.stdout + done.stderr
    sent = cloud.controller.deployed[-1]
    assert arrived(sent, EVERY_SETTING) == EVERY_SETTING
    assert sent.scale


def test_a_redeploy_takes_the_files_scaling(sent: Sent) -> None:
    assert sent.scale


def test_requirements_are_the_pinned_ones(sent: Sent) -> None:
    dependencies, headless, own, serving = layers(sent)
    assert dependencies == PINNED
    assert [line.replace("-headless", "") for line in headless] == [line for line in PINNED if "opencv" in line]
    assert [line.partition(" @ ")[0] for line in own] == ["photomaker"]
    assert all("==" in line for line in dependencies)
    # fal's own layer, for its server; what it pins there must be what is pinned here.
    assert set(serving) >= {line for line in PINNED if line.startswith("pydantic==")}
    assert not any(line.startswith("fal=") for line in dependencies + serving)


def test_the_environment_is_built_from_the_same_requirements(cloud: Cloud, sent: Sent) -> None:
    assert cloud.controller.built[0].environments == sent.environments


def test_the_package_holds_every_file(cloud: Cloud, project: Project, sent: Sent) -> None:
    with cloud.client() as client:
        files = package(sent, client)
    source = project.folder / "src" / "photomaker"
    there = {
        path.relative_to(project.folder).as_posix(): path.read_bytes()
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name: data for name, data in files.items() if name.startswith("src/")} == there


def test_the_schema_is_the_local_one(project: Project, sent: Sent) -> None:
    metadata = MessageToDict(sent.metadata)
    assert metadata["openapi"] == project.schema()


def test_the_health_check_arrives_with_its_path(sent: Sent) -> None:
    """What the platform asks, how, and how often before it replaces a runner; an endpoint that the app has."""
    check = MessageToDict(sent.health_check_config)
    assert check == {"path": "/healthy", "method": "POST", "timeoutSeconds": 10, "failureThreshold": 3}
    assert "post" in MessageToDict(sent.metadata)["openapi"]["paths"][check["path"]]


def test_a_second_deploy_picks_up_edits(cloud: Cloud, project: Project, sent: Sent) -> None:
    project.edit("fal.toml", "keep_alive = 300 ", "keep_alive = 421 ")
    styles = project.folder / "src" / "photomaker" / "method" / "styles.py"
    styles.write_text(styles.read_text() + "\nEDITED = True\n")
    done = project.deploy(cloud.deployer())
    assert done.returncode == 0, done.stdout + done.stderr
    second = cloud.controller.deployed[-1]
    assert second.machine_requirements.keep_alive == 421
    assert package_url(second) != package_url(sent)
    with cloud.client() as client:
        assert package(second, client)["src/photomaker/method/styles.py"] == styles.read_bytes()


def test_a_mistake_is_reported_before_anything_is_sent(cloud: Cloud, project: Project, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text((ROOT / "fal.toml").read_text().replace("keep_alive", "keep_alife"))
    before = len(cloud.controller.built), len(cloud.controller.deployed)
    done = project.deploy(cloud.deployer() | {"PHOTOMAKER_DEPLOYMENT": str(wrong)})
    assert done.returncode != 0
    assert f"{wrong}: app.keep_alife: there is no such key" in done.stdout + done.stderr
    assert (len(cloud.controller.built), len(cloud.controller.deployed)) == before


def test_a_checkpoint_on_this_machine_alone_is_not_deployed(cloud: Cloud, project: Project) -> None:
    """The tests' own deployment: as good as any on this machine, but its checkpoint is not in the package."""
    local = ROOT / "tests" / "deployment.toml"
    before = len(cloud.controller.deployed)
    done = project.deploy(cloud.deployer() | {"PHOTOMAKER_DEPLOYMENT": str(local)}, BY_CLASS)
    assert done.returncode != 0
    for key, path in (("base", "golden/base"), ("adapter", "golden/photomaker-v1.bin")):
        said = f"{local}: pipelines.photomaker.{key}: {ROOT / 'tests' / path} is on this machine alone."
        assert said in done.stdout + done.stderr
    assert len(cloud.controller.deployed) == before
