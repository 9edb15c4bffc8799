"""Loaded at the start of every Python with this folder in PYTHONPATH: fal's hosts lead to the local platform there.

A `sitecustomize` that this one hides is loaded behind it.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

HERE = os.path.dirname(os.path.abspath(__file__))


def _load(spec: ModuleSpec | None) -> ModuleType | None:
    if spec is None or spec.loader is None:
        return None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gateway = os.environ.get("LOCALFAL_GATEWAY")  # host:port of its TLS side
if gateway:
    leading = _load(spec_from_file_location("localfal_leading", os.path.join(os.path.dirname(HERE), "leading.py")))
    hosts = os.environ.get("LOCALFAL_HOSTS", "").split(",")
    if leading is not None:
        leading.lead_hosts(hosts, int(gateway.rpartition(":")[2]), refuse_others=True)

_load(PathFinder.find_spec("sitecustomize", [path for path in sys.path if os.path.abspath(path) != HERE]))
