"""Running a command beside a platform."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

COMMAND_NOT_RUN = 126
COMMAND_NOT_FOUND = 127
KILLED_BY_SIGNAL = 128


async def run_command(command: Sequence[str], added: Mapping[str, str]) -> int:
    """Run a command with some more environment, on our own terminal; returns its exit code as a shell would."""
    loop = asyncio.get_running_loop()
    try:
        process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **added})
    except FileNotFoundError:
        return COMMAND_NOT_FOUND
    except OSError:  # no program, or not ours to run
        return COMMAND_NOT_RUN
    # The terminal sends Ctrl-C to the command as well; it decides, and we leave after it.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGTERM, lambda: _terminate(process))
    try:
        code = await process.wait()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_signal_handler(signal.SIGTERM)
    return code if code >= 0 else KILLED_BY_SIGNAL - code


def _terminate(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
