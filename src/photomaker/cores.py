"""The processor cores this process may use: not the machine's, but those its container and affinity leave it."""

import math
import os
from pathlib import Path

# OpenMP's threads spin while they wait for each other: beside other work, 20 s a picture that takes 1 s otherwise.
WAIT_QUIETLY = {"OMP_WAIT_POLICY": "PASSIVE"}  # read once, when PyTorch is imported
CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """At least 1: the cores of the process's affinity, fewer where the cgroup's quota is below them.

    Args:
        cgroup: Where the control groups are mounted; version 2 and version 1 are read.
    """
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affine, _quota(cgroup) or affine))


def _quota(cgroup: Path) -> int | None:
    """Whole cores of processor time that the cgroup grants, rounded up; None where it sets no limit."""
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError):  # "max", or no control groups here
        return None
