"""Runners as the platform keeps them: real `fal run --local` processes."""

import asyncio
import os
import signal
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import httpx
import pytest
from serving import ECHO_APP, KEY, PATIENCE, Served, eventually

from localfal.dispatch import Dispatcher
from localfal.fleet import Fleet
from localfal.jobs import Submission
from localfal.queue import Queue
from localfal.runner import Exchange, Runner, RunnerStartError
from localfal.runner_output import Line
from localfal.state import StateFolder

pytestmark = pytest.mark.slow

REFERENCE = f"{ECHO_APP}::Echo"
APPS = Path(__file__).with_name("apps.py")


async def until(condition: Callable[[], object]) -> None:
    await asyncio.to_thread(eventually, condition)


@asynccontextmanager
async def fleet(count: int, *, on_ready: Callable[[Runner], None], reference: str = REFERENCE) -> AsyncIterator[Fleet]:
    kept = Fleet(
        reference,
        count,
        dict(os.environ),
        Path(tempfile.mkdtemp(prefix="localfal-")),
        on_ready=on_ready,
        on_gone=lambda runner: None,
        on_line=lambda number, line: None,
    )
    try:
        await kept.start()
        yield kept
    finally:
        await kept.stop()


def test_two_runners_work_side_by_side(tmp_path: Path, client: httpx.Client) -> None:
    platform = Served(tmp_path / "state", "--runners", "2")
    try:
        eventually(lambda: len(platform.runner_pids()) == 2)
        gates = [tmp_path / name for name in ("a", "b")]
        both = [platform.submit(client, prompt=gate.name, gate=str(gate)) for gate in gates]
        for request_id in both:
            eventually(lambda request_id=request_id: platform.status(client, request_id)["status"] == "IN_PROGRESS")
        third = platform.submit(client, prompt="third")
        assert platform.status(client, third)["queue_position"] == 0
        gates[1].touch()
        assert platform.result(client, both[1]).json()["prompt"] == "b"
        assert platform.result(client, third).json()["prompt"] == "third"
        assert platform.status(client, both[0])["status"] == "IN_PROGRESS"
        gates[0].touch()
        for request_id, prompt in zip(both, "ab", strict=True):
            assert platform.result(client, request_id).json()["prompt"] == prompt
            lines = [log["message"] for log in platform.status(client, request_id, logs=True)["logs"]]
            assert lines == [f"{prompt}: step {n} of 2" for n in (1, 2)]
    finally:
        platform.stop()


def test_an_unended_line_is_its_own_requests(served: Served, client: httpx.Client) -> None:
    first = served.submit(client, prompt="first", lines=0, tail="half a line")
    second = served.submit(client, prompt="second", lines=1)
    for request_id, line in ((first, "half a line"), (second, "second: step 1 of 1")):
        served.result(client, request_id)
        assert [log["message"] for log in served.status(client, request_id, logs=True)["logs"]] == [line]


def test_every_end_is_noticed_and_no_pool_is_blocked() -> None:
    """The event loop's own threads are fewer than runners may be; hosts of webhooks are resolved in them."""

    async def scenario() -> None:
        pool = ThreadPoolExecutor(1)
        asyncio.get_running_loop().set_default_executor(pool)
        ready: list[Runner] = []
        async with fleet(2, on_ready=ready.append):
            await until(lambda: len(ready) == 2)
            for runner in list(ready):
                runner.begin(None)  # worked, so replaced at once
                os.kill(runner.pid, signal.SIGKILL)
            await until(lambda: len(ready) == 4)

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_a_runner_that_cannot_be_launched_is_launched_later(monkeypatch: pytest.MonkeyPatch) -> None:
    python = sys.executable

    async def scenario() -> None:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(RunnerStartError, match="cannot be started"):
            async with fleet(1, on_ready=lambda runner: None):
                pass
        monkeypatch.setattr(sys, "executable", python)
        ready: list[Runner] = []
        async with fleet(1, on_ready=ready.append):
            monkeypatch.setattr(sys, "executable", "/nowhere/python")
            ready[0].begin(None)
            os.kill(ready[0].pid, signal.SIGKILL)
            await ready[0].exited.wait()
            await asyncio.sleep(0)  # the fleet tries, in vain
            monkeypatch.setattr(sys, "executable", python)
            await until(lambda: len(ready) == 2)

    asyncio.run(scenario())


def test_a_busy_runner_is_told_again_that_a_caller_has_left() -> None:
    class Busy:
        def __init__(self) -> None:
            self.exchanges: dict[str, Exchange] = {}
            self.told: list[httpx.Response | httpx.HTTPError] = []

        async def request(self, *_: object, **__: object) -> httpx.Response:
            answers = (
                httpx.ReadTimeout("busy"),
                httpx.ReadError("just closing"),
                httpx.Response(404),
                httpx.Response(200),
            )
            self.told.append(answers[len(self.told)])
            if isinstance(self.told[-1], httpx.HTTPError):
                raise self.told[-1]
            return self.told[-1]

    async def scenario() -> None:
        runner = Busy()
        exchange = Exchange(cast(Runner, runner), None)
        runner.exchanges[exchange.id] = exchange
        await exchange.hang_up()
        assert len(runner.told) == 4
        runner.exchanges.clear()
        await exchange.hang_up()  # over: there is nobody to tell
        assert len(runner.told) == 4

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


def test_a_result_waits_for_room_on_the_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite's own bound on the pages of a database stands for the end of the disk."""

    async def scenario() -> None:
        database = StateFolder(tmp_path).database()
        queue, changed = Queue(database, "fal-ai/app"), asyncio.Event()
        queue.on_change.append(changed.set)
        dispatcher = Dispatcher(queue)
        large = Submission("/quick", {"content-type": "application/json"}, b'{"prompt": "%s"}' % (b"x" * 20_000))
        first, second = queue.submit(large), queue.submit(large)
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        database.execute(f"PRAGMA max_page_count={pages}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            queue.submit(large)
        queue.add_log(first.id, Line("y" * 20_000, "INFO"))  # lost, and nothing else with it
        async with fleet(1, on_ready=dispatcher.runner_ready):
            await until(lambda: "cannot be written" in caplog.text)
            assert queue.answer(first.id) is None
            async with dispatcher.lease(PATIENCE):  # who needs no disk need not wait
                pass
            database.execute("PRAGMA max_page_count=1000000")
            while queue.answer(second.id) is None:
                changed.clear()
                await changed.wait()
            answer = queue.answer(first.id)
            assert answer
            assert len(answer.body) > 20_000
        await dispatcher.stop()
        database.close()

    asyncio.run(scenario())


def test_a_request_may_be_cancelled_at_the_moment_it_starts(tmp_path: Path) -> None:
    async def scenario() -> None:
        database = StateFolder(tmp_path).database()
        queue, changed = Queue(database, "fal-ai/app"), asyncio.Event()
        queue.on_change.append(changed.set)
        dispatcher = Dispatcher(queue)
        body = b'{"prompt": "x", "seconds": 600}'
        request = queue.submit(Submission("/", {"content-type": "application/json"}, body))

        def start_and_cancel(runner: Runner) -> None:
            dispatcher.runner_ready(runner)
            assert queue.cancel(request.id) == "IN_PROGRESS"
            dispatcher.cancel(request.id)

        async with fleet(1, on_ready=start_and_cancel):
            while (answer := queue.answer(request.id)) is None:
                changed.clear()
                await changed.wait()
            assert answer.status == 499
        await dispatcher.stop()
        database.close()

    asyncio.run(asyncio.wait_for(scenario(), PATIENCE))


@pytest.mark.parametrize("start_timeout", [None, 600.0])
def test_a_caller_who_leaves_when_its_turn_comes_gives_it_back(tmp_path: Path, start_timeout: float | None) -> None:
    async def scenario() -> None:
        database = StateFolder(tmp_path).database()
        dispatcher = Dispatcher(Queue(database, "fal-ai/app"))
        leased: list[Exchange] = []

        async def call(enter: Callable[[Exchange], Awaitable[None]]) -> None:
            async with dispatcher.lease(start_timeout) as exchange:
                await enter(exchange)

        async def note(exchange: Exchange) -> None:
            leased.append(exchange)

        ready: asyncio.Queue[Runner] = asyncio.Queue()
        async with fleet(1, on_ready=ready.put_nowait):
            runner = await ready.get()
            leaving = asyncio.create_task(call(note))
            await asyncio.sleep(0)
            dispatcher.runner_ready(runner)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await call(note)
            assert [exchange.runner for exchange in leased] == [runner]
        database.close()

    asyncio.run(scenario())


def test_a_runner_gets_a_key_of_its_own(served: Served, client: httpx.Client) -> None:
    assert client.post(served.run, json={"prompt": "x"}, headers=KEY).status_code == 200
    for pid in served.runner_pids():
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"FAL_KEY=localfal:runner" in environment


def test_a_runner_that_fails_its_health_check_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localfal.fleet.HEALTH_EVERY_SECONDS", 0.05)

    async def scenario() -> None:
        ready: list[Runner] = []
        async with fleet(1, on_ready=ready.append, reference=f"{APPS}::Ailing"):
            await until(lambda: len(ready) == 2)
            assert ready[0].exited.is_set()

    asyncio.run(scenario())
