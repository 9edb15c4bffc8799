"""Server-sent events out of a working thread (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from pydantic import BaseModel


class Events:
    """One stream of events; to be made on its event loop."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[BaseModel | None] = asyncio.Queue()

    def put(self, event: BaseModel) -> None:
        """Send an event; from any thread."""
        self.loop.call_soon_threadsafe(self.queue.put_nowait, event)

    def end(self, _: Any = None) -> None:
        """No more events come; on the event loop."""
        self.queue.put_nowait(None)

    async def next(self, working: "asyncio.Task[None]") -> BaseModel:
        """The next event; raises what ended the work without one."""
        event = await self.queue.get()
        if event is None:
            working.result()
            raise RuntimeError("the work ended without an answer")
        return event

    async def sent(
        self,
        first: BaseModel,
        working: "asyncio.Task[None]",
        refusal: Callable[[Exception], dict[str, Any] | None],
    ) -> AsyncIterator[bytes]:
        """The events as they go over the wire. A caller who leaves ends the work.

        Args:
            first: The event that has been taken already.
            working: What puts the events.
            refusal: What to tell of an error on the way, in a last event named "error", as the answer's status has
                gone already; None: the stream breaks off.
        """
        event: BaseModel | None = first
        try:
            while event is not None:
                yield f"data: {event.model_dump_json()}\n\n".encode()
                event = await self.queue.get()
            try:
                working.result()
            except Exception as error:
                told = refusal(error)
                if told is None:
                    raise
                yield f"event: error\ndata: {json.dumps(told)}\n\n".encode()
        finally:
            working.cancel()
