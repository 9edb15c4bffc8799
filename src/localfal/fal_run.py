"""One runner: the official `fal run --local`, kept to the gateway alone and to its lifetime.

`python -m localfal.fal_run REF`, with the path of the Unix socket that it serves on in `SOCKET`, and the read end of a
pipe as file descriptor `LIFELINE`: the gateway holds the other end, so the runner sees it close even when the gateway
is killed.
"""

import json
import os
import signal
import sys
import threading
import traceback
from typing import Any

import uvicorn

from localfal.app_options import report
from localfal.environment import GATEWAY_PORT, LIFELINE, SOCKET
from localfal.hosts import FAL_HOSTS
from localfal.labelled_output import label_output, tell_gateway
from localfal.leading import lead_hosts
from localfal.runner_app import RunnerApp, described

# Above what the gateway's own server takes (h11's 64 kB), and what its headers add: a runner refuses no head.
MAX_HEAD_BYTES = 256 * 1024


def _end_with_gateway(lifeline: int) -> None:
    os.set_inheritable(lifeline, False)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(0, signal.SIGKILL)  # with whatever the app has started

    threading.Thread(target=wait, name="localfal-lifeline", daemon=True).start()


class _PrivateConfig(uvicorn.Config):
    """fal serves on every interface and logs every access; a local runner does neither.

    A Unix socket in a folder of the gateway's own is out of reach for web pages and for other users.
    """

    socket = ""

    def __init__(self, app: Any, **options: Any) -> None:
        path = self.socket
        if type(self) is _PrivateConfig:
            tell_gateway("options", json.dumps(report()))
            app = RunnerApp(app)
        else:  # its metrics
            path += ".metrics"
        super().__init__(
            app,
            **{
                **options,
                "access_log": False,
                "h11_max_incomplete_event_size": MAX_HEAD_BYTES,
                "http": "h11",
                "loop": "asyncio",  # another would connect past our leading of fal's hosts
                # The gateway says who calls; a Unix socket knows nobody.
                "forwarded_allow_ips": "*",
                "uds": path,
            },
        )


def main() -> None:
    """Run until the gateway says stop, or is gone."""
    (reference,) = sys.argv[1:]
    _end_with_gateway(int(os.environ.pop(LIFELINE)))
    _PrivateConfig.socket = os.environ.pop(SOCKET)
    if port := os.environ.pop(GATEWAY_PORT, None):  # a fleet without a gateway leads nowhere
        lead_hosts(FAL_HOSTS, int(port), refuse_others=False)
    label_output()
    uvicorn.Config = _PrivateConfig  # type: ignore[assignment,misc]

    import fal.utils
    from fal.cli.main import main as fal_main

    load = fal.utils.load_function_from

    def load_and_tell(*arguments: Any, **options: Any) -> Any:
        try:
            return load(*arguments, **options)
        except Exception as error:  # of which fal prints the words alone
            tell_gateway("cause", described(error))
            traceback.print_exc()
            raise

    fal.utils.load_function_from = load_and_tell
    sys.exit(fal_main(["run", "--local", reference]))


if __name__ == "__main__":
    main()
