"""What a request takes whose photos come from a slow host, with and without early steps, and without that host.

    python benchmarks/slow_archive.py [--seconds 1] [--steps 50] [--repeat 5]

The small checkpoint, 20 % text-only steps as the endpoint's default has it. The ways take turns.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from photomaker.deployment import Deployment, package_folder
from photomaker.identities import Identities
from photomaker.service import Listener, Request, Service

ARCHIVE = package_folder() / "nano" / "examples" / "adam.zip"


@contextmanager
def host(seconds: float) -> Iterator[str]:
    """A host that sends the archive's second half that much later."""
    content = Path(ARCHIVE).read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            time.sleep(seconds)
            self.wfile.write(content[len(content) // 2 :])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=1.0, help="that the host lets a caller wait (%(default)s)")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with host(given.seconds) as slow, host(0) as quick:
        deployment = Deployment.read(package_folder() / "nano" / "fal.toml")
        deployment = deployment.model_copy(update={"allow_hosts": (slow, quick)})
        service = Service.start(deployment, print)
        ways = {"slow, early steps": (slow, True), "slow, one after the other": (slow, False), "quick": (quick, True)}
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(given.repeat + 1):
            for way, (address, early) in ways.items():
                service.early_steps = early
                service.identities = Identities()  # nobody is known
                url = f"http://{address}/photos.zip"
                request = Request("portrait of a man img", url, num_inference_steps=given.steps, seed=1)
                start = time.perf_counter()
                for _ in service.generate(request, Listener()):
                    pass
                if turn:  # the first is not counted
                    taken[way].append(time.perf_counter() - start)
    print(f"{given.steps} steps, a host {given.seconds} s slow; medians of {given.repeat}, seconds")
    for way, times in taken.items():
        print(f"| {way} | {statistics.median(times):.2f} |")


if __name__ == "__main__":
    main()
