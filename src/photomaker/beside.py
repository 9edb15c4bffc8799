"""Work that goes on beside a request's first steps: its photos are downloaded and read while no step needs them yet."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from dataclasses import replace
from types import TracebackType
from typing import Generic, Self, TypeVar

from photomaker.request import Listener

T = TypeVar("T")
PATIENCE = 0.1  # seconds between two looks at whether the caller is still there


class Beside(Generic[T]):
    """Work in a thread of its own, begun on entering and over on leaving: cancelled, if nobody has taken its result.

    Args:
        work: What to do, and whom to tell and ask.
        listener: The request's.
    """

    def __init__(self, work: Callable[[Listener], T], listener: Listener) -> None:
        self.work = work
        self.listener = listener
        self.left = threading.Event()
        self.future: Future[T] = Future()
        self.thread = threading.Thread(target=copy_context().run, args=(self.run,), name="photos", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.left.set()
        self.thread.join()

    def run(self) -> None:
        def cancelled() -> bool:
            return self.left.is_set() or self.listener.cancelled()

        try:
            self.future.set_result(self.work(replace(self.listener, cancelled=cancelled)))
        except BaseException as error:
            self.future.set_exception(error)

    def result(self) -> T:
        """What the work gave, waited for.

        Raises:
            Cancelled: The caller does not wait any longer.
        """
        while not wait([self.future], PATIENCE).done:
            self.listener.check()
        return self.future.result()

    def check(self) -> None:
        """Raises at once what the work has failed with, if it has."""
        if self.future.done() and (error := self.future.exception()) is not None:
            raise error
