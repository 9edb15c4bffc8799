"""Bytes made a little wrong, in the ways that parsers trip over; all of it follows from a seed."""

from collections.abc import Callable, Sequence
from random import Random

MAX_BYTES = 4 * 1024**2  # of one case
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63, 2**64 - 1)

Mutation = Callable[[bytearray, Random, Sequence[bytes]], None]


def mutated(sample: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """The sample after one to eight mutations; ``others`` lend it their pieces."""
    data = bytearray(sample)
    for _ in range(random.choice((1, 1, 2, 3, 5, 8))):
        random.choice(MUTATIONS)(data, random, others)
        del data[MAX_BYTES:]
    return bytes(data)


def _place(data: bytearray, random: Random) -> int:
    """Anywhere, more often near the beginning, where headers are."""
    reach = random.choice((64, 512, len(data), len(data)))
    return random.randrange(max(1, min(reach, len(data))))


def flip(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """One bit."""
    if data:
        data[_place(data, random)] ^= 1 << random.randrange(8)


def number(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A number that is the last or the first of its kind, in place of what was there."""
    size, at = random.choice((1, 2, 4, 8)), _place(data, random)
    value = random.choice(NUMBERS) % (1 << 8 * size)
    data[at : at + size] = value.to_bytes(size, random.choice(("little", "big")))


def cut(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """The end, gone."""
    del data[_place(data, random) :]


def remove(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A piece, gone."""
    at = _place(data, random)
    del data[at : at + random.choice((1, 2, 16, 300))]


def repeat(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A piece, many times over."""
    at = _place(data, random)
    piece = data[at : at + random.choice((1, 4, 16, 64, 1000))]
    data[at:at] = piece * random.choice((1, 2, 50, 2000))


def noise(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Random bytes in place of what was there."""
    at, size = _place(data, random), random.choice((1, 8, 64, 1024))
    data[at : at + size] = random.randbytes(size)


def borrow(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """A piece of another sample."""
    other = random.choice(others)
    start = random.randrange(max(1, len(other)))
    at = _place(data, random)
    data[at : at + random.choice((0, 64))] = other[start : start + random.choice((4, 64, 4096))]


def join(data: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Another sample behind this one."""
    data += random.choice(others)


MUTATIONS: tuple[Mutation, ...] = (flip, flip, number, number, number, cut, remove, repeat, noise, borrow, join)
