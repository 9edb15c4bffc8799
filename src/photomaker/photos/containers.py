"""What a caller's file is: a zip, a tar, a compressed tar, or a single picture, itself compressed or not.

No name in an archive is ever a path, and no size in a header is believed: what is counted is what comes out while
reading.
"""

import bz2
import gzip
import tarfile
import zipfile
from collections.abc import Callable, Iterator

from photomaker.errors import InvalidArchiveError, UnsupportedImageFormatError, typed
from photomaker.photos.decoders import MAX_FILE_BYTES
from photomaker.photos.formats import SNIFFED_BYTES, is_image, is_unsupported_image
from photomaker.photos.meter import Meter, Readable, Source
from photomaker.photos.tars import is_tar, tar_members
from photomaker.photos.zips import zip_members

ZIP_BEGINNINGS = (b"PK\3\4", b"PK\5\6", b"PK\7\x08PK\3\4")
OTHER_ARCHIVES = {
    b"Rar!": "RAR",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "Zstandard",
    b"LZIP": "lzip",
    b"\x04\x22\x4d\x18": "LZ4",
    b"\x1f\x9d": "compress",
}

Read = Callable[[int], bytes]


def members(data: bytes, meter: Meter, on_unread: Callable[[str, str], None]) -> Iterator[tuple[str, Read]] | bytes:
    """The archive's files as name and reader, the reader good until the next one; or a single picture's bytes.

    Args:
        data: The file.
        meter: Counts what comes out.
        on_unread: Takes the name and the packing method of each file that cannot be expanded here.

    Raises:
        InvalidArchiveError: It is neither.
        FileTooLargeError: A single picture is.
        UnsupportedImageFormatError: It is a picture of a format that is not supported.
    """
    if data.startswith(ZIP_BEGINNINGS):
        return zip_members(data, meter, on_unread)
    if data.startswith(b"\x1f\x8b"):
        return _compressed("gzip", gzip.GzipFile(fileobj=Source(data, meter)), meter)
    if data.startswith(b"BZh"):
        return _compressed("bzip2", bz2.BZ2File(Source(data, meter)), meter)
    if is_tar(data[: tarfile.BLOCKSIZE]):  # before pictures: a tar begins with a name, which may look like any of them
        return tar_members(Source(data, meter), meter)
    if is_image(data[:SNIFFED_BYTES]):
        if len(data) > MAX_FILE_BYTES:
            raise meter.too_large("The picture comes", MAX_FILE_BYTES)
        return data
    with typed(lambda: _not_an_archive(data, meter)):
        if zipfile.is_zipfile(Source(data, meter)):  # behind something else, as in a self-extracting archive
            return zip_members(data, meter, on_unread)
    raise _not_an_archive(data, meter)


class _Rest:
    """A stream of which the beginning has been read already."""

    def __init__(self, head: bytes, stream: Readable) -> None:
        self._head = head
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        head, self._head = self._head[:size], self._head[size:]
        return head or self._stream.read(size)


def _compressed(kind: str, stream: Readable, meter: Meter) -> Iterator[tuple[str, Read]] | bytes:
    with typed(lambda: meter.invalid(f"The {kind} file is damaged or cut short. Upload it again.")):
        head = meter.read(stream, tarfile.BLOCKSIZE)
        if is_tar(head):
            return tar_members(_Rest(head, stream), meter)
        if not is_image(head[:SNIFFED_BYTES]):
            raise meter.invalid(
                f"The file is neither a tar archive nor a picture, but something else packed with {kind}. "
                "Send a zip, tar or tar.gz archive of photos."
            )
        picture = head + meter.read(stream, MAX_FILE_BYTES + 1 - len(head))
    if len(picture) > MAX_FILE_BYTES:
        raise meter.too_large("The picture expands", MAX_FILE_BYTES)
    return picture


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
    for signature, kind in OTHER_ARCHIVES.items():
        if data.startswith(signature):
            return meter.invalid(f"{kind} archives are not an archive format that is read. Send a zip, tar or tar.gz.")
    return meter.invalid("The file is not an archive of photos. Send a zip, tar or tar.gz archive, or one image.")
