"""A start on a machine that lacks what a GPU needs says so in a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch

from photomaker.deployment import Deployment, DeploymentError
from photomaker.weights.prepared import open_pipelines
from photomaker.weights.requirements import device_of
from tests.gpu.device import stand_in

GOLDEN = Path(__file__).parents[1] / "golden"


def deployment(device: str, **changed: Any) -> Deployment:
    pipeline = {"base": str(GOLDEN / "base"), "adapter": str(GOLDEN / "photomaker-v1.bin")}
    return Deployment.model_validate(
        {"device": device, "dtype": "float32", "pipelines": {"photomaker": pipeline}, **changed}
    )


@pytest.mark.parametrize(
    ("built_for", "hint"), [(None, "built without CUDA"), ("13.0", "580 or later"), ("12.8", "525 or later")]
)
def test_no_gpu(built_for: str | None, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeploymentError, match=hint):
        open_pipelines(deployment("cuda"), log=lambda _: None)
    assert device_of(deployment("auto")).type == "cpu"


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    said: dict[str, list[str]] = {}
    for compile_vae in (True, False):
        lines = said[str(compile_vae)] = []
        settings = deployment("auto", cache_dir=str(tmp_path), inference={"compile_vae": compile_vae})
        with stand_in():
            open_pipelines(settings, log=lines.append)
    assert [line for line in said["True"] if "a C compiler" in line and "gcc" in line]
    assert not [line for line in said["False"] if "compiler" in line]
