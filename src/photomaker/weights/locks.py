"""One runner at a time, on a disk that several share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def exclusive(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock at ``path``; a runner that ends, however it does, gives it back.

    Args:
        path: Of the lock's own file; its folder is made.
        on_wait: Called where another runner holds it.

    Raises:
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    except NotImplementedError:  # a disk without locks: two runners may do the same work, to the same effect
        pass
    try:
        yield
    finally:
        with suppress(OSError):
            lock.release()
