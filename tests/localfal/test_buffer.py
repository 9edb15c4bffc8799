"""Memory that requests share, on its own: what stalls is dropped, what is read makes room."""

import asyncio

import pytest
from starlette.requests import Request

from localfal.buffer import AnswerBuffer, Body, Memory
from localfal.errors import BusyError, StalledBodyError, TooLargeError
from localfal.http_over_websocket import serve


def request(*parts: bytes, more: bool = False) -> Request:
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if not more:
        messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive():
        if messages:
            return messages.pop(0)
        return await asyncio.Future()  # the caller has stopped

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


def test_bodies_share_their_room() -> None:
    async def scenario() -> None:
        memory = Memory(16)
        async with Body(request(b"1234", b"5678"), memory) as first:
            assert first == b"12345678"
            with pytest.raises(BusyError):
                async with Body(request(b"12345"), memory):
                    pass
            # Large ones leave room for small ones.
            async with Body(request(b"1234"), memory), Body(request(b"12"), memory), Body(request(b"1"), memory):
                pass
        assert memory.take(16)

    asyncio.run(scenario())


def test_a_body_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte by byte, each of them in time, it would keep its room for weeks."""
    monkeypatch.setattr("localfal.buffer.BODY_SECONDS", 0.05)

    async def receive():
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def scenario() -> None:
        memory = Memory(10_000)
        with pytest.raises(StalledBodyError):
            async with Body(Request({"type": "http", "method": "POST", "headers": []}, receive), memory):
                pass
        assert memory.take(10_000)

    asyncio.run(scenario())


def test_a_body_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localfal.buffer.STALL_SECONDS", 0.01)
    monkeypatch.setattr("localfal.buffer.MAX_BODY_BYTES", 8)

    async def scenario() -> None:
        memory = Memory(10)
        for stalled, error in ((request(b"1234", more=True), StalledBodyError), (request(b"123456789"), TooLargeError)):
            with pytest.raises(error):
                async with Body(stalled, memory):
                    pass
        assert memory.take(10)  # all of it is free again

    asyncio.run(scenario())


def test_an_answer_waits_for_room_and_not_for_a_caller_who_left() -> None:
    async def scenario() -> None:
        memory = Memory(4)
        first, second = AnswerBuffer(memory), AnswerBuffer(memory)
        await first.put(b"1234")
        waiting = asyncio.create_task(second.put(b"56"))
        await asyncio.sleep(0)
        assert not waiting.done()
        parts = first.parts()
        assert await anext(parts) == b"1234"
        await waiting
        blocked = asyncio.create_task(first.put(b"789"))
        await asyncio.sleep(0)
        first.abandon()
        await blocked
        second.end()
        assert [part async for part in second.parts()] == [b"56"]
        assert memory.take(4)

    asyncio.run(scenario())


class Socket:
    """A caller who sends payloads as fast as they are taken."""

    def __init__(self, *payloads: bytes) -> None:
        self.coming = [{"type": "websocket.receive", "bytes": payload} for payload in payloads]
        self.closed = None

    async def accept(self) -> None: ...

    async def receive(self):
        await asyncio.sleep(0)
        return self.coming.pop(0) if self.coming else {"type": "websocket.disconnect"}

    async def send_bytes(self, data: bytes) -> None: ...

    async def send_text(self, text: str) -> None: ...

    async def close(self, code: int, reason: str) -> None:
        self.closed = code


def test_payloads_of_a_socket_wait_outside_until_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("localfal.http_over_websocket.MAX_WAITING_BYTES", 20)

    async def scenario() -> None:
        memory, go_on, answered = Memory(100), asyncio.Event(), list[bytes]()

        async def answer(request_id, payload, receive, send) -> None:
            await go_on.wait()
            answered.append(payload)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        caller = Socket(*[bytes(10)] * 9)
        serving = asyncio.create_task(serve(caller, answer, memory))
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(caller.coming) >= 6
        go_on.set()
        await serving
        assert len(answered) >= 1
        assert memory.take(100)
        greedy = Socket(bytes(15))
        await serve(greedy, answer, Memory(20))
        assert greedy.closed == 1013

    asyncio.run(scenario())
