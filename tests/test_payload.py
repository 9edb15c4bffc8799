"""What may leave for a runner, and what its owner is told about the rest."""

import pickle
import shutil
from pathlib import Path

import pytest

from photomaker.deployment import Deployment, DeploymentError, package_folder
from photomaker.payload import DeployPayload

GOLDEN = Path(__file__).parent / "golden"
SENT = f"""
face_root = "/data/faces"
[pipelines.photomaker]
base = "owner/repository"
adapter = "/data/adapter.bin"
config = "owner/config"
loras = [{{ path = "owner/repository/lora.safetensors" }}]
[pipelines.photomaker-style]
base = "{package_folder() / "nano" / "base"}"
adapter = "{package_folder() / "nano" / "photomaker-v1.safetensors"}"
"""


def payload(folder: Path, text: str) -> DeployPayload:
    file = folder / "fal.toml"
    file.write_text(text)
    return DeployPayload(Deployment.read(file), file)


def test_what_a_runner_finds_arrives_as_plain_data(tmp_path: Path) -> None:
    sent = payload(tmp_path, SENT)
    arrived = pickle.loads(pickle.dumps(sent))
    assert type(arrived) is dict
    assert Deployment.model_validate(arrived) == Deployment.read(tmp_path / "fal.toml")


@pytest.mark.parametrize(
    ("key", "there", "here"),
    [
        ("pipelines.photomaker.base", '"owner/repository"', f'"{GOLDEN / "base"}"'),
        ("pipelines.photomaker.adapter", '"/data/adapter.bin"', f'"{GOLDEN / "photomaker-v1.bin"}"'),
        ("pipelines.photomaker.config", '"owner/config"', f'"{GOLDEN / "base"}"'),
        (
            "pipelines.photomaker.loras.0.path",
            '"owner/repository/lora.safetensors"',
            f'"{GOLDEN / "photomaker-v2.bin"}"',
        ),
        ("face_root", '"/data/faces"', f'"{GOLDEN}"'),
    ],
)
def test_a_path_of_this_machine_does_not_leave_it(tmp_path: Path, key: str, there: str, here: str) -> None:
    stays = payload(tmp_path, SENT.replace(there, here))
    path = here.strip('"')
    with pytest.raises(DeploymentError) as raised:
        pickle.dumps(stays)
    assert str(raised.value).startswith(f"{tmp_path / 'fal.toml'}: {key}: {path} is on this machine alone.")
    assert "\n" not in str(raised.value)
    assert Deployment.model_validate(stays) == Deployment.read(tmp_path / "fal.toml")  # it serves here


def test_relative_paths_are_no_way_around(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "base", tmp_path / "models" / "base")
    (tmp_path / "faces").mkdir()
    relative = SENT.replace('owner/repository"', 'models/base"').replace("/data/faces", "faces")
    with pytest.raises(DeploymentError) as raised:
        pickle.dumps(payload(tmp_path, relative))
    assert [line.split(": ")[1] for line in str(raised.value).splitlines()] == [
        "pipelines.photomaker.base",
        "face_root",
    ]
