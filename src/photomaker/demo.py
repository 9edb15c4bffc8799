"""The endpoint's documented Python example, run as it is printed there on the example photos.

``python -m photomaker.demo ARCHIVE FOLDER`` is the caller's side, run where calls to fal reach an app: within
``localfal exec``, or with an account against a deployed one. ``photomaker demo`` starts the former.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from photomaker.photos.archive import read_photos

SIDE, GAP = 256, 24  # pixels, of the photos beside the pictures
DOCUMENTED_ARCHIVE = "https://storage.googleapis.com/falserverless/model_tests/photomaker/elon.zip"

# As the endpoint's documentation prints it; only the archive's URL is replaced by one that exists.
SNIPPET = """\
import fal_client

def on_queue_update(update):
    if isinstance(update, fal_client.InProgress):
        for log in update.logs:
           print(log["message"])

result = fal_client.subscribe(
    "fal-ai/photomaker",
    arguments={
        "image_archive_url": "https://storage.googleapis.com/falserverless/model_tests/photomaker/elon.zip",
        "prompt": "instagram photo, portrait photo of a man img, colorful, perfect face, natural skin, hard shadows, film grain"
    },
    with_logs=True,
    on_queue_update=on_queue_update,
)
print(result)
"""  # noqa: E501


def through_local_platform(app: Path, archive: Path, folder: Path) -> int:
    """Run the caller's side through a local platform; its exit code."""
    localfal = Path(sys.executable).with_name("localfal")
    reference = f"{app}::PhotoMaker"
    caller = [sys.executable, "-m", "photomaker.demo", str(archive), str(folder)]
    command = [str(localfal), "exec", "--app", reference, "--as", "fal-ai/photomaker", "--", *caller]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own program and paths


def call(archive: Path, folder: Path) -> list[Path]:
    """Upload the archive, run the example on it, save the pictures that come back, and them beside the photos."""
    import fal_client
    import httpx

    url = fal_client.upload_file(str(archive))
    example = SNIPPET.replace(DOCUMENTED_ARCHIVE, url)
    print(example, flush=True)
    print("It prints all lines of the log so far with every update, as fal sends them.", flush=True)
    names: dict[str, Any] = {}
    exec(example, names)  # noqa: S102 - the constant above
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    for number, image in enumerate(names["result"]["images"]):
        path = folder / f"{archive.stem}-{names['result']['seed']}-{number}.png"
        path.write_bytes(httpx.get(image["url"], timeout=60).raise_for_status().content)
        saved.append(path)
    beside = folder / f"{archive.stem}-{names['result']['seed']}-beside.png"
    side_by_side([photo.image for photo in read_photos(archive.read_bytes())], saved).save(beside)
    return [*saved, beside]


def side_by_side(photos: Sequence[Image.Image], pictures: Sequence[Path]) -> Image.Image:
    """The photos on the left, and, after a gap, what was made of them."""
    tiles = [*photos, *map(Image.open, pictures)]
    strip = Image.new("RGB", (SIDE * len(tiles) + GAP, SIDE), "white")
    for index, tile in enumerate(tiles):
        left = SIDE * index + (GAP if index >= len(photos) else 0)
        strip.paste(ImageOps.fit(tile.convert("RGB"), (SIDE, SIDE)), (left, 0))
    return strip


if __name__ == "__main__":
    for path in call(Path(sys.argv[1]), Path(sys.argv[2])):
        print(f"saved {path}")
