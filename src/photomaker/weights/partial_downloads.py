"""What a killed download left on the disk: continued where it ends, or deleted.

huggingface_hub resumes a download whose connection breaks. But each attempt writes to a name of its own,
``blobs/ETAG.RANDOM.incomplete``, which no later one looks for: what a killed process had of a file would be
downloaded again, and stay on the disk for ever.
"""

import hashlib
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfFileMetadata, get_hf_file_metadata, hf_hub_url
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]  # exported lazily

SHA256 = re.compile("[0-9a-f]{64}")  # the etag of a large file is its content's
ABANDONED = 24 * 3600  # seconds without a byte after which nobody is writing to a file any more
CONNECTIONS = 8  # as many as huggingface_hub downloads of a repository at once


@dataclass(frozen=True)
class PartialDownloads:
    """Unfinished files of one repository in the hub's cache.

    Attributes:
        repository: "owner/name".
        cache: The cache's folder; None: the user's own.
        endpoint: The hub's address; None: huggingface_hub's own.
    """

    repository: str
    cache: Path | None = None
    endpoint: str | None = None

    @property
    def lock(self) -> Path:
        """Whoever holds it downloads from this repository, and finds what the one before left."""
        return self._locks / "photomaker.lock"

    def finish(self, names: Iterable[str], revision: str | None, tqdm_class: type[Any]) -> None:
        """Bring the unfinished ones among files that are wanted now to their end, and delete old ones of others.

        Args:
            names: Of the files in the repository.
            revision: The commit, branch or tag; None: the main branch.
            tqdm_class: Told about bytes, as huggingface_hub tells it.

        Raises:
            OSError: The disk or the network fails. What is there stays for the next attempt.
        """
        for path in self._unfinished():
            if time.time() - state(path)[1] > ABANDONED:
                path.unlink(missing_ok=True)
        if self._unfinished():
            with ThreadPoolExecutor(CONNECTIONS) as connections:
                list(connections.map(partial(self._finish, revision, tqdm_class), names))

    @property
    def _root(self) -> Path:
        return self.cache or Path(HF_HUB_CACHE)

    @property
    def _folder(self) -> str:
        return repo_folder_name(repo_id=self.repository, repo_type="model")

    @property
    def _locks(self) -> Path:
        return self._root / ".locks" / self._folder

    def _unfinished(self, etag: str = "*") -> list[Path]:
        """Longest last."""
        blobs = self._root / self._folder / "blobs"
        return sorted(blobs.glob(f"{etag}.*.incomplete"), key=state)

    def _finish(self, revision: str | None, tqdm_class: type[Any], name: str) -> None:
        url = hf_hub_url(self.repository, name, revision=revision, endpoint=self.endpoint)
        file = get_hf_file_metadata(url, endpoint=self.endpoint)
        if file.etag is None or not self._unfinished(file.etag):
            return
        with WeakFileLock(self._locks / f"{file.etag}.lock"):  # the library's own: nobody is writing to them now
            unfinished = self._unfinished(file.etag)
            if unfinished and completed(unfinished[-1], url, file, tqdm_class):
                path = unfinished.pop()
                path.replace(path.with_name(file.etag))
            for path in unfinished:
                path.unlink(missing_ok=True)


def completed(path: Path, url: str, file: HfFileMetadata, tqdm_class: type[Any]) -> bool:
    """Whether the rest of a file could be put behind what is there of it; its content is checked."""
    done = path.stat().st_size
    if not done or file.size is None or done > file.size or not SHA256.fullmatch(file.etag or ""):
        return False
    with path.open("r+b") as target:
        target.seek(0, os.SEEK_END)
        http_get(
            url,
            target,
            resume_size=done,
            headers=build_hf_headers(),
            expected_size=file.size,
            tqdm_class=tqdm_class,
        )
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.etag


def state(path: Path) -> tuple[int, float]:
    """Bytes, and when the last one was written; of a file that is gone by now, none just now."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, time.time()
    return found.st_size, found.st_mtime
