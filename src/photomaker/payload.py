"""A deployment on its way to fal."""

from pathlib import Path
from typing import Any

from photomaker.deployment import RUNNERS_DISK, Deployment, DeploymentError, on_runner


class DeployPayload(dict[str, Any]):
    """A deployment as plain data, that does not leave for a runner which could not find its checkpoints.

    Code on this machine reads it like any dictionary. Only what is sent to fal is pickled; it arrives as a dictionary.

    Args:
        deployment: What to send.
        path: Of its file, for the error.
    """

    def __init__(self, deployment: Deployment, path: str | Path) -> None:
        super().__init__(deployment.model_dump())
        self.mistakes = [
            f"{path}: {key}: {source} is on this machine alone. A deploy sends what is inside src/photomaker; "
            f"anything else must be on the hub, or on the runners' disk ({RUNNERS_DISK}/...)"
            for key, source in only_here(deployment).items()
        ]

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        """What is pickled.

        Raises:
            DeploymentError: A checkpoint is where no runner finds it.
        """
        if self.mistakes:
            raise DeploymentError("\n".join(self.mistakes))
        return dict, (dict(self),)


def only_here(deployment: Deployment) -> dict[str, str]:
    """Keys and paths of checkpoints that a deploy does not send, and no runner has."""
    named: dict[str, str | None] = {}
    for name, pipeline in deployment.pipelines.items():
        at = f"pipelines.{name}"
        named |= {f"{at}.base": pipeline.base, f"{at}.adapter": pipeline.adapter, f"{at}.config": pipeline.config}
        named |= {f"{at}.loras.{number}.path": lora.path for number, lora in enumerate(pipeline.loras)}
    named["face_root"] = deployment.face_root
    return {key: path for key, path in named.items() if path and Path(path).is_absolute() and not on_runner(path)}
