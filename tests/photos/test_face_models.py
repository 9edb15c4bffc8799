"""InsightFace's pack comes to the shared disk whole or not at all; its own store is far away and stands aside."""

import hashlib
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from insightface.utils import storage

from photomaker.deployment import Deployment
from photomaker.photos.face_models import face_models
from photomaker.weights.checkpoints import CheckpointError

HERE = Path(__file__).parents[1]


@pytest.fixture
def deployment(tmp_path: Path) -> Deployment:
    settings = Deployment.read(HERE / "deployment.toml")
    return settings.model_copy(update={"cache_dir": str(tmp_path), "face_root": None, "face_pack": "pack"})


def from_store(monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]) -> list[str]:
    """Answer InsightFace's downloads with what ``write`` writes; the addresses asked for."""
    asked: list[str] = []

    def download_file(url: str, path: str, overwrite: bool) -> None:
        asked.append(url)
        write(Path(path))

    monkeypatch.setattr(storage, "download_file", download_file)
    return asked


def whole(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (("det.onnx", b"detector"), ("rec.onnx", b"recogniser")):
            archive.writestr(zipfile.ZipInfo(name), content)  # the same bytes whenever it is written


def cut_off(path: Path) -> None:
    whole(path)
    path.write_bytes(path.read_bytes()[:-30])


def damaged(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rec.onnx", b"recogniser" * 1000)
    content = bytearray(path.read_bytes())
    content[38:44] = b"\xff" * 6  # of the deflated bytes: no stream begins so
    path.write_bytes(content)


def in_a_folder(path: Path) -> None:
    """As antelopev2 is packed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("pack/", b"")
        archive.writestr("pack/det.onnx", b"detector")


def unreachable(path: Path) -> None:
    raise RuntimeError("Failed downloading")


def full(path: Path) -> None:
    raise OSError(28, "No space left on device")


def test_a_pack_is_downloaded_once(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = from_store(monkeypatch, whole)
    for _ in range(2):
        models = face_models(deployment) / "models" / "pack"
        assert {path.name for path in models.iterdir()} == {"det.onnx", "rec.onnx"}
    assert len(asked) == 1


def test_a_pack_whose_models_are_in_a_folder_of_its_zip(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_store(monkeypatch, in_a_folder)
    models = face_models(deployment) / "models" / "pack"
    assert [path.name for path in models.iterdir()] == ["det.onnx"]


def test_a_pinned_pack(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from_store(monkeypatch, whole)
    face_models(deployment)
    whole(tmp_path / "pack.zip")
    right = hashlib.sha256((tmp_path / "pack.zip").read_bytes()).hexdigest()
    wrong = deployment.model_copy(update={"face_pack_sha256": "0" * 64})
    with pytest.raises(CheckpointError, match=rf"{right}.*{'0' * 64}.*face_pack_sha256"):
        face_models(wrong)  # although a pack of that name is there
    assert not list(tmp_path.glob(f"faces/{'0' * 64}/**/*.onnx"))
    pinned = deployment.model_copy(update={"face_pack_sha256": right})
    assert (face_models(pinned) / "models" / "pack" / "rec.onnx").read_bytes() == b"recogniser"


@pytest.mark.parametrize("write", [cut_off, damaged, unreachable, full])
def test_what_went_wrong_is_said_and_leaves_nothing_behind(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    from_store(monkeypatch, write)
    with pytest.raises(CheckpointError, match="face models pack"):
        face_models(deployment)
    from_store(monkeypatch, whole)
    assert (face_models(deployment) / "models" / "pack" / "rec.onnx").read_bytes() == b"recogniser"


def test_a_killed_runners_unfinished_download_is_not_taken_for_the_pack(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "faces" / ".unfinished-x" / "models" / "pack"
    left.mkdir(parents=True)
    (left / "det.onnx").write_bytes(b"det")
    from_store(monkeypatch, whole)
    assert (face_models(deployment) / "models" / "pack" / "det.onnx").read_bytes() == b"detector"
    assert left.exists()  # another runner's, on a disk without locks


def test_what_killed_downloads_left_is_deleted_after_a_day(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "faces" / ".unfinished-x"
    (left / "models" / "pack").mkdir(parents=True)
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    from_store(monkeypatch, whole)
    face_models(deployment)
    assert not left.exists()


def test_a_folder_of_ones_own_is_taken_as_it_is(deployment: Deployment, tmp_path: Path) -> None:
    own = deployment.model_copy(update={"face_root": str(tmp_path / "own")})
    with pytest.raises(CheckpointError, match="no folder models/pack"):
        face_models(own)
    (tmp_path / "own" / "models" / "pack").mkdir(parents=True)
    assert face_models(own) == tmp_path / "own"
