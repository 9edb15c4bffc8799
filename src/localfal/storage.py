"""Uploaded files: bounded, durable, and gone after their time."""

import asyncio
import contextlib
import errno
import hashlib
import re
import secrets
import shutil
import sqlite3
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from localfal.errors import BadRequestError, NotFoundError, StorageFullError, TooLargeError
from localfal.lifecycle import NO_WISH, Decision, Lifecycle

MAX_FILE_BYTES = 4 * 1024**3
MAX_TOTAL_BYTES = 32 * 1024**3
MAX_PARTS = 10_000
MAX_NAME = 100
UNFINISHED_SECONDS = 24 * 3600.0

UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# What a browser shows and never runs. Everything else, known or not, is handed out as a download, out of the origin
# that also serves the API.
PASSIVE_TYPES = re.compile(
    r"(image/(avif|bmp|gif|heic|jpeg|png|tiff|webp)|(audio|video)/[a-z0-9.-]+|application/(json|pdf|octet-stream|zip)"
    r"|text/(plain|csv))(; ?charset=[a-z0-9-]+)?",
    re.I,
)


@dataclass(frozen=True)
class StoredFile:
    """A file's description; `size` is None until it has been uploaded whole, `access` is for others than its owner."""

    id: str
    name: str
    content_type: str
    upload_token: str
    size: int | None
    access: Decision = "allow"

    @property
    def path(self) -> str:
        """Its path under the media host."""
        return f"/files/{self.id}/{self.name}"


class Storage:
    """Files in a folder, described in the database."""

    def __init__(
        self,
        database: sqlite3.Connection,
        folder: Path,
        keep: float,
        *,
        max_file_bytes: int = MAX_FILE_BYTES,
        max_total_bytes: int = MAX_TOTAL_BYTES,
    ) -> None:
        self._database = database
        self._folder = folder
        self._keep = keep
        self._max_file_bytes = max_file_bytes
        self._max_total_bytes = max_total_bytes
        self._stored = _size(folder)  # unfinished uploads are part of it

    def create(self, name: str, content_type: str, lifecycle: Lifecycle = NO_WISH) -> StoredFile:
        """Reserve a file; a `lifecycle` can only shorten its life."""
        content_type = content_type.strip() or "application/octet-stream"
        if not (content_type.isascii() and content_type.isprintable()):  # it becomes a response header
            raise BadRequestError("The content type is not printable ASCII")
        safe_name = UNSAFE.sub("_", name).strip("._")[-MAX_NAME:] or "file"
        token = secrets.token_urlsafe(24)
        file = StoredFile(uuid.uuid4().hex, safe_name, content_type, token, None, lifecycle.access)
        now = time.time()
        self._database.execute(
            "INSERT INTO files (id, name, content_type, upload_token, access, created, expires)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (file.id, file.name, content_type, token, file.access, now, now + min(self._keep, lifecycle.seconds)),
        )
        return file

    def find(self, file_id: str) -> StoredFile:
        """A file that has not expired; raises NotFoundError."""
        row = self._database.execute(
            "SELECT name, content_type, upload_token, size, access FROM files WHERE id = ? AND expires > ?",
            (file_id, time.time()),
        ).fetchone()
        if row is None:
            raise NotFoundError("File not found")
        return StoredFile(file_id, row["name"], row["content_type"], row["upload_token"], row["size"], row["access"])

    def restrict(self, file: StoredFile, access: Decision) -> None:
        """Decide anew who may read a file."""
        self._database.execute("UPDATE files SET access = ? WHERE id = ?", (access, file.id))

    def content(self, file: StoredFile) -> Path:
        """Where an uploaded file's bytes are; raises NotFoundError before the upload is complete."""
        path = self._folder / file.id
        if file.size is None or not path.exists():
            raise NotFoundError("File not found")
        return path

    async def write(self, file: StoredFile, chunks: AsyncIterator[bytes]) -> None:
        """Store a file's bytes, whole or not at all."""
        draft = self._folder / f"{file.id}.{secrets.token_hex(4)}.new"
        size, _ = await self._receive(draft, chunks)
        self._replace(draft, self._folder / file.id)
        self._finish(file, size)

    async def write_part(self, file: StoredFile, number: int, chunks: AsyncIterator[bytes]) -> str:
        """Store one part of a multipart upload; returns its entity tag."""
        if not 1 <= number <= MAX_PARTS:
            raise BadRequestError(f"A part's number is from 1 to {MAX_PARTS}")
        parts = self._folder / f"{file.id}.parts"
        parts.mkdir(mode=0o700, exist_ok=True)
        draft = parts / f"{number}.{secrets.token_hex(4)}.new"
        _, digest = await self._receive(draft, chunks)
        self._replace(draft, parts / str(number))
        return f'"{digest}"'

    async def join_parts(self, file: StoredFile, numbers: list[int]) -> None:
        """Complete a multipart upload: the named parts, in order of their numbers, are the file."""
        parts = self._folder / f"{file.id}.parts"
        if file.size is not None and not parts.exists():
            return  # a client that lost our first answer asks again
        if any(not 1 <= number <= MAX_PARTS for number in numbers):
            raise BadRequestError(f"A part's number is from 1 to {MAX_PARTS}")
        paths = [parts / str(number) for number in sorted(set(numbers))]
        if not paths or not all(path.is_file() for path in paths):
            raise BadRequestError("The upload's parts are not all there")
        size = sum(path.stat().st_size for path in paths)
        if size > self._max_file_bytes:
            raise TooLargeError(f"A file can have at most {self._max_file_bytes} bytes")
        draft = self._folder / f"{file.id}.{secrets.token_hex(4)}.new"
        try:
            with _written(draft):
                await asyncio.to_thread(_join, paths, draft)  # gigabytes, while others are served
        except FileNotFoundError:
            if self.find(file.id).size is None:
                raise
            return  # the same client, asking again, was faster
        self._stored += size
        self._replace(draft, self._folder / file.id)
        self._finish(file, size)
        # Not before: a client whose answer was lost with a killed gateway asks again.
        self._stored -= _size(parts)
        shutil.rmtree(parts, ignore_errors=True)

    def forget(self) -> None:
        """Remove the files whose time is over, and what killed uploads have left."""
        now = time.time()
        old = "SELECT id FROM files WHERE expires <= ? OR (size IS NULL AND created <= ?)"
        for row in self._database.execute(old, (now, now - UNFINISHED_SECONDS)).fetchall():
            self.delete(row["id"])
        for draft in self._folder.glob("*.new"):
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < now - UNFINISHED_SECONDS:
                    self._stored -= _size(draft)
                    draft.unlink()

    def delete(self, file_id: str) -> bool:
        """Remove a file and what was uploaded for it; False when there is none."""
        for path in (self._folder / file_id, self._folder / f"{file_id}.parts"):
            self._stored -= _size(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        return self._database.execute("DELETE FROM files WHERE id = ?", (file_id,)).rowcount > 0

    async def _receive(self, draft: Path, chunks: AsyncIterator[bytes]) -> tuple[int, str]:
        size, digest = 0, hashlib.md5(usedforsecurity=False)
        try:
            with _written(draft), draft.open("wb") as target:
                async for chunk in chunks:
                    size += len(chunk)
                    self._stored += len(chunk)
                    if size > self._max_file_bytes:
                        raise TooLargeError(f"A file can have at most {self._max_file_bytes} bytes")
                    if self._stored > self._max_total_bytes:
                        raise StorageFullError(f"The storage holds at most {self._max_total_bytes} bytes")
                    digest.update(chunk)
                    target.write(chunk)
        except BaseException:
            self._stored -= size
            raise
        return size, digest.hexdigest()

    def _replace(self, draft: Path, target: Path) -> None:
        self._stored -= _size(target)
        draft.rename(target)

    def _finish(self, file: StoredFile, size: int) -> None:
        self._database.execute("UPDATE files SET size = ? WHERE id = ?", (size, file.id))


@contextmanager
def _written(draft: Path) -> Iterator[None]:
    """Leave nothing of a file that was not written whole, and say so when the disk is full."""
    try:
        yield
    except BaseException as error:
        draft.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFullError("The disk is full") from None
        raise


def _join(parts: list[Path], target: Path) -> None:
    with target.open("wb") as whole:
        for path in parts:
            with path.open("rb") as part:
                shutil.copyfileobj(part, whole)


def _size(path: Path) -> int:
    """The bytes in a file, or in all files of a folder; none where there is nothing."""
    if path.is_dir():
        return sum(_size(inner) for inner in path.iterdir())
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
