"""Requests whose callers may take them back: by cancelling, or by hanging up.

Of the app's side: fastapi is on a runner because fal's server is.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

from fastapi import Request

T = TypeVar("T")


class Callers:
    """The requests that are being worked on, by their ids."""

    def __init__(self) -> None:
        self.running: dict[str, Event] = {}

    def cancel(self, request_id: str | None) -> bool:
        """End a request's work between two steps; False: there is none of that id."""
        event = self.running.get(request_id or "")
        if event is not None:
            event.set()
        return event is not None

    async def attended(self, work: Callable[[Event], T], request: Request, request_id: str | None) -> T:
        """Work in a thread, given up when the caller cancels it or hangs up."""
        with self.cancellable(request_id) as cancelled:
            watching = asyncio.create_task(disconnect(request, cancelled))
            try:
                return await asyncio.to_thread(work, cancelled)
            finally:
                cancelled.set()
                watching.cancel()

    @contextmanager
    def cancellable(self, request_id: str | None) -> Iterator[Event]:
        """What ends a request's work once it is set; :meth:`cancel` finds it by the request's id."""
        cancelled = Event()
        if request_id:
            self.running[request_id] = cancelled
        try:
            yield cancelled
        finally:
            self.running.pop(request_id or "", None)


async def disconnect(request: Request, cancelled: Event) -> None:
    """Cancels the request once its caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancelled.set()
