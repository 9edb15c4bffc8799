"""Pictures that make their decoder work without end, and how each is stopped."""

import os
import select
import signal
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fuzzing.hostile import endless_exif, huge_tile, tiff
from photomaker.errors import Cancelled, ImageLoadError, OwnFault
from photomaker.photos import decoders as module
from photomaker.photos import pixels
from photomaker.photos.archive import read_photos
from photomaker.photos.decoders import Decoders, Undecodable, decoders
from photomaker.photos.decoding import MEMORY_EXIT, MIB, Limits, Refusal
from photomaker.photos.images import read_image
from tests.photos.samples import halves, picture, saved, zipped


@pytest.fixture
def one():
    """One process of its own, with limits of its own."""
    pools = []

    def pool(**limits) -> Decoders:
        pools.append(Decoders(1, Limits(**limits)))
        return pools[-1]

    yield pool
    for made in pools:
        made.close()


def after(calls: int):
    """A caller who takes the request back when asked for the nth time."""
    asked = iter(range(calls))

    def check() -> None:
        if next(asked, None) is None:
            raise Cancelled

    return check


def process(pool: Decoders) -> int:
    pool.decode(picture(), 64)
    [decoder] = pool._idle
    return decoder._process.pid


@pytest.mark.slow
def test_a_picture_that_decodes_for_ever_is_stopped_by_its_processor_time(one):
    pool = one(processor_seconds=1)
    with pytest.raises(Undecodable) as caught:
        pool.decode(endless_exif(), 1536)
    assert caught.value.refusal is Refusal.TIME
    assert pool.decode(picture(), 1536).size == (64, 48)  # by a new process


def test_a_picture_that_decodes_for_ever_is_stopped_by_the_clock(one):
    with pytest.raises(Undecodable) as caught:
        one(processor_seconds=600, seconds=0.5).decode(endless_exif(), 1536)
    assert caught.value.refusal is Refusal.TIME


def test_where_no_process_starts_the_next_picture_is_told_and_the_one_after_finds_them_again(one, monkeypatch):
    pool = one()
    pool.decode(picture(), 64)
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(Cancelled):  # which ends its process
            pool.decode(endless_exif(), 1536, after(2))
        with pytest.raises(OwnFault, match="cannot be started"):
            pool.decode(picture(), 64)
    assert pool.decode(picture(), 64).size == (64, 48)


def test_a_cancelled_request_ends_its_decoding_at_once():
    data = endless_exif()
    with pytest.raises(Cancelled):
        read_image(data, check=after(3))
    with pytest.raises(Cancelled):
        read_photos(zipped([("a.jpg", data), ("b.jpg", data), ("c.jpg", data)]), check=after(60))


def test_one_caller_does_not_wait_for_anothers_endless_picture():
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Cancelled

    def hostile() -> None:
        with pytest.raises(Cancelled):
            read_image(endless_exif(), check=check)

    threads = [threading.Thread(target=hostile) for _ in range(decoders().count)]
    for thread in threads:
        thread.start()
    stop.set()
    assert read_image(picture()).size == (64, 48)
    for thread in threads:
        thread.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        huge_tile(20_000),
        tiff({256: (3, [64]), 257: (3, [64]), 258: (3, [8]), 262: (3, [1]), 273: (5, [8, 3] * 1_000_000)}),
    ],
    ids=["one tile of 400 MB", "1,000,000 strips"],
)
def test_structure_that_asks_for_more_than_the_picture_is_refused_by_the_system(data, one):
    pool = one(memory=300 * MIB)
    with pytest.raises(Undecodable):
        pool.decode(data, 1536)
    assert pool.decode(picture(), 1536).size == (64, 48)


def test_a_small_file_that_asks_for_gigabytes_is_refused():
    with pytest.raises(ImageLoadError):
        read_photos(zipped([("a.tif", huge_tile(46_000)), ("b.tif", huge_tile(46_000))], zipfile.ZIP_DEFLATED))
    assert read_image(picture()).size == (64, 48)


@pytest.mark.slow
def test_memory_is_bounded_for_the_process_as_a_whole(one):
    pool = one(memory=300 * MIB)
    assert pool.decode(picture("PNG", (1000, 1000)), 1536).size == (1000, 1000)
    with pytest.raises(Undecodable) as caught:
        pool.decode(picture("PNG", (12_000, 4_000), mode="RGBA"), 1536)
    assert caught.value.refusal is Refusal.MEMORY


def test_a_large_picture_has_more_memory_and_a_turn_of_its_own(one):
    large = picture("PNG", (9_000, 6_000), compress_level=1)
    assert one(memory=200 * MIB, large_memory=400 * MIB).decode(large, 1536).size == (1536, 1024)
    with pytest.raises(Undecodable):
        one(memory=200 * MIB, large_memory=210 * MIB).decode(large, 1536)


def test_where_the_system_keeps_no_limit_the_process_watches_itself():
    program = (
        "import time; from photomaker.photos.decoding import Memory\n"
        "Memory._kept_by_the_system = lambda self: False\n"
        "Memory(150 * 2**20); held = bytes(200 * 2**20)[:-1]; time.sleep(600)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == MEMORY_EXIT


def test_a_process_that_dies_costs_one_picture(one):
    pool = one()
    victim = process(pool)

    def kill() -> None:
        os.kill(victim, signal.SIGSEGV)

    with pytest.raises(Undecodable) as caught:
        pool.decode(endless_exif(), 1536, kill)
    assert caught.value.refusal is Refusal.CRASH
    assert process(pool) != victim


def test_a_picture_is_not_to_blame_for_a_process_that_somebody_killed(one):
    """A system that runs out of memory ends these first of all."""
    pool = one()
    for _ in range(3):
        os.kill(process(pool), signal.SIGKILL)  # while it is idle
    at_work, asked = process(pool), []

    def check() -> None:
        asked.append(1)
        if len(asked) == 1:
            os.kill(at_work, signal.SIGKILL)
        if len(asked) > 2:
            raise Cancelled  # by the process that has taken the killed one's place

    with pytest.raises(Cancelled):
        pool.decode(endless_exif(), 1536, check)


def test_processes_that_cannot_start_are_no_fault_of_the_picture(monkeypatch, one):
    monkeypatch.setattr(module, "_environment", lambda: {"PYTHONPATH": "/nowhere"})
    monkeypatch.setattr(module.sys, "executable", "/usr/bin/false")
    monkeypatch.setattr("photomaker.photos.images.decoders", one)
    with pytest.raises(OwnFault):
        read_image(picture())


def test_a_process_takes_no_secret_along_and_writes_no_file(monkeypatch, one):
    monkeypatch.setenv("FAL_KEY", "secret")
    at = Path("/proc") / str(process(one()))
    assert b"secret" not in (at / "environ").read_bytes()
    limits = {line[:26].strip(): line[26:].split()[0] for line in (at / "limits").read_text().splitlines()}
    assert limits["Max file size"] == limits["Max core file size"] == "0"
    assert limits["Max data size"] == str(1024 * MIB)


def test_a_process_ends_with_the_one_it_works_for():
    program = (
        "from photomaker.photos.decoders import decoders; decoders().warm()\n"
        "print(*(decoder._process.pid for decoder in decoders()._idle), flush=True); import os; os.kill(os.getpid(), 9)"
    )
    pids = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True).stdout.split()
    assert pids
    for pid in pids:
        descriptor = None
        try:
            descriptor = os.pidfd_open(int(pid))
        except ProcessLookupError:
            continue
        assert select.select([descriptor], [], [], 60)[0], "it is still there"
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "HEIF"])
def test_another_process_decodes_the_very_pixels(kind):
    pixels.prepare()
    data = saved(halves((2000, 1400)), kind)
    ours = np.asarray(read_image(data))
    assert np.array_equal(ours, pixels.upright_rgb(data, 1536))
