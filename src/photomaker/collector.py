"""Python's garbage collector, kept out of the way where everything that is made is made to stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Without garbage collection, while modules are imported or weights opened.

    Those are a million new objects, and none of them garbage. The collector would look through all of them again and
    again: for a quarter of the time that importing diffusers takes, and for longer than opening weights does.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            if not gc.get_freeze_count():  # what somebody has frozen stays so
                gc.freeze()  # and back: what was made here is old now, and not walked through at the next allocation
                gc.unfreeze()
            gc.enable()
