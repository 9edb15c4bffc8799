"""The state folder: everything of one local platform that outlives its process."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    app TEXT NOT NULL,
    path TEXT NOT NULL,
    headers TEXT NOT NULL,
    body BLOB,
    state TEXT NOT NULL,
    priority INTEGER NOT NULL,
    start_by REAL,
    no_retry INTEGER NOT NULL,
    store_io INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    created REAL NOT NULL,
    started REAL,
    finished REAL,
    status INTEGER,
    result_headers TEXT,
    result BLOB,
    error TEXT,
    error_type TEXT,
    webhook TEXT,
    webhook_due REAL,
    webhook_attempts INTEGER NOT NULL DEFAULT 0,
    hint TEXT,
    retry_config TEXT NOT NULL DEFAULT '{}',
    retries TEXT NOT NULL DEFAULT '{}',
    inference_time REAL
);
CREATE INDEX IF NOT EXISTS waiting ON requests (app, priority, seq) WHERE state = 'IN_QUEUE';
CREATE INDEX IF NOT EXISTS finished ON requests (finished) WHERE finished IS NOT NULL;
CREATE INDEX IF NOT EXISTS webhooks_due ON requests (webhook_due) WHERE webhook_due IS NOT NULL;
CREATE TABLE IF NOT EXISTS logs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL,
    timestamp TEXT NOT NULL,
    message TEXT NOT NULL,
    level TEXT NOT NULL DEFAULT 'INFO'
);
CREATE INDEX IF NOT EXISTS logs_of_request ON logs (request_id, seq);
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    upload_token TEXT NOT NULL,
    size INTEGER,
    created REAL NOT NULL,
    expires REAL NOT NULL,
    access TEXT NOT NULL DEFAULT 'allow'
);
"""


SCHEMA_VERSION = 1
MAX_DATABASE_BYTES = 32 * 1024**3
MAX_SUBMITTED_BYTES = 24 * 1024**3  # what is above is for answers and logs
STORE_AGAIN_SECONDS = 1.0
# The system takes about 100 bytes for a socket's whole name.
MAX_SOCKET_FOLDER = 75

log = logging.getLogger(__name__)


class StateVersionError(Exception):
    """The state folder was written by a release that this one does not know."""


class StateInUseError(Exception):
    """Another gateway holds the state folder."""


class StateFolder:
    """One platform's folder: its database, files, keys, and the note that tells others where it listens."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = self.path / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n")
        self.files = self.path / "files"
        self.files.mkdir(mode=0o700, exist_ok=True)
        self._lock: int | None = None

    def lock(self) -> None:
        """Take the folder for this process; the kernel gives it back even after SIGKILL."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StateInUseError(f"another localfal is serving from {self.path}") from None
        self._lock = descriptor

    def unlock(self) -> None:
        """Give the folder back."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def in_use(self) -> bool:
        """Whether a gateway (this process or another) holds the folder."""
        try:
            self.lock()
        except StateInUseError:
            return True
        self.unlock()
        return False

    def database(self) -> sqlite3.Connection:
        """Open the database, made on first use.

        Write-ahead logging with `synchronous=NORMAL`: a committed change survives SIGKILL of the gateway at any
        moment, and costs no disk flush of its own.
        """
        database = sqlite3.connect(self.path / "state.db", isolation_level=None)
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        _bring_up_to_date(database)
        (page_bytes,) = database.execute("PRAGMA page_size").fetchone()
        database.execute(f"PRAGMA max_page_count = {MAX_DATABASE_BYTES // page_bytes}")
        return database

    def read_note(self) -> dict[str, Any]:
        """What the last gateway wrote about itself; empty when there was none."""
        try:
            note = json.loads((self.path / "platform.json").read_text())
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
        return note if _is_note(note) else {}

    def write_note(self, note: dict[str, Any]) -> None:
        """Say where this gateway listens; whole or not at all."""
        draft = self.path / "platform.json.new"
        draft.write_text(json.dumps(note, indent=2) + "\n")
        draft.rename(self.path / "platform.json")

    def sockets(self) -> Path:
        """An empty folder for the runners' sockets; the names of sockets may not be as long as those of files."""
        folder = self.path / "sockets"
        if len(os.fsencode(folder)) > MAX_SOCKET_FOLDER:
            return Path(tempfile.mkdtemp(prefix="localfal-"))
        shutil.rmtree(folder, ignore_errors=True)  # of a gateway that was killed
        folder.mkdir(mode=0o700)
        return folder


def has_room(database: sqlite3.Connection, count: int) -> bool:
    """Whether so many bytes more may be submitted."""
    size, pages, free = (
        int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count", "freelist_count")
    )
    return size * (pages - free) + count <= MAX_SUBMITTED_BYTES


def _bring_up_to_date(database: sqlite3.Connection) -> None:
    """Make the tables, or add the columns that an older release did not have."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > SCHEMA_VERSION:
        raise StateVersionError("the state folder is of a newer localfal; update localfal, or pass another --state")
    database.executescript(SCHEMA)
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        model.executescript(SCHEMA)
        for (table,) in model.execute("SELECT name FROM sqlite_schema WHERE sql LIKE 'CREATE TABLE%'").fetchall():
            there = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
            for _, name, kind, required, default, _ in model.execute(f"PRAGMA table_info({table})"):
                if name not in there:
                    rule = f"NOT NULL DEFAULT {default or chr(39) * 2}" if required else ""
                    database.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind} {rule}")
    database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _is_note(note: Any) -> bool:
    ports = note.get("ports", {}) if isinstance(note, dict) else None
    return isinstance(ports, dict) and all(type(port) is int and 0 < port < 65536 for port in ports.values())


async def until_stored(change: Callable[[], Any]) -> None:
    """Make a change of the database; while the disk is full, try again: what was worked for is not thrown away."""
    while True:
        try:
            change()
        except sqlite3.OperationalError as error:
            log.warning("the state cannot be written: %s", error)
            await asyncio.sleep(STORE_AGAIN_SECONDS)
        else:
            return
