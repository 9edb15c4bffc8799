"""The queue's own rules, on the database alone."""

import asyncio
import gc
import json
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from localfal import state
from localfal.dispatch import Dispatcher, _Caller
from localfal.errors import StartTimeoutError, StorageFullError
from localfal.jobs import Answer, Submission
from localfal.playground import request_list
from localfal.playground.request_list import list_requests
from localfal.queue import Queue
from localfal.runner_output import Line
from localfal.state import StateFolder, StateInUseError, StateVersionError

OK = Answer(200, {"content-type": "application/json"}, b'{"ok": true}')


@pytest.fixture
def queue(tmp_path: Path):
    database = StateFolder(tmp_path).database()
    yield Queue(database, "fal-ai/app")
    database.close()


def submission(**options) -> Submission:
    return Submission(path="/", headers={"content-type": "application/json"}, body=b"{}", **options)


def test_order_and_positions(queue: Queue) -> None:
    low = queue.submit(submission(low_priority=True))
    first, second = queue.submit(submission()), queue.submit(submission())
    assert [queue.position(entry) for entry in (first, second, low)] == [0, 1, 2]
    assert queue.length() == 3
    jobs = [queue.start_next() for _ in range(4)]
    assert [job.id if job else None for job in jobs] == [first.id, second.id, low.id, None]


def test_a_requeued_request_keeps_its_place(queue: Queue) -> None:
    first, second = queue.submit(submission()), queue.submit(submission())
    job = queue.start_next()
    assert job
    assert queue.position(second) == 0
    queue.requeue(first.id)
    assert queue.position(second) == 1
    again = queue.start_next()
    assert again
    assert (again.id, again.attempt) == (first.id, 2)


def test_recovery_is_no_failed_attempt(queue: Queue) -> None:
    entry, cancelled = queue.submit(submission()), queue.submit(submission())
    queue.start_next()
    queue.start_next()
    assert queue.cancel(cancelled.id) == "IN_PROGRESS"
    restarted = Queue(queue.database, "fal-ai/app")
    restarted.recover()
    job = restarted.start_next()
    assert job
    assert (job.id, job.attempt) == (entry.id, 1)
    answer = restarted.answer(cancelled.id)
    assert answer
    assert answer.status == 499
    assert restarted.start_next() is None


def test_an_answer_is_stored_once(queue: Queue) -> None:
    entry = queue.submit(submission())
    queue.start_next()
    assert queue.answer(entry.id) is None
    queue.complete(entry.id, OK)
    queue.complete(entry.id, Answer(500, {}, b""))
    queue.requeue(entry.id)
    assert queue.answer(entry.id) == OK
    assert queue.start_next() is None
    assert queue.cancel(entry.id) == "COMPLETED"


def test_requests_of_another_app_are_not_ours(queue: Queue) -> None:
    entry = queue.submit(submission())
    other = Queue(queue.database, "fal-ai/other")
    assert other.find(entry.id) is None
    assert other.start_next() is None
    other.recover()
    assert queue.start_next()


def test_time_to_start(queue: Queue) -> None:
    before = time.time()
    entry = queue.submit(submission(start_timeout=0.2))
    patient = queue.submit(submission(start_timeout=60))
    deadline = queue.next_deadline()
    assert deadline
    assert before + 0.2 <= deadline <= time.time() + 0.2
    queue.database.execute("UPDATE requests SET start_by = start_by - 1 WHERE id = ?", (entry.id,))
    queue.time_out()
    answer = queue.answer(entry.id)
    assert answer
    assert json.loads(answer.body) == {"detail": "Request timed out", "error_type": "request_timeout"}
    assert answer.headers["x-fal-request-timeout-type"] == "user"
    job = queue.start_next()
    assert job
    assert job.id == patient.id
    assert queue.next_deadline() is None


def test_unstored_requests_leave_no_input_and_soon_no_result(queue: Queue) -> None:
    stored, unstored = queue.submit(submission()), queue.submit(submission(store_io=False))
    for entry in (stored, unstored):
        queue.start_next()
        queue.complete(entry.id, OK)
        assert queue.answer(entry.id) == OK
    inputs = dict(queue.database.execute("SELECT id, body FROM requests").fetchall())
    assert inputs == {stored.id: b"{}", unstored.id: None}
    queue.database.execute("UPDATE requests SET finished = finished - 3601")
    queue.forget(keep=86400)
    assert queue.find(unstored.id) is None
    assert queue.answer(stored.id) == OK


def test_old_requests_and_their_logs_are_forgotten(queue: Queue) -> None:
    old, waiting = queue.submit(submission()), queue.submit(submission())
    queue.start_next()
    queue.add_log(old.id, Line("a line", "INFO"))
    queue.complete(old.id, OK)
    queue.forget(keep=3600)
    assert queue.logs(old.id)[0]
    queue.database.execute("UPDATE requests SET finished = finished - 7200, created = created - 7200")
    queue.forget(keep=3600)
    assert queue.find(old.id) is None
    assert queue.logs(old.id) == ([], 0)
    assert queue.find(waiting.id)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"detail": "half \\ud800 of a pair"}', "half ? of a pair"),
        (b"[" * 100_000, "Invalid status code: 422"),
        (b"\xff\xfe\x00", "Invalid status code: 422"),
        (b'{"detail": [{"msg": 1, "type": []}]}', "Invalid status code: 422"),
    ],
)
def test_any_failure_can_be_stored(queue: Queue, body: bytes, error: str) -> None:
    entry = queue.submit(submission())
    queue.complete(entry.id, Answer(422, {}, body))
    found = queue.find(entry.id)
    assert found
    assert (found.state, found.error) == ("COMPLETED", error)


def test_logs_are_bounded(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localfal.queue.MAX_LOG_LINES", 3)
    entry = queue.submit(submission())
    for number in range(5):
        queue.add_log(entry.id, Line(f"line {number}", "INFO"))
    lines, mark = queue.logs(entry.id)
    assert [line["message"] for line in lines] == ["line 0", "line 1", "line 2"]
    assert queue.logs(entry.id, after=mark) == ([], mark)


def test_one_folder_one_gateway(tmp_path: Path) -> None:
    first, second = StateFolder(tmp_path), StateFolder(tmp_path)
    assert not second.in_use()
    first.lock()
    assert second.in_use()
    with pytest.raises(StateInUseError, match="another localfal"):
        second.lock()
    first.unlock()
    second.lock()
    second.unlock()
    assert tmp_path.joinpath(".gitignore").read_text() == "*\n"


def test_a_clock_that_is_set_makes_no_time(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = queue.submit(submission())
    queue.start_next()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    queue.complete(entry.id, OK)
    found = queue.find(entry.id)
    assert found
    assert found.inference_time is not None
    assert 0 <= found.inference_time < 60


@pytest.mark.parametrize(
    "change",
    [
        "headers = '['",
        'headers = \'{"a": "\u4e2d"}\'',
        'headers = \'{"a b": "c"}\'',
        'headers = \'{"a": "b\\r\\nc: d"}\'',
        "retry_config = '['",
        "retry_config = '[]'",
        'retries = \'{"server_error": "x"}\'',
        "path = '/\u4e2d'",
        "path = 'http://x/'",
        "body = 5",
        "body = 'text'",
    ],
)
def test_a_damaged_request_is_answered_and_the_next_one_runs(queue: Queue, change: str) -> None:
    damaged, whole = queue.submit(submission()), queue.submit(submission())
    queue.database.execute(f"UPDATE requests SET {change} WHERE id = ?", (damaged.id,))
    job = queue.start_next()
    assert job
    assert job.id == whole.id
    answer = queue.answer(damaged.id)
    assert answer
    assert b"cannot be read" in answer.body


@pytest.mark.parametrize(
    "change",
    [
        "result_headers = '3'",
        'result_headers = \'{"a": "\u4e2d"}\'',
        'result_headers = \'{"a b": "c"}\'',
        "status = 99",
        "status = NULL",
        "result = 'text'",
    ],
)
def test_a_damaged_result_says_so(queue: Queue, change: str) -> None:
    entry = queue.submit(submission())
    queue.complete(entry.id, OK)
    queue.database.execute(f"UPDATE requests SET {change}")
    answer = queue.answer(entry.id)
    assert answer
    assert (answer.status, b"cannot be read" in answer.body) == (500, True)
    queue.database.execute(
        "UPDATE requests SET status=200, result=x'6f6b', result_headers='{\"Content-Length\":\"9\"}'"
    )
    assert queue.answer(entry.id) == Answer(200, {}, b"ok")


def test_a_moment_that_is_none_is_long_over(queue: Queue) -> None:
    entry = queue.submit(submission(start_timeout=60))
    queue.database.execute("UPDATE requests SET start_by = 'soon'")
    assert queue.start_next() is None
    answer = queue.answer(entry.id)
    assert answer
    assert answer.status == 504


def test_retries_are_counted_by_their_condition(queue: Queue) -> None:
    entry = queue.submit(submission(retry_config={"timeout": 1}, hint="cats"))
    for condition in ("timeout", "server_error", "timeout"):
        queue.start_next()
        queue.requeue(entry.id, condition)
    job = queue.start_next()
    assert job
    assert (dict(job.retries), dict(job.retry_config), job.hint) == (
        {"timeout": 2, "server_error": 1},
        {"timeout": 1},
        "cats",
    )


def test_tracebacks_name_no_folder_of_this_machine(queue: Queue) -> None:
    entry = queue.submit(submission())
    for text in ('  File "/home/me/app.py", line 3, in f', '{"traceback": "File \\"/home/me/app.py\\", line 3"}'):
        queue.add_log(entry.id, Line(text, "ERROR"))
    lines, _ = queue.logs(entry.id)
    assert [line["message"] for line in lines] == [
        '  File "app.py", line 3, in f',
        '{"traceback": "File \\"app.py\\", line 3"}',
    ]


def test_a_folder_of_an_older_release_is_brought_up_to_date(tmp_path: Path) -> None:
    database = StateFolder(tmp_path).database()
    for table, column in (("requests", "hint"), ("requests", "retries"), ("logs", "level")):
        database.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    database.execute("PRAGMA user_version=0")
    database.close()
    database = StateFolder(tmp_path).database()
    queue = Queue(database, "fal-ai/app")
    entry = queue.submit(submission(hint="cats"))
    queue.add_log(entry.id, Line("text", "ERROR"))
    assert queue.logs(entry.id)[0][0]["level"] == "ERROR"
    job = queue.start_next()
    assert job
    assert job.hint == "cats"
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(StateVersionError, match="newer localfal"):
        StateFolder(tmp_path).database()


@pytest.mark.parametrize("note", ["{", "[]", '{"ports": 3}', '{"ports": {"http": -1}}', '{"ports": {"http": "80"}}'])
def test_a_damaged_note_is_none(tmp_path: Path, note: str) -> None:
    folder = StateFolder(tmp_path)
    (tmp_path / "platform.json").write_text(note)
    assert folder.read_note() == {}


def test_a_long_path_has_its_sockets_elsewhere(tmp_path: Path) -> None:
    for path in (Path("/tmp") / tmp_path.name, tmp_path / ("a" * 100)):
        sockets = StateFolder(path).sockets()
        try:
            assert len(str(sockets)) < 80
            assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        finally:
            shutil.rmtree(sockets)
    shutil.rmtree(Path("/tmp") / tmp_path.name)


def page(queue: Queue) -> str:
    return asyncio.run(list_requests(queue.database, {"expand": "payloads"}, []))


def listed(queue: Queue) -> list[dict[str, Any]]:
    return json.loads(page(queue))["items"]


def test_a_list_of_requests_holds_so_many_bytes(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_list, "MAX_PAGE_BYTES", 1000)
    read: list[int] = []
    monkeypatch.setattr(request_list, "_json", lambda content: read.append(len(content)) or len(content))
    for size in (400, 300, 600, 200):
        entry = queue.submit(Submission(path="/", headers={}, body=b"x" * size))
        queue.complete(entry.id, OK)
    # The newest first, each at most half of what is left, so that there is as much for its result.
    assert [item["json_input"] for item in listed(queue)] == [200, 0, 300, 0]
    assert sum(read) <= 1000


def test_a_list_of_requests_that_can_hardly_be_read(queue: Queue) -> None:
    queue.submit(submission())
    queue.database.execute("UPDATE requests SET created = 1e300, started = 'x', body = 5")
    queue.submit(Submission(path="/?a=b", headers={}, body=b"{}"))
    first, last = listed(queue)
    assert (first["json_input"], first["query"]) == ({}, "a=b")
    assert (last["json_input"], last["sent_at"]) == (None, None)
    for depth in range(900, 1000, 2):  # the last that can be read cannot be written within something else
        queue.submit(Submission(path="/", headers={}, body=b"[" * depth + b"]" * depth))
        page(queue)


def test_a_list_of_requests_knows_no_time_below_zero(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = queue.submit(submission())
    queue.start_next()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    queue.complete(entry.id, OK)
    assert 0 <= listed(queue)[0]["duration"] < 60


def test_the_queue_has_its_bound_and_answers_some_room_above_it(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "MAX_SUBMITTED_BYTES", 1_000_000)
    large = Submission(path="/", headers={}, body=bytes(300_000))
    accepted = [queue.submit(large) for _ in range(3)]
    with pytest.raises(StorageFullError, match="bound"):
        queue.submit(large)
    queue.complete(accepted[0].id, Answer(200, {}, bytes(700_000)))
    queue.delete_payloads(accepted[0].id)
    queue.submit(submission())
    (pages,) = queue.database.execute("PRAGMA max_page_count").fetchone()
    (size,) = queue.database.execute("PRAGMA page_size").fetchone()
    assert pages * size == state.MAX_DATABASE_BYTES


def test_callers_who_leave_the_line_leave_nothing_behind(queue: Queue) -> None:
    """While every runner is busy, nobody else takes them out of it."""

    async def scenario() -> int:
        dispatcher = Dispatcher(queue)
        for _ in range(20):
            with pytest.raises(StartTimeoutError):
                async with dispatcher.lease(0.001):
                    raise AssertionError("there is no runner")
        return sum(type(one) is _Caller for one in gc.get_objects())

    assert asyncio.run(scenario()) <= 1
