"""Where InsightFace's models are: the deployment's own folder, or a pack downloaded once to the disk runners share."""

import contextlib
import hashlib
import io
import shutil
import struct
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

from photomaker.deployment import Deployment, on_disk
from photomaker.weights.checkpoints import CheckpointError
from photomaker.weights.locks import exclusive
from photomaker.weights.partial_downloads import ABANDONED
from photomaker.weights.prepared import cache_root

UNFINISHED = ".unfinished-"
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error)


def face_models(deployment: Deployment) -> Path:
    """The folder that has ``models/NAME`` of the deployment's pack; downloaded if need be, by one runner.

    InsightFace takes any folder of that name for the whole pack, so the name is given to what is complete.

    Raises:
        CheckpointError: The pack is not in the deployment's own folder, cannot be downloaded or written, or is
            not the pinned one.
    """
    if deployment.face_root is not None:
        own = Path(on_disk(deployment.face_root))
        if not (own / "models" / deployment.face_pack).is_dir():
            raise CheckpointError(
                f"{own}: there is no folder models/{deployment.face_pack} in it (face_root, face_pack)"
            )
        return own
    # A pinned pack has a place of its own, where nothing else was ever put.
    store = cache_root(deployment) / "faces" / (deployment.face_pack_sha256 or "")
    models = store / "models" / deployment.face_pack
    try:
        models.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(store / ".lock"):
            if not models.is_dir():
                clear(store)
                download(deployment.face_pack, models, deployment.face_pack_sha256)
    except ZIP_DAMAGE as error:
        raise CheckpointError(f"the face models {deployment.face_pack} cannot be had: {error}") from error
    return store


def download(pack: str, models: Path, sha256: str | None) -> None:
    """A pack from InsightFace's own store, which is a zip there."""
    from insightface.utils.storage import ensure_available

    with tempfile.TemporaryDirectory(dir=models.parent.parent, prefix=UNFINISHED) as folder:
        with contextlib.redirect_stdout(io.StringIO()):  # its notices would be lines of the callers' logs
            ensure_available("models", pack, root=folder)
        with (Path(folder) / "models" / f"{pack}.zip").open("rb") as archive:
            found = hashlib.file_digest(archive, "sha256").hexdigest()
        if sha256 not in (None, found):
            raise CheckpointError(f"the face models {pack}: sha256 is {found}, not {sha256} (face_pack_sha256)")
        content(Path(folder) / "models" / pack).rename(models)


def content(pack: Path) -> Path:
    """Where a zip's models are: some zips, antelopev2's among them, hold one folder with all of them."""
    inside = list(pack.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else pack


def clear(store: Path) -> None:
    """Delete what downloads left behind that were killed a day ago or longer."""
    for left in store.glob(f"{UNFINISHED}*"):
        if left.stat().st_mtime < time.time() - ABANDONED:
            shutil.rmtree(left, ignore_errors=True)
