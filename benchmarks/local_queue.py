"""What the local platform costs: its queue under load, its share of a core for idle pollers, its part of a call.

    python benchmarks/local_queue.py

Starts `localfal serve` on an app that answers at once, and calls it over plain HTTP from this process. The load is
made with a bare HTTP/1.1 client, so that what is measured is the platform and not a client library.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

SUBSCRIBERS = 200
REQUESTS = 2000
DIRECT_CALLS = 400
IDLE_SECONDS = 10.0
# How often fal_client and @fal-ai/client ask for a status.
PYTHON_INTERVAL, JAVASCRIPT_INTERVAL = 0.1, 0.5
APP = f"{Path(__file__).parent / 'apps' / 'quick.py'}::Quick"
APP_ID = "local/quick"


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, address: int | Path) -> None:
        self.address = address
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; returns the JSON of the answer."""
        if self.streams is None:
            if isinstance(self.address, int):
                self.streams = await asyncio.open_connection("127.0.0.1", self.address)
            else:
                self.streams = await asyncio.open_unix_connection(self.address)
        reader, writer = self.streams
        content = b"" if body is None else json.dumps(body).encode()
        writer.write(
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Key id:secret\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.split("content-length:")[1].split("\r\n")[0])
        answer = await reader.readexactly(length)
        if not head.startswith("http/1.1 20"):
            raise RuntimeError(f"{head.splitlines()[0]}: {answer.decode()}")
        return json.loads(answer)

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()


async def under_load(port: int) -> list[float]:
    """Seconds from submit to result of each request, for many subscribers at a time."""
    left, times = iter(range(REQUESTS)), []

    async def subscriber() -> None:
        connection = Connection(port)
        for _ in left:
            started = time.perf_counter()
            submitted = await connection.call("POST", f"/queue/{APP_ID}", {})
            path = f"/queue/{APP_ID}/requests/{submitted['request_id']}"
            status = await connection.call("GET", path + "/status?logs=1")
            while status["status"] != "COMPLETED":
                await asyncio.sleep(PYTHON_INTERVAL)
                status = await connection.call("GET", path + "/status?logs=1")
            await connection.call("GET", path)
            times.append(time.perf_counter() - started)
        connection.close()

    await asyncio.gather(*(subscriber() for _ in range(SUBSCRIBERS)))
    return times


async def idle_share(port: int, pid: int, interval: float) -> float:
    """The share of one core that the gateway takes while subscribers wait for something that does not happen."""
    connection = Connection(port)
    submit = [connection.call("POST", f"/queue/{APP_ID}", {"seconds": 3600})]
    urls = [f"/queue/{APP_ID}/requests/{(await call)['request_id']}" for call in submit]
    for _ in range(SUBSCRIBERS - 1):
        answer = await connection.call("POST", f"/queue/{APP_ID}", {})
        urls.append(f"/queue/{APP_ID}/requests/{answer['request_id']}")

    async def poll(url: str) -> None:
        own = Connection(port)
        try:
            while True:
                await own.call("GET", url + "/status?logs=1")
                await asyncio.sleep(interval)
        finally:
            own.close()

    pollers = [asyncio.create_task(poll(url)) for url in urls]
    await asyncio.sleep(2.0)  # past the connections being made
    before, started = cpu_seconds(pid), time.perf_counter()
    await asyncio.sleep(IDLE_SECONDS)
    share = (cpu_seconds(pid) - before) / (time.perf_counter() - started)
    for poller in pollers:
        poller.cancel()
    await asyncio.gather(*pollers, return_exceptions=True)
    for url in reversed(urls):
        await connection.call("PUT", url + "/cancel")
    connection.close()
    return share


async def side_by_side(port: int, socket: Path) -> tuple[list[float], list[float]]:
    """Seconds of direct calls to the runner, and of the same through the gateway, in turns."""
    runner, gateway = Connection(socket), Connection(port)
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(DIRECT_CALLS + 20):
        for kept, connection, path in zip(times, (runner, gateway), ("/", f"/{APP_ID}"), strict=True):
            started = time.perf_counter()
            await connection.call("POST", path, {})
            if number >= 20:
                kept.append(time.perf_counter() - started)
    runner.close()
    gateway.close()
    return times


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def served(scenario: Callable[[int, int, Path], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario beside a platform: with its port, its process and its runner's socket."""
    with tempfile.TemporaryDirectory() as folder:
        command = "from localfal.cli import app; app()"
        arguments = ["serve", APP, "--as", APP_ID, "--state", folder]
        with (Path(folder) / "serve.out").open("wb") as output:
            process = subprocess.Popen([sys.executable, "-c", command, *arguments], stderr=output, stdout=output)
            try:
                note: dict[str, Any] = {}
                while not note.get("ready"):
                    if process.poll() is not None:
                        raise SystemExit((Path(folder) / "serve.out").read_text())
                    time.sleep(0.1)
                    path = Path(folder) / "platform.json"
                    note = json.loads(path.read_text()) if path.exists() else {}
                (socket,) = (Path(folder) / "sockets").glob("*.sock")
                asyncio.run(scenario(note["ports"]["http"], process.pid, socket))
            finally:
                process.terminate()
                process.wait()


async def measure(port: int, pid: int, runner: Path) -> None:
    """Print the table."""
    load = os.getloadavg()[0]
    direct, through = (statistics.median(times) * 1000 for times in await side_by_side(port, runner))
    before, started = cpu_seconds(pid), time.perf_counter()
    times = sorted(await under_load(port))
    seconds = time.perf_counter() - started
    busy = (cpu_seconds(pid) - before) / seconds
    python = await idle_share(port, pid, PYTHON_INTERVAL)
    javascript = await idle_share(port, pid, JAVASCRIPT_INTERVAL)
    rows = [
        (f"queue, {SUBSCRIBERS} subscribers at a time", f"{REQUESTS / seconds:.0f} requests/s"),
        ("submit to result, p50", f"{times[len(times) // 2] * 1000:.0f} ms"),
        ("submit to result, p99", f"{times[len(times) * 99 // 100] * 1000:.0f} ms"),
        ("gateway's share of one core meanwhile", f"{busy:.0%}"),
        (
            f"{SUBSCRIBERS} idle pollers, every {PYTHON_INTERVAL * 1000:.0f} ms as fal_client",
            f"{python:.0%} of one core",
        ),
        (
            f"{SUBSCRIBERS} idle pollers, every {JAVASCRIPT_INTERVAL * 1000:.0f} ms as @fal-ai/client",
            f"{javascript:.0%} of one core",
        ),
        ("synchronous call, runner alone (median)", f"{direct:.2f} ms"),
        ("synchronous call, through the gateway (median)", f"{through:.2f} ms"),
        ("added by the gateway", f"{through - direct:.2f} ms"),
    ]
    print(f"{os.cpu_count()} cores; load average before: {load:.1f}\n")
    print("| measured | |\n|---|---:|")
    for name, value in rows:
        print(f"| {name} | {value} |")


if __name__ == "__main__":
    served(measure)
