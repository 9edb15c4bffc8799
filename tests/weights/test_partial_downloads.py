"""Downloads whose process is killed: the next one goes on from the bytes on the disk."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from photomaker.weights.sources import Hub, digest
from tests.deploy.waiting import eventually
from tests.hub import Hub as HubServer

pytestmark = pytest.mark.slow

MIB = 2**20
NAME = "unet/diffusion_pytorch_model.safetensors"
SMALL = "unet/config.json"
PROGRAM = (
    "import sys; from pathlib import Path; from photomaker.weights.sources import Hub\n"
    "hub = Hub(Path(sys.argv[1])); (hub.base if sys.argv[2].count('/') == 1 else hub.file)(sys.argv[2])"
)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A repository in the layout of a base, with one file that takes long."""
    folder = tmp_path / "published"
    for name, content in {
        NAME: os.urandom(64 * MIB),
        "vae/diffusion_pytorch_model.safetensors": os.urandom(2 * MIB),
        SMALL: b"{}",
        "model_index.json": b"{}",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def hub(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer({"some/base": published}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def start(cache: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Downloads in processes of their own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(source: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", PROGRAM, str(cache), source]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def unfinished(cache: Path) -> list[Path]:
    """What is on its way; a walk, unlike a glob, may meet folders that come and go."""
    return [Path(folder, name) for folder, _, names in os.walk(cache) for name in names if name.endswith(".incomplete")]


def stalled(cache: Path) -> bool:
    """Whether all is there that the hub sends before it stalls, in the library's whole chunks of 10 MiB."""
    try:
        return any(path.stat().st_size == 30 * MIB for path in unfinished(cache))
    except FileNotFoundError:  # a small one has just been finished
        return False


def kill_midway(process: subprocess.Popen[bytes], cache: Path) -> int:
    """Kill a stalled download; returns how many bytes of the file are on the disk."""
    eventually(lambda: stalled(cache), 60)
    process.kill()
    process.wait()
    assert unfinished(cache)
    return max(path.stat().st_size for path in unfinished(cache))


@pytest.mark.parametrize("elsewhere", [False, True], ids=["from the hub", "from another host"])
@pytest.mark.parametrize("source", ["some/base", f"some/base/{NAME}"])
def test_a_killed_download_is_continued(
    hub: HubServer,
    published: Path,
    cache: Path,
    start: Callable[[str], subprocess.Popen[bytes]],
    source: str,
    elsewhere: bool,
) -> None:
    hub.elsewhere = elsewhere
    hub.stall.add(NAME)
    there = kill_midway(start(source), cache)
    told: list[tuple[int, int]] = []
    hub_here = Hub(cache, progress=lambda _, *bytes_: told.append(bytes_))
    path = hub_here.base(source) / NAME if source.count("/") == 1 else hub_here.file(source)
    assert digest(path) == digest(published / NAME)
    assert hub.asked[NAME] == [0, there]
    assert (64 * MIB, 64 * MIB) in told
    assert not unfinished(cache)


def test_whoever_waits_for_a_killed_download_continues_it(
    hub: HubServer, cache: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    hub.stall.add(NAME)
    first = start("some/base")
    eventually(lambda: bool(unfinished(cache)), 60)
    asked = hub.requests
    second = start("some/base")
    eventually(lambda: hub.requests > asked, 60)  # it is up, and has looked at what there is
    there = kill_midway(first, cache)
    assert second.wait(60) == 0
    assert hub.asked[NAME] == [0, there]
    assert not unfinished(cache)


@pytest.mark.parametrize("damage", ["other bytes", "longer than the file", "empty"])
def test_what_cannot_be_continued_is_downloaded_anew(
    hub: HubServer, published: Path, cache: Path, start: Callable[[str], subprocess.Popen[bytes]], damage: str
) -> None:
    hub.stall.add(NAME)
    kill_midway(start(f"some/base/{NAME}"), cache)
    (left,) = unfinished(cache)
    left.write_bytes({"other bytes": bytes(30 * MIB), "longer than the file": bytes(65 * MIB), "empty": b""}[damage])
    path = Hub(cache).file(f"some/base/{NAME}")
    assert digest(path) == digest(published / NAME)
    assert not unfinished(cache)


def test_several_leftovers_end_as_one_file(
    hub: HubServer, cache: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    hub.stall.add(NAME)
    there = kill_midway(start(f"some/base/{NAME}"), cache)
    (left,) = unfinished(cache)
    etag = left.name.partition(".")[0]
    left.with_name(f"{etag}.0badcafe.incomplete").write_bytes(left.read_bytes()[: 10 * MIB])
    Hub(cache).file(f"some/base/{NAME}")
    assert hub.asked[NAME] == [0, there]
    assert not unfinished(cache)


def test_only_old_leftovers_of_other_files_are_deleted(
    hub: HubServer, cache: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    hub.stall.add(NAME)
    kill_midway(start(f"some/base/{NAME}"), cache)
    Hub(cache).file(f"some/base/{SMALL}")
    (left,) = unfinished(cache)  # somebody may be writing to it
    os.utime(left, (0, 0))
    Hub(cache).file("some/base/model_index.json")
    assert not unfinished(cache)


def test_a_continued_download_outlives_a_broken_connection(
    hub: HubServer, cache: Path, start: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    hub.stall.add(NAME)
    there = kill_midway(start(f"some/base/{NAME}"), cache)
    hub.cut.add(NAME)  # half of the rest, then a second connection
    Hub(cache).file(f"some/base/{NAME}")
    first, second, third = hub.asked[NAME]
    assert (first, second) == (0, there)
    assert there < third < 64 * MIB
