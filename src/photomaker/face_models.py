"""Where InsightFace's models are: the deployment's own folder, or a pack downloaded once to the disk runners share."""

import contextlib
import io
import tempfile
from pathlib import Path
from zipfile import BadZipFile

from filelock import FileLock

from photomaker.checkpoints import CheckpointError
from photomaker.deployment import Deployment
from photomaker.prepared import cache_root


def face_models(deployment: Deployment) -> Path:
    """The folder that has ``models/NAME`` of the deployment's pack; downloaded if need be, by one runner.

    InsightFace takes any folder of that name for the whole pack, so the name is given to what is complete.

    Raises:
        CheckpointError: The pack is not in the deployment's own folder, or cannot be downloaded or written.
    """
    if deployment.face_root is not None:
        own = Path(deployment.face_root)
        if not (own / "models" / deployment.face_pack).is_dir():
            raise CheckpointError(
                f"{own}: there is no folder models/{deployment.face_pack} in it (face_root, face_pack)"
            )
        return own
    store = cache_root(deployment) / "faces"
    models = store / "models" / deployment.face_pack
    try:
        models.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(store / ".lock"):
            if not models.is_dir():
                download(deployment.face_pack, models)
    except (OSError, RuntimeError, BadZipFile) as error:
        raise CheckpointError(f"the face models {deployment.face_pack} cannot be had: {error}") from error
    return store


def download(pack: str, models: Path) -> None:
    """A pack from InsightFace's own store."""
    from insightface.utils.storage import ensure_available

    with tempfile.TemporaryDirectory(dir=models.parent.parent, prefix=".unfinished-") as folder:
        with contextlib.redirect_stdout(io.StringIO()):  # its notices would be lines of the callers' logs
            ensure_available("models", pack, root=folder)
        (Path(folder) / "models" / pack).rename(models)
