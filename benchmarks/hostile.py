"""What files cost that are made to cost much: seconds and memory of each, and what its sender is told.

    python -m benchmarks.hostile

Each file is read in a process of its own; "reader" is how far that grew, "decoders" the peak of all it decodes with.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

from fuzzing.hostile import hostile
from photomaker.errors import RequestError
from photomaker.photos.archive import read_photos
from photomaker.photos.decoders import decoders

MIB = 1024**2


def status(process: str, key: str) -> int:
    """Bytes; 0 for a process that is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)


def children() -> list[str]:
    return [pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def measure(name: str) -> None:
    data = hostile()[name]()
    decoders().warm()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before, most, done = status("self", "VmRSS"), 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, sum(status(pid, "VmRSS") - status(pid, "RssFile") for pid in children()))

    watching = threading.Thread(target=watch)
    watching.start()
    begun = time.perf_counter()
    try:
        told = f"read: {len(read_photos(data))}"
    except RequestError as error:
        told = f"{error.type}: {error.message}"
    seconds = time.perf_counter() - begun
    done.set()
    watching.join()
    grown = status("self", "VmHWM") - before
    print(f"| {name} | {len(data) / 1e6:.2f} | {seconds:.1f} | {grown / MIB:.0f} | {most / MIB:.0f} | {told} |")


def main() -> None:
    print("| file | MB | s | reader MiB | decoders MiB | |\n|---|---|---|---|---|---|", flush=True)
    for name in hostile():
        subprocess.run([sys.executable, "-m", "benchmarks.hostile", "--one", name], check=True)


if __name__ == "__main__":
    measure(sys.argv[2]) if sys.argv[1:2] == ["--one"] else main()
