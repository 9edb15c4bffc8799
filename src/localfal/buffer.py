"""Memory that many requests share: bodies on their way in, answers that their callers are slow to read."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from starlette.requests import Request

from localfal.errors import BusyError, StalledBodyError, TooLargeError

MAX_BODY_BYTES = 128 * 1024 * 1024
STALL_SECONDS = 30.0
BODY_SECONDS = 300.0  # for all of a body


class Memory:
    """So many bytes, for everybody together."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._given = asyncio.Event()

    def take(self, count: int) -> bool:
        """Whether there was room for `count` bytes, which are then taken."""
        if count > self._free:
            return False
        self._free -= count
        return True

    def share(self, count: int, held: int) -> bool:
        """As `take`, for one who has `held` so far: nobody gets more than what stays for others."""
        return held + count <= self._free - count and self.take(count)

    def give(self, count: int) -> None:
        """Give bytes back, and wake whoever waits for some."""
        self._free += count
        self._given.set()
        self._given = asyncio.Event()

    async def given(self) -> None:
        """Return when bytes have been given back."""
        await self._given.wait()


class Body:
    """A request's body, as long as somebody needs it: `async with Body(request, memory) as content`."""

    def __init__(self, request: Request, memory: Memory) -> None:
        self._request = request
        self._memory = memory
        self._taken = 0

    async def __aenter__(self) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for chunk in moving(self._request):
                    if len(body) + len(chunk) > MAX_BODY_BYTES:
                        raise TooLargeError(f"A request can have at most {MAX_BODY_BYTES} bytes")
                    if not self._memory.share(len(chunk), self._taken):
                        raise BusyError("Too many large requests are on their way; send this one again")
                    self._taken += len(chunk)
                    body += chunk
        except BaseException as error:
            self._memory.give(self._taken)
            if isinstance(error, TimeoutError):
                raise StalledBodyError from None
            raise
        return bytes(body)

    async def __aexit__(self, *_: object) -> None:
        self._memory.give(self._taken)


class AnswerBuffer:
    """An answer between its runner, which shall be free soon, and its caller, who may read slowly.

    The runner waits only when the shared memory is full, and not for a caller who takes nothing at all.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._chunks: deque[bytes] = deque()
        self._change = asyncio.Event()
        self._ended = False
        self.abandoned = False

    async def put(self, chunk: bytes) -> None:
        """Add a part; without room, wait for the caller to read."""
        while not self.abandoned and not self._memory.take(len(chunk)):
            await self._memory.given()
        if not self.abandoned:
            self._chunks.append(chunk)
            self._change.set()

    def end(self) -> None:
        """The answer is complete, or broken off."""
        self._ended = True
        self._change.set()

    def abandon(self) -> None:
        """The caller has left: what comes from now on is thrown away."""
        self.abandoned = True
        left = sum(map(len, self._chunks))
        self._chunks.clear()
        self._memory.give(left)
        self._change.set()

    async def parts(self) -> AsyncIterator[bytes]:
        """The parts, up to the end."""
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._memory.give(len(chunk))
                yield chunk
            if self._ended or self.abandoned:
                return
            self._change.clear()
            await self._change.wait()


async def moving(request: Request) -> AsyncIterator[bytes]:
    """The parts of a body, as long as they keep coming; raises StalledBodyError."""
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(STALL_SECONDS):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise StalledBodyError from None
        if chunk is None:
            return
        yield chunk
