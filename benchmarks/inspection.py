"""How long /inspect takes besides downloading.

    python benchmarks/inspection.py

Eight photos of 12 megapixels, as phones take them, through the service with the tests' real face models (smaller than
InsightFace's own packs): one by one as `image_urls` brings them, and in a zip. Real photos, enlarged, with a camera's
noise; one is in profile, which is looked at every way up, and one shows six people. Wall time, and the processor's, of
the decoding processes too, which other work beside it stretches less.
"""

import io
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # for the tests' photos and models

from ingest import processor  # noqa: E402

from photomaker.deployment import Deployment  # noqa: E402
from photomaker.method.pipeline import PhotoMakerPipeline  # noqa: E402
from photomaker.photos.decoders import decoders  # noqa: E402
from photomaker.request import Listener, Request  # noqa: E402
from photomaker.service import Service  # noqa: E402
from tests.archives import zipped  # noqa: E402
from tests.assets import PACK, face_root, photo  # noqa: E402

TESTS = ROOT / "tests"
TAKEN = ("obama", "obama2", "obama3", "obama4", "biden", "ardern", "friends", "profile")
SIZE = (4000, 3000)
RUNS = 7
LIMIT = 1.0  # seconds


def phone_photo(name: str, seed: int) -> bytes:
    """A photo at a phone's size: cropped to its shape, enlarged, with noise, as a JPEG."""
    real = photo(name)
    width, height = SIZE if real.width > real.height else SIZE[::-1]
    scale = min(width / real.width, height / real.height)
    canvas = Image.new("RGB", (width, height), "gray")
    canvas.paste(real.resize((round(real.width * scale), round(real.height * scale)), Image.Resampling.BICUBIC))
    noise = np.random.default_rng(seed).normal(0, 3, (height, width, 1))
    pixels = (np.asarray(canvas) + noise).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=88)
    return file.getvalue()


def service() -> Service:
    pipe = PhotoMakerPipeline.from_pretrained(TESTS / "golden" / "base", TESTS / "golden" / "photomaker-v1.bin")
    deployment = Deployment.read(TESTS / "deployment.toml").model_copy(
        update={"faces": "crop", "face_pack": PACK, "face_root": str(face_root())}
    )
    decoders().warm()
    return Service(deployment, {"photomaker": pipe})


def main() -> None:
    files = {f"{name}.jpg": phone_photo(name, seed) for seed, name in enumerate(TAKEN)}
    inspecting = service()
    forms: dict[str, bytes | Mapping[str, bytes]] = {"one by one": files, "in a zip": zipped(files)}
    print(f"{len(files)} photos, {sum(map(len, files.values())) / 1e6:.0f} MB, on {len(os.sched_getaffinity(0))} cores")
    for form, photos in forms.items():
        request = Request(prompt="portrait photo of a man img, film grain", photos=photos)
        inspecting.inspect(request, Listener())
        wall, used = [], []
        for _ in range(RUNS):
            started, before = time.perf_counter(), processor()
            report = inspecting.inspect(request, Listener())
            wall.append(time.perf_counter() - started)
            used.append(processor() - before)
        verdict = "within" if statistics.median(wall) <= LIMIT else "NOT within"
        print(f"{form}: {statistics.median(wall):.2f} s, {verdict} {LIMIT:.0f} s; at least {min(wall):.2f}")
        print(f"  of the processor {statistics.median(used):.2f} s, at least {min(used):.2f}; faults: {report.faults}")


if __name__ == "__main__":
    main()
