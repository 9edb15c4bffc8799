"""Reading an archive of photos: time against plain Pillow, and memory against the number of photos.

    python benchmarks/ingest.py

The photos are synthetic, of 12 megapixels, with the grain and the file size (about 4 MB) of a phone's. Pillow's
column opens each one, decodes it fully and resizes it to the same size, one after the other.
"""

import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from photomaker.photos.archive import MAX_PHOTO_SIDE, read_photos
from photomaker.photos.decoders import decoders

SIZE = (4032, 3024)
PHOTOS = 20
MEMORY_PHOTOS = (5, 20, 40)
ROUNDS = 5
GOAL = 0.5
MIB = 1024**2


def photo(seed: int) -> bytes:
    """A JPEG with soft shapes and fine grain."""
    random = np.random.default_rng(seed)
    shapes = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(SIZE)
    grain = random.normal(0, 5, (SIZE[1], SIZE[0], 1)).astype(np.float32)
    pixels = (np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def archive(photos: list[bytes], count: int) -> bytes:
    """A zip of ``count`` files, the photos repeated as needed."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        for index in range(count):
            writer.writestr(f"{index}.jpg", photos[index % len(photos)])
    return file.getvalue()


def read_with_pillow(data: bytes) -> list[Image.Image]:
    """What a straightforward program does."""
    images = []
    with zipfile.ZipFile(BytesIO(data)) as reader:
        for name in reader.namelist():
            image = Image.open(BytesIO(reader.read(name)))
            scale = MAX_PHOTO_SIDE / max(image.size)
            images.append(image.resize((round(image.width * scale), round(image.height * scale))))
    return images


def seconds(read: Callable[[bytes], object], data: bytes) -> tuple[float, float]:
    """Wall time and, over all threads and decoding processes, processor time."""
    wall, used = time.perf_counter(), processor()
    read(data)
    return time.perf_counter() - wall, processor() - used


def children() -> list[int]:
    return [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def processor() -> float:
    """Seconds used by this process and its children."""
    ticks = 0
    for pid in (os.getpid(), *children()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def memory(path: str) -> None:
    """Prints MiB of archive, of photos returned, of this process's peak beyond both, and of its decoders' peaks."""
    data = Path(path).read_bytes()
    first = zipfile.ZipFile(BytesIO(data)).read("0.jpg")
    read_photos(first)  # loads every decoder
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = status("VmRSS")
    photos = read_photos(data)
    returned = sum(photo.image.width * photo.image.height * 4 for photo in photos)  # Pillow pads RGB
    peak = status("VmHWM") - before
    decoding = sum(status("VmHWM", str(pid)) for pid in children())
    print(len(data) / MIB, returned / MIB, (peak - returned) / MIB, decoding / MIB)


def status(key: str, process: str = "self") -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(key))


def main() -> None:
    photos = [photo(seed) for seed in range(PHOTOS)]
    data = archive(photos, PHOTOS)
    read_photos(data)  # starts the decoders, as a runner does before its first request
    print(f"{PHOTOS} photos of {SIZE[0]} by {SIZE[1]}, {len(data) / MIB / PHOTOS:.1f} MiB each, to {MAX_PHOTO_SIDE}")
    # Side by side, round by round, so that a busy machine slows both; the best round of each counts.
    rounds = [(seconds(read_with_pillow, data), seconds(read_photos, data)) for _ in range(ROUNDS)]
    print("                          wall s   processor s")
    pillow, ours = ([min(figure) for figure in zip(*measured, strict=True)] for measured in zip(*rounds, strict=True))
    print(f"Pillow, one by one        {pillow[0]:6.2f}        {pillow[1]:6.2f}")
    print(f"read_photos, {decoders().count} decoders   {ours[0]:6.2f}        {ours[1]:6.2f}")
    print(f"ratio                     {ours[0] / pillow[0]:6.2f}        {ours[1] / pillow[1]:6.2f}   (at most {GOAL})")
    print("photos   archive MiB   returned MiB   peak beyond both MiB   decoders MiB")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "photos.zip"
        for count in MEMORY_PHOTOS:
            path.write_bytes(archive(photos, count))
            child = [sys.executable, "-P", __file__, "--memory", str(path)]
            line = subprocess.run(child, check=True, capture_output=True, text=True).stdout
            sizes = [float(figure) for figure in line.split()]
            print(f"{count:6d}   {sizes[0]:11.0f}   {sizes[1]:12.0f}   {sizes[2]:20.0f}   {sizes[3]:12.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        memory(sys.argv[2])
    else:
        main()
