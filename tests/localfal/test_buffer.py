"""Memory that requests share, on its own: what stalls is dropped, what is read makes room."""

import asyncio

import pytest
from starlette.requests import Request

from localfal.buffer import AnswerBuffer, Body, Memory
from localfal.errors import BusyError, StalledBodyError, TooLargeError


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
        memory = Memory(10)
        async with Body(request(b"1234", b"56"), memory) as first:
            assert first == b"123456"
            with pytest.raises(BusyError):
                async with Body(request(b"12345"), memory):
                    pass
            async with Body(request(b"1234"), memory):
                pass
        async with Body(request(b"1234567890"), memory):
            pass

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
