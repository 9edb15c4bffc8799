"""Everything of a request besides the networks' own passes, at the real size.

    python benchmarks/request.py

An archive of 8 photos of 2 megapixels, pictures of 1024 x 1024: unpacking and decoding, finding and cropping
faces (with the models that the tests fetch; left out where they cannot be had), CLIP's preprocessing, the
prompt, and for each picture its pixels, the safety check, PNG and the upload to a local platform's storage. Where a
step has networks of its own, it is timed twice: as it is, and with their answers from memory. Then the PNG encoders
side by side; those besides OpenCV and Pillow are compared where they are installed
(pip install fpng pyspng-seunglab imagecodecs).
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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

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
        from photomaker.photos.faces import FaceFinder
        from tests.assets import PACK, face_root

        return FaceFinder(PACK, face_root())
    except Exception as error:  # a benchmark without faces is still one
        console.print(f"without faces: {error}", style="dim")
        return None


class Remembered:
    """A network's pass that is run once for each input, and answers from memory from then on."""

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run
        self.answers: dict[Any, Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        inputs = arguments[-1].values() if isinstance(arguments[-1], dict) else arguments[-1:]
        key = tuple((array.shape, array.reshape(-1)[::509].tobytes()) for array in inputs)
        if key not in self.answers:
            self.answers[key] = self.run(*arguments)
        return self.answers[key]


@dataclass(frozen=True)
class Step:
    """Seconds: besides its networks' own passes, and with them."""

    besides: float
    in_all: float


def timed(work: Callable[[], Any], *networks: tuple[Any, str]) -> Step:
    """A step; each of its networks is an object and the name of the method that is its pass."""
    in_all = seconds(work)
    if not networks:
        return Step(in_all, in_all)
    with ExitStack() as patches:
        for owner, name in networks:
            patches.enter_context(patch.object(owner, name, Remembered(getattr(owner, name))))
        return Step(seconds(work), in_all)


def once_a_request() -> dict[str, Step]:
    """The steps before the pictures."""
    from transformers import AutoTokenizer

    from photomaker import PhotoMakerPipeline
    from photomaker.method.prompts import read_prompt
    from photomaker.photos.archive import read_photos
    from photomaker.weights.prepared import hush

    hush()
    golden = ROOT / "tests" / "golden"
    encoder = PhotoMakerPipeline.from_pretrained(golden / "base", golden / "photomaker-v1.bin").id_encoder
    tokenizer = AutoTokenizer.from_pretrained(golden / "base" / "tokenizer")
    prompt = "instagram photo, portrait photo of a man img, colorful, perfect face, natural skin, film grain"
    packed = archive()
    photos = read_photos(packed)
    images = [photo.image for photo in photos]
    finder = face_finder()

    steps = {"unpack and decode 8 photos of 2 MP": timed(lambda: read_photos(packed))}
    if finder is not None:
        sessions = ((model.session, "run") for model in (finder.detector, finder.recogniser))
        steps["find and crop faces (small models)"] = timed(lambda: finder.portraits(photos), *sessions)
        images = [found.image for found in finder.portraits(photos)]
    steps["CLIP preprocessing"] = timed(lambda: encoder.preprocess(images))
    steps["prompt"] = timed(lambda: [read_prompt(prompt, tokenizer).tokens(8) for _ in range(2)])
    return steps


def each_picture() -> dict[str, Step]:
    """The steps from the decoder's pixels to an address."""
    import torch
    from diffusers.image_processor import VaeImageProcessor

    from photomaker.delivery import deliver
    from photomaker.pictures.png import encode_png
    from photomaker.pictures.safety import SafetyChecker
    from photomaker.request import Picture

    picture = photograph(1024, 1024, 1)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    processor, safety = VaeImageProcessor(), SafetyChecker()
    check = timed(lambda: safety.flags([picture]), (safety.classifier, "score_array"))
    png = seconds(lambda: encode_png(picture))
    sent = seconds(lambda: deliver(1, Picture(picture), "png", "fal_v3", lambda line: None))
    return {
        "each: pixels to a picture": timed(lambda: processor.postprocess(pixels, output_type="pil")),
        "each: safety check": check,
        "each: PNG": Step(png, png),
        "each: upload": Step(sent - png, sent - png),
    }


def breakdown() -> None:
    """The table of steps, and whether the goals are met."""
    steps, each = once_a_request(), each_picture()
    further = total(each)
    first = total(steps | each)
    table = Table("", "besides networks, ms", "with them, ms", title="A request of 1024 x 1024")
    for name, step in {**steps, **each, "one picture": first, "each further": further}.items():
        table.add_row(name, f"{step.besides * 1000:.0f}", f"{step.in_all * 1000:.0f}")
    console.print(table)
    for name, taken, goal in (("one picture", first, FIRST_GOAL), ("each further", further, NEXT_GOAL)):
        verdict = "within" if taken.besides <= goal else "NOT within"
        console.print(f"{name}: {taken.besides * 1000:.0f} ms, {verdict} {goal * 1000:.0f} ms")


def total(steps: dict[str, Step]) -> Step:
    return Step(sum(step.besides for step in steps.values()), sum(step.in_all for step in steps.values()))


def encoders() -> None:
    """The table of PNG encoders."""
    from png_encoders import compared

    face = portrait(0).crop((0, 0, 1224, 1224)).resize((1024, 1024), Image.Resampling.BICUBIC)
    table, missing = compared({"noise": photograph(1024, 1024, 1), "face": face}, seconds)
    console.print(table)
    for name in missing:
        console.print(f"{name}: not installed")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    sys.path.insert(0, str(ROOT))
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
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
