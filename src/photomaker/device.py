"""The device: one request's at a time, and whether it still works."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from photomaker.photos.decoders import turn
from photomaker.request import Listener

STALLED_SECONDS = 300.0  # without a step, after which whoever holds the device is stuck; a CPU's steps take a minute


class Device:
    """What the pipelines compute on.

    Args:
        computes: Whether a small sum comes out right; on a wedged device it does not return.
    """

    def __init__(self, computes: Callable[[], bool]) -> None:
        self.computes = computes
        self.lock = threading.Lock()
        self.probing = threading.Lock()
        self.moved_at = time.monotonic()

    @contextmanager
    def held(self, listener: Listener) -> Iterator[None]:
        """The device for one request alone, which says by :meth:`moved` that it is not stuck."""
        with turn(self.lock, listener.check):
            self.moved()
            yield

    def moved(self) -> None:
        """The request that holds the device has come further."""
        self.moved_at = time.monotonic()

    def alive(self) -> bool:
        """Whether the device works: the request that holds it moves on, or else it can add.

        On a wedged device this does not return; asked again meanwhile, it says no.
        """
        if self.lock.locked():
            return time.monotonic() - self.moved_at < STALLED_SECONDS
        if not self.probing.acquire(blocking=False):
            return False
        try:
            return self.computes()
        except RuntimeError:  # CUDA's errors are, and stay until the process ends
            return False
        finally:
            self.probing.release()
