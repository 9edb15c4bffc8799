"""One runner: the official `fal run --local`, kept to loopback and to the lifetime of its gateway.

`python -m localfal.fal_run REF PORT METRICS_PORT`, with the read end of a pipe as file descriptor `LIFELINE`: the
gateway holds the other end, so the runner sees it close even when the gateway is killed.
"""

import os
import signal
import sys
import threading
from typing import Any

import uvicorn
from fal.cli.main import main as fal

from localfal.environment import LIFELINE


def _end_with_gateway(lifeline: int) -> None:
    os.set_inheritable(lifeline, False)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(0, signal.SIGKILL)  # with whatever the app has started

    threading.Thread(target=wait, name="localfal-lifeline", daemon=True).start()


class _LoopbackConfig(uvicorn.Config):
    """fal serves on every interface and logs every access; a local runner does neither."""

    def __init__(self, app: Any, host: str = "127.0.0.1", **options: Any) -> None:
        super().__init__(app, host="127.0.0.1", **{**options, "access_log": False})


def main() -> None:
    """Run until the gateway says stop, or is gone."""
    reference, port, metrics_port = sys.argv[1:]
    _end_with_gateway(int(os.environ.pop(LIFELINE)))
    uvicorn.Config = _LoopbackConfig  # type: ignore[assignment,misc]
    ports = ["--exposed-port", port, "--exposed-metrics-port", metrics_port]
    sys.exit(fal(["run", "--local", reference, *ports]))


if __name__ == "__main__":
    main()
