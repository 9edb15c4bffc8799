"""The files inside a zip archive, expanded piece by piece whatever they are packed with."""

import bz2
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from copy import copy
from functools import cached_property
from typing import IO

from photomaker.errors import typed
from photomaker.photos.meter import MAX_ENTRIES, Meter, Readable, Source
from photomaker.photos.names import is_hidden, printable

MAX_DIRECTORY_BYTES = 1024**2  # 2000 entries with names of 400 bytes; Python's reader is quadratic in an entry's
MAX_DICTIONARY_BYTES = 64 * 1024**2  # that LZMA keeps at hand; its strongest preset's
ENCRYPTED = 0x1
LZMA_HEADER = struct.Struct("<BBHBI")  # version, length of the properties, lc/lp/pb, size of the dictionary
METHODS = {
    1: "Shrink",
    6: "Implode",
    9: "Deflate64",
    zipfile.ZIP_BZIP2: "bzip2",
    zipfile.ZIP_LZMA: "LZMA",
    93: "Zstandard",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES",
}

Read = Callable[[int], bytes]


def zip_members(data: bytes, meter: Meter, on_unread: Callable[[str, str], None]) -> Iterator[tuple[str, Read]]:
    """Each file's name and reader, the reader good until the next one.

    Args:
        data: The archive.
        meter: Counts.
        on_unread: Takes the printable name and the packing method of each file that cannot be expanded here.

    Raises:
        InvalidArchiveError: Damaged, encrypted, or with too many entries.
    """
    # Python reads the whole directory at once, at some 500 bytes an entry; so count its entries before.
    if data.count(b"PK\1\2") > MAX_ENTRIES:
        raise meter.too_many_entries()
    source = Source(data, meter)
    source.longest = MAX_DIRECTORY_BYTES
    with typed(lambda: meter.invalid("The zip archive is damaged or cut short. Upload it again.")):
        archive = zipfile.ZipFile(source)
    source.longest = None
    for info in archive.infolist():
        meter.count_entry()
        if info.filename.endswith("/") or is_hidden(info.filename):
            continue
        if info.flag_bits & ENCRYPTED:
            raise meter.invalid("The zip archive is encrypted. Make it again without a password.")
        if info.compress_type not in _EXPANDERS:
            on_unread(printable(info.filename), METHODS.get(info.compress_type, f"method {info.compress_type}"))
            continue
        yield info.filename, _Member(archive, info, meter).read


class _Member:
    """A file in a zip archive, opened when it is read, so that damage shows there and then."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter) -> None:
        self._archive = archive
        self._info = info
        self._meter = meter
        self._left = info.file_size
        self._sum = 0

    @cached_property
    def _stream(self) -> Readable:
        # zipfile itself expands bzip2 and LZMA without a bound; so it hands out the packed bytes as they are.
        packed = copy(self._info)
        packed.compress_type = zipfile.ZIP_STORED
        packed.file_size = packed.compress_size
        del packed.CRC  # of the expanded bytes
        return _EXPANDERS[self._info.compress_type](self._archive.open(packed))

    def read(self, size: int) -> bytes:
        content = self._meter.read(self._stream, min(size, self._left))
        self._sum = zlib.crc32(content, self._sum)
        self._left -= len(content)
        if self._left == 0 and self._sum != self._info.CRC:
            raise zipfile.BadZipFile("the checksum does not fit")
        if not content and size and self._left:
            raise EOFError("the file is cut short")
        return content


class _Inflated:
    """Raw deflate, expanded by as much as is asked for."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, size: int, /) -> bytes:
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._packed.read(64 * 1024)
            expanded = self._inflate.decompress(packed, size)
            if expanded or not packed:
                return expanded
        return b""


def _lzma(packed: IO[bytes]) -> Readable:
    *_, properties, dictionary = LZMA_HEADER.unpack(packed.read(LZMA_HEADER.size))
    if dictionary > MAX_DICTIONARY_BYTES:
        raise ValueError(f"an LZMA dictionary of {dictionary} bytes")
    settings = {
        "id": lzma.FILTER_LZMA1,
        "dict_size": dictionary,
        "lc": properties % 9,
        "lp": properties // 9 % 5,
        "pb": properties // 45,
    }
    return lzma.LZMAFile(packed, format=lzma.FORMAT_RAW, filters=[settings])


def _as_it_is(packed: IO[bytes]) -> Readable:
    return packed


_EXPANDERS: dict[int, Callable[[IO[bytes]], Readable]] = {
    zipfile.ZIP_STORED: _as_it_is,
    zipfile.ZIP_DEFLATED: _Inflated,
    zipfile.ZIP_BZIP2: bz2.BZ2File,
    zipfile.ZIP_LZMA: _lzma,
}
