"""A short run of the fuzzer from a fixed seed, and everything that longer runs found before."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from fuzzing.__main__ import CASES, NAMES, fuzz, started
from fuzzing.mutations import mutated
from fuzzing.targets import Photos, Target

FOUND = sorted(case for case in CASES.iterdir() if case.suffix != ".md")


@pytest.fixture(scope="module")
def targets() -> Iterator[dict[str, Target]]:
    with ExitStack() as stack:
        yield {target.name: target for target in started(list(NAMES), stack)}


def test_a_short_run_on_photos_finds_nothing() -> None:
    assert fuzz([Photos()], seed=1, seconds=sys.maxsize, cases=400, kept=None) == {}


@pytest.mark.slow
def test_a_short_run_on_the_whole_app_finds_nothing(targets: dict[str, Target]) -> None:
    wire = [targets["bodies"], targets["requests"]]
    assert fuzz(wire, seed=1, seconds=sys.maxsize, cases=210, kept=None) == {}


@pytest.mark.slow
@pytest.mark.parametrize("case", FOUND, ids=lambda case: case.name)
def test_what_was_found_before_is_mended(case: Path, targets: dict[str, Target]) -> None:
    assert targets[case.name.partition("-")[0]].finding(case.read_bytes()) is None


def test_a_seed_makes_the_same_cases() -> None:
    others = [b"one sample", b"and another"]
    first, second = ([mutated(b"GET / HTTP/1.1\r\n" * 9, Random(seed), others) for seed in range(50)] for _ in range(2))
    assert first == second
    assert len(set(first)) > 40


def test_a_crash_is_found_and_kept(tmp_path: Path) -> None:
    class Fragile(Photos):
        def finding(self, case: bytes) -> str | None:
            return "crash" if b"\xff\xff\xff\xff" in case else None

    assert fuzz([Fragile()], seed=1, seconds=sys.maxsize, cases=200, kept=tmp_path).keys() == {"photos: crash"}
    assert b"\xff\xff\xff\xff" in next(tmp_path.iterdir()).read_bytes()
