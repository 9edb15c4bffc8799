"""The files inside a tar archive, walked from front to end."""

import re
import tarfile
from collections.abc import Callable, Iterator

from photomaker.errors import typed
from photomaker.photos.meter import Meter, Readable
from photomaker.photos.names import is_hidden

MAX_NAME_BYTES = 64 * 1024  # a tar's long names and other extended headers
SKIPPED_BYTES = 1024**2  # of what is passed over, at a time
END = bytes(tarfile.BLOCKSIZE)
NAMES = frozenset((tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE))
BODILESS = frozenset(
    (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
)

Read = Callable[[int], bytes]


def is_tar(head: bytes) -> bool:
    """Whether a file that begins so (``tarfile.BLOCKSIZE`` suffice) is a tar archive, if only an empty one."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return head == END
    return True


def tar_members(stream: Readable, meter: Meter) -> Iterator[tuple[str, Read]]:
    """Each file's name and reader, the reader good until the next one.

    tarfile reads each header; TarFile itself would follow chains of extended headers recursively, and search
    them with expressions of quadratic cost, which a stranger's archive can turn into hours.

    Raises:
        InvalidArchiveError: Damaged, cut short, or with too many entries.
    """
    left = 0  # bytes of the current entry still to come

    def expand(size: int) -> bytes:
        with typed(lambda: meter.invalid("The tar archive is damaged or cut short. Upload it again.")):
            return meter.read(stream, size)

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
        if block == END:
            return
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise meter.invalid("The file is not a tar archive, or a damaged one. Upload it again.") from error
        if header.size < 0:
            raise meter.invalid("The tar archive is damaged. Upload it again.")
        left = 0 if header.type in BODILESS else header.size
        padding = -left % tarfile.BLOCKSIZE
        if header.type in NAMES:
            long_name = _long_name(read(MAX_NAME_BYTES)) or long_name
        else:
            name, long_name = long_name or header.name, None
            if header.isreg() and not header.issparse() and not is_hidden(name):
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
