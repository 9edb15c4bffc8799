"""The files inside a zip or tar archive: name and reader, one after the other, in memory.

No name is ever a path, and no size in a header is believed: what is counted is what comes out while reading.
"""

import bz2
import gzip
import re
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import cached_property
from io import BytesIO
from typing import IO, Protocol

from photomaker.errors import FileTooLargeError, InvalidArchiveError, UnsupportedImageFormatError
from photomaker.photos.images import SNIFFED_BYTES, is_image, is_unsupported_image

MAX_ENTRIES = 2000  # files and folders of any kind
MAX_EXPANDED_BYTES = 1024**3  # all that is read out of one archive
MAX_NAME_BYTES = 64 * 1024  # a tar's long names and other extended headers
MAX_READING_SECONDS = 120.0  # looked at between two files
SHOWN_NAME = 120  # characters

ZIP_METHODS = frozenset((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))  # the ones Python expands piece by piece
ZIP_ENCRYPTED = 0x1
ZIP_BEGINNINGS = (b"PK\3\4", b"PK\5\6", b"PK\7\x08PK\3\4")
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error)
TAR_DAMAGE = (EOFError, OSError, ValueError, zlib.error)
TAR_END = bytes(tarfile.BLOCKSIZE)
TAR_NAMES = frozenset((tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE))
TAR_BODILESS = frozenset(
    (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
)
SKIPPED_BYTES = 1024**2  # of what is passed over in a tar, at a time

Read = Callable[[int], bytes]
Skipped = Callable[[str], None]
"""Takes one line about each file that is passed over."""


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Meter:
    """Counts what one archive gives: bytes, entries, seconds."""

    def __init__(self, field: str) -> None:
        self.field = field
        self._bytes = 0
        self._entries = 0
        self._deadline = time.monotonic() + MAX_READING_SECONDS

    def count(self, chunk: bytes) -> bytes:
        self._bytes += len(chunk)
        if self._bytes > MAX_EXPANDED_BYTES:
            raise self.too_large("The archive expands", MAX_EXPANDED_BYTES)
        return chunk

    def count_entry(self) -> None:
        self._entries += 1
        if self._entries > MAX_ENTRIES:
            raise self.invalid(f"The archive has more than {MAX_ENTRIES} entries. Send the photos only.")
        if time.monotonic() > self._deadline:
            raise self.invalid("The archive takes too long to read. Send fewer or smaller photos.")

    def invalid(self, message: str) -> InvalidArchiveError:
        return InvalidArchiveError(self.field, message)

    def too_large(self, what: str, max_size: int) -> FileTooLargeError:
        return FileTooLargeError(
            self.field, f"{what} to more than {max_size:,} bytes. Send smaller photos.", max_size=max_size
        )


def members(data: bytes, meter: Meter, on_skipped: Skipped) -> Iterator[tuple[str, Read]] | None:
    """The archive's files as name and reader, the reader good until the next one; None for a single image."""
    if data.startswith(ZIP_BEGINNINGS):
        return _zip_members(data, meter, on_skipped)
    if data.startswith(b"\x1f\x8b"):
        return _tar_members(gzip.GzipFile(fileobj=BytesIO(data)), meter)
    if data.startswith(b"BZh"):
        return _tar_members(bz2.BZ2File(BytesIO(data)), meter)
    if _is_tar(data):  # before images: a tar begins with a file's name, which may look like any signature
        return _tar_members(BytesIO(data), meter)
    if is_image(data[:SNIFFED_BYTES]):
        return None
    if zipfile.is_zipfile(BytesIO(data)):  # behind something else, as in a self-extracting archive
        return _zip_members(data, meter, on_skipped)
    raise _not_an_archive(data, meter)


def _not_an_archive(data: bytes, meter: Meter) -> InvalidArchiveError | UnsupportedImageFormatError:
    if not data:
        return meter.invalid("The file is empty. Send a zip or tar archive of photos.")
    beginning = data[:512].lstrip().lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        return meter.invalid("The URL gives a web page. Use a direct link to a zip or tar archive of photos.")
    if is_unsupported_image(data[:SNIFFED_BYTES]) or b"<svg" in beginning:
        return UnsupportedImageFormatError(
            meter.field,
            "The picture is in a format that is not supported. Send JPEG, PNG, WebP or HEIC.",
        )
    return meter.invalid("The file is not an archive of photos. Send a zip, tar or tar.gz archive, or one image.")


def _zip_members(data: bytes, meter: Meter, on_skipped: Skipped) -> Iterator[tuple[str, Read]]:
    # Python reads the whole directory at once, at some 500 bytes an entry; so count its entries before.
    if data.count(b"PK\1\2") > MAX_ENTRIES:
        raise meter.invalid(f"The archive has more than {MAX_ENTRIES} entries. Send the photos only.")
    try:
        archive = zipfile.ZipFile(BytesIO(data))
    except ZIP_DAMAGE as error:
        raise meter.invalid("The zip archive is damaged or cut short. Upload it again.") from error
    for info in archive.infolist():
        meter.count_entry()
        if info.filename.endswith("/") or _is_hidden(info.filename):
            continue
        if info.flag_bits & ZIP_ENCRYPTED:
            raise meter.invalid("The zip archive is encrypted. Make it again without a password.")
        if info.compress_type not in ZIP_METHODS:
            on_skipped(f"skipped: {printable(info.filename)} is compressed with an unusual method.")
            continue
        yield info.filename, _ZipMember(archive, info, meter).read


class _ZipMember:
    """A file in a zip archive, opened when it is read, so that damage shows there and then."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> None:
        self._archive = archive
        self._info = info
        self._meter = meter

    @cached_property
    def _stream(self) -> IO[bytes]:
        return self._archive.open(self._info)

    def read(self, size: int) -> bytes:
        return self._meter.count(self._stream.read(size))


def _is_tar(data: bytes) -> bool:
    block = data[: tarfile.BLOCKSIZE]
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return block == TAR_END  # an archive without entries
    return True


def _tar_members(stream: Readable, meter: Meter) -> Iterator[tuple[str, Read]]:
    """Walks a tar from front to end.

    tarfile reads each header; TarFile itself would follow chains of extended headers recursively, and search
    them with expressions of quadratic cost, which a stranger's archive can turn into hours.
    """
    left = 0  # bytes of the current entry still to come

    def expand(size: int) -> bytes:
        try:
            return meter.count(stream.read(size))
        except TAR_DAMAGE as error:
            raise meter.invalid("The tar archive is damaged or cut short. Upload it again.") from error

    def read(size: int) -> bytes:
        nonlocal left
        size = min(size, left)
        chunk = expand(size)
        if len(chunk) < size:
            raise meter.invalid("The tar archive is cut short. Upload it again.")
        left -= size
        return chunk

    long_name = None
    while block := expand(tarfile.BLOCKSIZE):
        meter.count_entry()
        if block == TAR_END:
            return
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise meter.invalid("The file is not a tar archive, or a damaged one. Upload it again.") from error
        if header.size < 0:
            raise meter.invalid("The tar archive is damaged. Upload it again.")
        left = 0 if header.type in TAR_BODILESS else header.size
        padding = -left % tarfile.BLOCKSIZE
        if header.type in TAR_NAMES:
            long_name = _long_name(read(MAX_NAME_BYTES)) or long_name
        else:
            name, long_name = long_name or header.name, None
            if header.isreg() and not header.issparse() and not _is_hidden(name):
                yield name, read
        while left:
            read(SKIPPED_BYTES)
        expand(padding)


def _long_name(records: bytes) -> str | None:
    """The name in the body of a GNU long name or of a pax extended header; a mere label, so roughly."""
    path = re.search(rb"(?:^|\n)[0-9]{1,6} path=([^\n]*)\n", records)
    if path is None and re.match(rb"[0-9]{1,6} [^\n=]{1,99}=", records):
        return None  # a pax header about other things
    return (path[1] if path else records.partition(b"\0")[0]).decode("utf-8", "replace")


def _is_hidden(name: str) -> bool:
    parts = re.split(r"[/\\]", name)
    return any(part == "__MACOSX" or (part[:1] == "." and part not in (".", "..")) for part in parts)


def printable(name: str) -> str:
    """A name as messages may carry it: its end, where the file's own name is, without control characters."""
    shown = name.removeprefix("./")[-SHOWN_NAME:]
    return "".join(character if character.isprintable() else "?" for character in shown) or "A nameless file"
