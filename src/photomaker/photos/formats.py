"""Which pictures are taken: the formats, told by a file's first bytes alone, and the sizes."""

SNIFFED_BYTES = 32
MIN_SIDE = 32  # pixels; there is no face to find in less
MAX_SIDE = 16_384  # pixels, about what the formats other than JPEG, PNG and TIFF can express; 200 megapixels pass
MAX_RATIO = 48  # of the sides; a photo scaled down to 1536 pixels still has 32

_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\0",
    b"MM\0*",
)
_HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"avif", b"avis")
)
_OTHER_PICTURES = (
    b"8BPS",  # Photoshop
    b"%!PS",  # PostScript
    b"<svg",
    b"\0\0\0\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",  # JPEG 2000 codestream
    b"\0\0\0\x0cJXL ",
    b"\xff\x0a",  # JPEG XL codestream
    b"\0\0\1\0",  # icon
    b"v/1\1",  # OpenEXR
    b"#?RADIANCE",
)


def is_image(head: bytes) -> bool:
    """Whether a file that begins so (``SNIFFED_BYTES`` suffice) claims to be of a supported format."""
    if head[4:8] == b"ftyp":
        return head[8:12] in _HEIF_BRANDS
    return head.startswith(_SIGNATURES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_unsupported_image(head: bytes) -> bool:
    """Whether a file that begins so is a picture, but of a format that is not supported."""
    return head.startswith(_OTHER_PICTURES)
