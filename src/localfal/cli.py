"""The command line: `localfal serve` and `localfal exec`."""

import asyncio
import contextlib
import os
import re
import shlex
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from localfal.environment import Addresses, client_environment
from localfal.execute import COMMAND_NOT_FOUND, COMMAND_NOT_RUN, run_command
from localfal.platform import AppStartError, Platform, Settings
from localfal.runner_log import RunnerLog
from localfal.state import StateFolder, StateInUseError, StateVersionError

app = typer.Typer(
    help="fal's platform on one machine: any fal.App behind fal's own wire protocol, without an account.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Whoever read along has left (`localfal serve … 2>&1 | head`): no reason to leave the callers too."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


console = _Terminal(stderr=True, highlight=False)

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# The first parts of paths that are the gateway's own, or of longer ids.
NO_OWNERS = (
    "workflows",
    "comfy",
    "queue",
    "ws",
    "storage",
    "files",
    "tokens",
    "requests",
    "playground",
    "v1",
    "api",
)
APP_ID = re.compile(r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
STARTING_SECONDS = 600.0


def parse_app_id(text: str) -> str:
    """`owner/alias`, as clients name the app."""
    if not APP_ID.match(text) or text.partition("/")[0] in NO_OWNERS:
        raise typer.BadParameter(f"{text!r} is not of the form OWNER/ALIAS")
    return text


def parse_duration(text: str) -> float:
    """`90s`, `30m`, `12h` or `7d`, in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not a duration such as 90s, 30m, 12h or 7d")
    return float(match[1]) * UNITS[match[2]]


References = Annotated[list[str], typer.Argument(metavar="APP…", help="The apps, each as `path.py::Class`.")]
AppIds = Annotated[
    list[str],
    typer.Option("--as", metavar="OWNER/ALIAS", parser=parse_app_id, help="Its name on fal; once for each app."),
]
Runners = Annotated[int, typer.Option(min=1, max=64, help="How many runner processes for each app.")]
State = Annotated[Path, typer.Option(metavar="DIR", help="Queue, results, uploads, certificates.", file_okay=False)]
Keep = Annotated[
    float,
    typer.Option(parser=parse_duration, metavar="DURATION", help="For how long results and uploads are kept."),
]
Examples = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Files that the web page offers as examples.", exists=True, file_okay=False),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="The plain HTTP port; 0: last time's, or a free one.")]


@app.command()
def serve(
    references: References,
    app_ids: AppIds,
    runners: Runners = 1,
    state: State = Path(".localfal"),
    keep: Keep = "7d",  # type: ignore[assignment]  # parsed, like what is typed
    port: Port = 0,
    examples: Examples = None,
) -> None:
    """Serve apps as fal would: fal.run, queue.fal.run, rest.fal.ai and v3.fal.media, on this machine only.

    Several apps (`localfal serve a.py::A b.py::B --as owner/a --as owner/b`) find each other under those hosts.
    """
    settings = Settings(_named(references, app_ids), state, runners, keep, port, examples)
    sys.exit(asyncio.run(_serve(settings)))


@app.command("exec", context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})
def execute(
    command: Annotated[list[str], typer.Argument(metavar="COMMAND…", help="What to run, after `--`.")],
    references: Annotated[
        list[str], typer.Option("--app", metavar="APP", help="The app, as `path.py::Class`; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    app_ids: AppIds = [],  # noqa: B006
    runners: Runners = 1,
    state: State = Path(".localfal"),
) -> None:
    """Run COMMAND so that its calls to fal's hosts reach the local platform.

    Uses the platform that serves from the state folder; without one, starts one for --app and --as, and stops it
    afterwards. COMMAND reaches other https hosts only where NO_PROXY names them.

    A client must read its environment: curl, and whatever runs in Python, Node or Bun, does. docs/localfal.md says
    how, and what would reach the real fal.
    """
    apps = _named(references, app_ids)
    if not apps and not state.exists():  # looking must not make the folder
        _fail(
            f"no platform serves from {state.absolute()}: pass the --state of one that runs"
            " (`localfal serve` keeps it in .localfal of the folder it was started in), or --app and --as"
        )
    sys.exit(asyncio.run(_execute(command, apps, runners, state)))


def _named(references: list[str], app_ids: list[str]) -> dict[str, str]:
    """The apps by their ids."""
    if len(references) != len(app_ids):
        _fail(f"{len(references)} apps and {len(app_ids)} names: each app needs one --as, in the same order")
    if len(set(app_ids)) < len(app_ids):
        _fail("two apps cannot have one name")
    return dict(zip(app_ids, references, strict=True))


async def _serve(settings: Settings) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with _platform(settings, echo=True, stop=stop) as platform:
        if platform is not None:
            _explain(platform.addresses)
            await stop.wait()
            console.print("localfal: stopping")
    return 0


async def _execute(command: list[str], apps: dict[str, str], runners: int, state: Path) -> int:
    with _usable(state):
        folder = StateFolder(state)
    if folder.in_use():
        code = await run_command(command, client_environment(await _running(folder, apps)))
    elif not apps:
        _fail(f"no platform serves from {state}: start `localfal serve`, pass another --state, or --app and --as")
    else:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with _platform(Settings(apps, state, runners), echo=False, stop=stop) as platform:
            if platform is None:
                return KILLED
            code = await run_command(command, client_environment(platform.addresses))
    if code in (COMMAND_NOT_FOUND, COMMAND_NOT_RUN):
        console.print(f"localfal: {escape(command[0])} did not run: exit code {code}")
    return code


KILLED = 128 + signal.SIGINT


@asynccontextmanager
async def _platform(settings: Settings, *, echo: bool, stop: asyncio.Event) -> AsyncIterator[Platform | None]:
    """A started platform, stopped at the end; None when it was told to stop before it was ready."""
    with _usable(settings.state):
        runner_log = RunnerLog(
            settings.state / "runner.log", echo=console if echo else None, several=len(settings.apps) > 1
        )
        platform = Platform(replace(settings, on_line=runner_log.add))
    started, names = time.monotonic(), ", ".join(settings.apps)
    starting = asyncio.create_task(platform.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        with console.status("") as status:
            while not (starting.done() or stopping.done()):
                line = f"localfal: setting up {names} · {time.monotonic() - started:.0f} s"
                status.update(f"{line} · {escape(runner_log.last[:80])}" if runner_log.last else line)
                await asyncio.wait([starting, stopping], timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await starting
            yield None
            return
        starting.result()
    except StateInUseError as error:
        _fail(f"{error}; pass another --state, or use the one that runs")
    except AppStartError as error:
        _fail(f"{settings.apps[error.app_id]} does not start: {error}\nThe whole log is {runner_log.path}")
    except (OSError, sqlite3.Error, StateVersionError) as error:
        _fail(f"cannot start: {error}")
    else:
        are = "are" if len(settings.apps) > 1 else "is"
        console.print(f"localfal: {names} {are} ready after {time.monotonic() - started:.1f} s", soft_wrap=True)
        try:
            yield platform
        finally:
            await platform.stop()
    finally:
        stopping.cancel()
        runner_log.close()


async def _running(folder: StateFolder, apps: Iterable[str]) -> Addresses:
    """The platform that another process serves from the folder, once it is ready."""
    deadline = time.monotonic() + STARTING_SECONDS
    while not (note := folder.read_note()).get("ready"):
        if time.monotonic() > deadline or not folder.in_use():
            _fail(f"the platform that serves from {folder.path} did not become ready")
        await asyncio.sleep(0.2)
    served = note.get("apps", [])  # an older release names it otherwise
    for app_id in apps:
        if app_id not in served:
            _fail(f"the platform that serves from {folder.path} serves {', '.join(served)}, not {app_id}")
    return Addresses(**note["ports"], bundle=folder.path / "ca-bundle.pem")


def _explain(addresses: Addresses) -> None:
    console.print(f"  In the browser: {addresses.origin}", soft_wrap=True)
    console.print(
        "  For programs: `localfal exec -- COMMAND`, or in the shell that runs curl, Python or Node:\n", soft_wrap=True
    )
    for name, value in client_environment(addresses).items():
        # Paste-ready: whole lines, never wrapped.
        console.print(f"export {name}={shlex.quote(value)}", soft_wrap=True, markup=False)
    console.print()


@contextlib.contextmanager
def _usable(state: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _fail(f"{state} cannot hold the state: {error.strerror}")


def _fail(message: str) -> NoReturn:
    console.print(f"localfal: {message}", markup=False, soft_wrap=True)
    raise SystemExit(1)
