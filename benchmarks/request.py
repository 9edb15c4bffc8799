"""Everything of a request besides the networks' own passes, at the real size.

    python benchmarks/request.py

An archive of 8 photos of 2 megapixels, pictures of 1024 x 1024: unpacking and decoding, finding and cropping
faces (with the models that the tests fetch; left out where they cannot be had), CLIP's preprocessing, the
prompt, and for each picture PNG and the upload to a local platform's storage. Then the PNG encoders side by side.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parent.parent
RUNS = 7
FIRST_GOAL, NEXT_GOAL = 0.400, 0.150  # seconds
console = Console()


def photograph(width: int, height: int, seed: int) -> Image.Image:
    """A smooth picture with a camera's noise, so that codecs work as hard as on a photo."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    return Image.fromarray((smooth + random.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8))


def portrait(seed: int) -> Image.Image:
    """A face, where scikit-image brings its public-domain portrait along; else a photograph without one."""
    try:
        from skimage import data
    except ImportError:
        return photograph(1632, 1224, seed)
    picture = Image.fromarray(data.astronaut()).resize((1224, 1224), Image.Resampling.BICUBIC)
    canvas = photograph(1632, 1224, seed)
    canvas.paste(picture, (40 * seed, 0))
    return canvas


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as files:
        for number in range(8):
            encoded = io.BytesIO()
            portrait(number).save(encoded, "JPEG", quality=90)
            files.writestr(f"{number}.jpg", encoded.getvalue())
    return packed.getvalue()


def seconds(work: Callable[[], Any], runs: int = RUNS) -> float:
    """The median of several runs, after one that is not counted."""
    work()
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def face_finder() -> Any:
    """The face finder on the tests' models; None where they cannot be fetched."""
    try:
        from photomaker.faces import FaceFinder
        from tests.assets import PACK, face_root

        return FaceFinder(PACK, face_root())
    except Exception as error:  # a benchmark without faces is still one
        console.print(f"without faces: {error}", style="dim")
        return None


def breakdown() -> None:
    from transformers import AutoTokenizer

    from photomaker import PhotoMakerPipeline
    from photomaker.archive import read_photos
    from photomaker.prompts import tokenize
    from photomaker_app import upload

    packed = archive()
    photos = read_photos(packed)
    finder = face_finder()
    golden = ROOT / "tests" / "golden"
    encoder = PhotoMakerPipeline.from_pretrained(golden / "base", golden / "photomaker-v1.bin").id_encoder
    images = [photo.image for photo in photos]
    tokenizer = AutoTokenizer.from_pretrained(golden / "base" / "tokenizer")
    prompt = "instagram photo, portrait photo of a man img, colorful, perfect face, natural skin, film grain"
    picture = photograph(1024, 1024, 1)

    once = {"unpack and decode 8 photos of 2 MP": seconds(lambda: read_photos(packed))}
    if finder is not None:
        once["find and crop faces"] = seconds(lambda: finder.portraits(photos))
        images = [found.image for found in finder.portraits(photos)]
    once["CLIP preprocessing"] = seconds(lambda: encoder.preprocess(images))
    once["prompt"] = seconds(lambda: [tokenize(prompt, tokenizer, photos=8) for _ in range(2)])
    each = seconds(lambda: upload(picture, "fal_v3"))

    table = Table("", "ms", title="A request besides the networks, 1024 x 1024")
    for name, taken in once.items():
        table.add_row(name, f"{taken * 1000:.0f}")
    table.add_row("each picture: PNG and upload", f"{each * 1000:.0f}")
    total = sum(once.values()) + each
    table.add_row("one picture, in all", f"{total * 1000:.0f}", style="bold")
    console.print(table)
    for name, taken, goal in (("one picture", total, FIRST_GOAL), ("each further", each, NEXT_GOAL)):
        verdict = "within" if taken <= goal else "NOT within"
        console.print(f"{name}: {taken * 1000:.0f} ms, {verdict} {goal * 1000:.0f} ms")


def encoders() -> None:
    from photomaker.png import encode_png

    picture = photograph(1024, 1024, 1)

    def pillow(level: int) -> bytes:
        encoded = io.BytesIO()
        picture.save(encoded, "PNG", compress_level=level)
        return encoded.getvalue()

    def opencv(level: int) -> bytes:
        flipped = cv2.cvtColor(np.asarray(picture), cv2.COLOR_RGB2BGR)
        return bytes(cv2.imencode(".png", flipped, [cv2.IMWRITE_PNG_COMPRESSION, level])[1])

    candidates: dict[str, Callable[[], bytes]] = {
        "this project": lambda: encode_png(picture),
        "OpenCV, level 0": lambda: opencv(0),
        "OpenCV, level 3": lambda: opencv(3),
        "Pillow, level 1 (fal's toolkit)": lambda: pillow(1),
        "Pillow, level 6 (its default)": lambda: pillow(6),
    }
    table = Table("PNG of 1024 x 1024", "ms", "MB")
    for name, encode in candidates.items():
        data = encode()
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(picture)), name
        table.add_row(name, f"{seconds(encode) * 1000:.0f}", f"{len(data) / 1e6:.2f}")
    console.print(table)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    sys.path.insert(0, str(ROOT))
    if arguments.parse_args().inside:
        breakdown()
        encoders()
        return 0
    os.environ["PHOTOMAKER_DEPLOYMENT"] = str(ROOT / "tests" / "deployment.toml")
    os.environ["FAL_REST_HOST"] = "rest.fal.ai"  # of the hosts that the local platform stands in for
    localfal = Path(sys.executable).with_name("localfal")
    app = f"{ROOT / 'photomaker_app.py'}::PhotoMaker"
    inside = [sys.executable, __file__, "--inside"]
    command: list[str | Path] = [localfal, "exec", "--app", app, "--as", "fal-ai/photomaker", "--", *inside]
    return subprocess.run(command, check=False, cwd=ROOT).returncode


if __name__ == "__main__":
    raise SystemExit(main())
