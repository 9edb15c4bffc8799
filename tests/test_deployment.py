"""Deployment files: what they may say, and what their owner is told about a mistake."""

import re
import shutil
from pathlib import Path

import pytest

from photomaker.deployment import (
    SCHEDULERS,
    AppSettings,
    Deployment,
    DeploymentError,
    chosen_path,
    on_disk,
    package_folder,
)

ROOT = Path(__file__).parents[1]
TINY = ROOT / "tests" / "golden"
GOOD = f"""
device = "cpu"
[app]
keep_alive = 60
[pipelines.photomaker]
base = "{TINY / "base"}"
adapter = "{TINY / "photomaker-v1.bin"}"
scheduler = "euler"
loras = [{{ path = "{TINY / "photomaker-v2.bin"}", weight = 0.5 }}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "fal.toml"


def mistake(file: Path, text: str) -> str:
    """What is said about a file with this text."""
    file.write_text(text)
    with pytest.raises(DeploymentError) as raised:
        Deployment.read(file)
    return str(raised.value)


def test_the_files_of_the_project_are_right() -> None:
    served = Deployment.read(ROOT / "fal.toml")
    assert set(served.pipelines) == {"photomaker", "photomaker-style"}
    assert served.device == "cuda"
    assert Deployment.read(ROOT / "tests" / "deployment.toml").device == "cpu"


def test_fal_toml_shows_every_setting_of_the_app(file: Path) -> None:
    """Set, or as a comment to take the mark off."""
    before, table, rest = (ROOT / "fal.toml").read_text().partition("[app]")
    settings, inference, rest = rest.partition("[inference]")
    settings = re.sub(r"^# (?=\w+ = )", "", settings, flags=re.MULTILINE)
    file.write_text(before + table + settings + inference + rest)
    assert Deployment.read(file).app.model_fields_set == set(AppSettings.model_fields)


def test_face_models_are_found_from_the_file_s_own_folder(file: Path) -> None:
    (file.parent / "faces").mkdir()
    file.write_text(f'face_root = "faces"\n{GOOD}')
    assert Deployment.read(file).face_root == str(file.parent / "faces")


def test_face_models_are_never_looked_for_on_the_hub(file: Path) -> None:
    message = mistake(file, f'face_root = "owner/faces"\n{GOOD}')
    assert message == f"{file}: face_root: there is no {file.parent / 'owner' / 'faces'}"


def test_what_is_left_out_has_a_default(file: Path) -> None:
    file.write_text(GOOD)
    deployment = Deployment.read(file)
    assert (deployment.height, deployment.faces, deployment.safety) == (1024, "crop", "check")
    assert deployment.app.keep_alive == 60
    assert deployment.app.max_multiplexing == 1


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        pytest.param('device = "cpu"', 'devise = "cpu"', "devise: there is no such key", id="unknown key"),
        pytest.param("keep_alive", "keep_alife", "app.keep_alife: there is no such key", id="unknown key of a table"),
        pytest.param("[app]", "[application]", "application: there is no such key", id="unknown table"),
        pytest.param(
            "weight = 0.5",
            "wait = 0.5",
            "pipelines.photomaker.loras.0.wait: there is no such key",
            id="unknown in list",
        ),
        pytest.param(
            "keep_alive = 60", 'keep_alive = "long"', "app.keep_alive: Input should be a valid integer", id="wrong type"
        ),
        pytest.param("keep_alive = 60", "keep_alive = -1", "app.keep_alive: Input should be greater", id="range"),
        pytest.param(
            "keep_alive = 60",
            "app_auth = 'open'",
            "app.app_auth: Input should be 'private', 'public'",
            id="choice",
        ),
        pytest.param('device = "cpu"', 'device = "tpu"', "device: Input should be 'auto', 'cuda'", id="no such device"),
        pytest.param('device = "cpu"', 'face_root = "nowhere"', "face_root: there is no /", id="no face models"),
        pytest.param('device = "cpu"', "face_pack_sha256 = '12'", "face_pack_sha256: String should", id="no sha256"),
        pytest.param(
            'device = "cpu"',
            f"face_root = '{ROOT}'\nface_pack_sha256 = '{'0' * 64}'",
            "face_pack_sha256: it pins the zip",
            id="pin of nothing",
        ),
        pytest.param('device = "cpu"', "height = 1020", "height: Input should be a multiple of 8", id="no such size"),
        pytest.param('"euler"', '"euler"\nguidance_stop = 50', "pipelines.photomaker.guidance_stop: Input", id="part"),
        pytest.param("weight = 0.5", "weight = 9", "pipelines.photomaker.loras.0.weight: Input should", id="weight"),
        pytest.param(
            "pipelines.photomaker]",
            "pipelines.other]",
            "pipelines.other: Input should be 'photomaker'",
            id="pipeline",
        ),
        pytest.param(str(TINY / "base"), "", "pipelines.photomaker.base: String should have", id="empty base"),
        pytest.param(str(TINY / "base"), "package:bass", "pipelines.photomaker.base: there is no ", id="package"),
        pytest.param("golden/base", "golden/bass", "pipelines.photomaker.base: there is no ", id="no base"),
        pytest.param("photomaker-v1", "photomaker-v9", "pipelines.photomaker.adapter: there is no ", id="no adapter"),
        pytest.param("photomaker-v2", "other", "pipelines.photomaker.loras.0.path: there is no ", id="no LoRA"),
    ],
)
def test_a_mistake_is_named_with_file_and_key(file: Path, right: str, wrong: str, said: str) -> None:
    assert GOOD.count(right) == 1
    message = mistake(file, GOOD.replace(right, wrong))
    assert message.startswith(f"{file}: {said}")
    assert "\n" not in message


def test_an_unknown_scheduler_is_told_which_there_are(file: Path) -> None:
    message = mistake(file, GOOD.replace('"euler"', '"oiler"'))
    assert message.startswith(f"{file}: pipelines.photomaker.scheduler: ")
    assert "'oiler'" in message
    assert all(scheduler in message for scheduler in SCHEDULERS)


def test_no_pipeline_is_a_mistake(file: Path) -> None:
    assert mistake(file, 'device = "cpu"') == f"{file}: pipelines: Field required"


def test_every_mistake_is_named_at_once(file: Path) -> None:
    lines = mistake(file, GOOD.replace("keep_alive", "keep_alife").replace('"cpu"', '"tpu"')).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["app.keep_alife", "device"]


def test_broken_toml_is_told_with_its_line(file: Path) -> None:
    message = mistake(file, "device = \n")
    assert message.startswith(f"{file}: not a TOML file: ")
    assert "line 1" in message


def test_a_file_that_is_no_text_is_no_toml(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(DeploymentError, match="not a TOML file"):
        Deployment.read(file)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.toml", tmp_path):
        with pytest.raises(DeploymentError, match="cannot be read") as raised:
            Deployment.read(path)
        assert str(path) in str(raised.value)


def test_paths_are_seen_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(TINY / "base", tmp_path / "models" / "base")
    shutil.copy(TINY / "photomaker-v1.bin", tmp_path / "models")
    file = tmp_path / "fal.toml"
    file.write_text('[pipelines.photomaker]\nbase = "models/base"\nadapter = "models/photomaker-v1.bin"\n')
    monkeypatch.chdir("/")
    pipeline = Deployment.read(file).pipelines["photomaker"]
    assert (pipeline.base, pipeline.adapter) == (
        str(tmp_path / "models" / "base"),
        str(tmp_path / "models" / "photomaker-v1.bin"),
    )
    # A name of this form could be the hub's, were its folder not here.
    message = mistake(file, file.read_text().replace("models/base", "models/bass"))
    assert message.startswith(f"{file}: pipelines.photomaker.base: there is no {tmp_path / 'models' / 'bass'}")


@pytest.mark.parametrize(
    ("base", "adapter"),
    [
        ("SG161222/RealVisXL_V4.0", "TencentARC/PhotoMaker/photomaker-v1.bin"),
        ("owner/repository/folder/model.safetensors", "owner/repository/folder/adapter.bin"),
        ("/data/models/base", "/data/models/adapter.bin"),
        ("package:nano", "package:schema.py"),
    ],
    ids=["hub", "hub's files", "runners' disk", "package"],
)
def test_what_only_the_runner_finds_is_left_as_it_is(file: Path, base: str, adapter: str) -> None:
    file.write_text(f'[pipelines.photomaker]\nbase = "{base}"\nadapter = "{adapter}"\n')
    pipeline = Deployment.read(file).pipelines["photomaker"]
    assert (pipeline.base, pipeline.adapter) == (base, adapter)


def test_a_path_inside_the_package_is_found_wherever_that_is_installed(file: Path) -> None:
    inside = package_folder() / "schema.py"
    file.write_text(GOOD.replace(str(TINY / "photomaker-v1.bin"), str(inside)))
    source = Deployment.read(file).pipelines["photomaker"].adapter
    assert source == "package:schema.py"
    assert Path(on_disk(source)) == inside
    assert on_disk("owner/repository") == "owner/repository"


def test_what_travels_is_plain_data_and_comes_back_the_same(file: Path) -> None:
    file.write_text(GOOD)
    deployment = Deployment.read(file)
    assert Deployment.model_validate(deployment.model_dump()) == deployment


def test_app_attributes_are_fals(file: Path) -> None:
    file.write_text(GOOD.replace("keep_alive = 60", 'machine_type = ["GPU-H100", "GPU-A100"]\nregions = ["us-east"]'))
    attributes = Deployment.read(file).app.attributes()
    assert attributes["machine_type"] == ["GPU-H100", "GPU-A100"]
    assert attributes["regions"] == ["us-east"]
    assert "secrets" not in attributes


def test_allowed_hosts_are_the_files_and_the_environments(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('allow_hosts = ["files.internal"]\n' + GOOD)
    deployment = Deployment.read(file)
    for variable in ("PHOTOMAKER_ALLOW_HOSTS", "LOCALFAL_FILES"):
        monkeypatch.delenv(variable, raising=False)
    assert deployment.allowed_hosts() == {"files.internal"}
    monkeypatch.setenv("PHOTOMAKER_ALLOW_HOSTS", "10.0.0.7:9000, other.internal,")
    monkeypatch.setenv("LOCALFAL_FILES", "http://127.0.0.1:8480")
    assert deployment.allowed_hosts() == {"files.internal", "10.0.0.7:9000", "other.internal", "127.0.0.1:8480"}


def test_the_environment_variable_chooses_another_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTOMAKER_DEPLOYMENT", str(file))
    assert chosen_path(default=ROOT / "fal.toml") == file
    monkeypatch.setenv("PHOTOMAKER_DEPLOYMENT", "")
    assert chosen_path(default=ROOT / "fal.toml") == ROOT / "fal.toml"
    monkeypatch.delenv("PHOTOMAKER_DEPLOYMENT")
    assert chosen_path(default=ROOT / "fal.toml") == ROOT / "fal.toml"
