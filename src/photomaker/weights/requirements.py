"""What a GPU asks of the machine besides Python packages: a driver, and for compiled networks a C compiler."""

import os
import shutil
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch

from photomaker.deployment import Deployment, DeploymentError

DRIVERS = {"12": "525", "13": "580"}  # the oldest that runs a major version of CUDA
COMPILERS = ("cc", "gcc", "clang")  # what Triton looks for

Log = Callable[[str], None]


def device_of(deployment: Deployment) -> torch.device:
    """The device that a deployment means on this machine.

    Raises:
        DeploymentError: It means a GPU, and there is none that this PyTorch can use.
    """
    if deployment.device == "cpu" or (deployment.device == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeploymentError(f'device = "cuda": {reason()}')
    return torch.device("cuda")


def reason() -> str:
    """Why there is no GPU to be had, in a sentence."""
    version = torch.version.cuda
    if version is None:
        return f"this PyTorch ({torch.__version__}) was built without CUDA; install the one that PyPI has."
    driver = DRIVERS.get(version.split(".")[0], "a recent one")
    return (
        f"PyTorch {torch.__version__} finds no NVIDIA GPU that it can use: for CUDA {version} the driver must be "
        f"{driver} or later (`nvidia-smi` names yours), and a container must have been given the GPU."
    )


def check_compiler(deployment: Deployment, log: Log) -> None:
    """Say so where compiled networks will not find what their kernels' launchers are built with."""
    settings = deployment.inference
    if settings.compile == "off" and not settings.compile_vae:
        return
    named = os.environ.get("CC")
    found = shutil.which(named) if named else next(filter(None, map(shutil.which, COMPILERS)), None)
    header = Path(sysconfig.get_path("include")) / "Python.h"
    lacking = [*([] if found else ["a C compiler"]), *([] if header.exists() else [f"{header}"])]
    if lacking:
        log(
            f"compiled networks need {' and '.join(lacking)} (Debian: gcc and python3-dev); "
            'without them a start fails unless compile = "off" and compile_vae = false'
        )
