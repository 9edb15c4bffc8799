"""Who is found in the photos, how surely, and what is left of the likeness after the crop.

    python -m benchmarks.likeness

Real photos (fetched, pinned by sha256, listed in tests/assets.py) and two small models: an SCRFD detector and a
MobileFaceNet recogniser, in place of InsightFace's own packs, which a deployment uses. Beside them stands
the simple way, which is that of the authors' version 2: the first face that InsightFace returns for each photo.
Draws out/likeness.png: archives and what was chosen of them.
"""

import io
import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from photomaker.photos.archive import Photo
from photomaker.photos.face import Face, Floats
from photomaker.photos.faces import FaceFinder, as_box
from photomaker.photos.images import read_image
from photomaker.photos.looks import Portrait
from photomaker.pictures.likeness import likeness, reference
from tests.assets import PACK, face_root, photo

PEOPLE = {
    "A": ("obama", "obama2", "obama3", "obama4"),
    "B": ("ardern", "ardern2"),
    "C": ("macron", "macron2"),
    "D": ("biden",),
    "E": ("sunak",),
    "F": ("astronaut",),
}
LANDSCAPES = ("rocket", "coffee", "chelsea")
ARRANGEMENTS = 24
ORIENTATIONS = (1, 3, 6, 8)  # EXIF: as taken, upside down, and the two ways sideways
SHEET = Path("out/likeness.png")
CELL = 170
HIDDEN = {  # left, top, right, bottom in shares of the face's box
    "behind sunglasses": (0.0, 0.28, 1.0, 0.5),
    "behind a mask": (0.0, 0.58, 1.0, 1.0),
    "behind a hand": (0.55, 0.3, 1.1, 1.1),
    "half hidden": (-0.1, -0.1, 0.5, 1.1),
    "hidden but for the forehead": (-0.1, 0.25, 1.1, 1.1),
    "hidden": (-0.1, -0.1, 1.1, 1.1),
}
SIDES = (16, 20, 24, 28, 32, 40, 56, 80)  # pixels of a face


def direction(embedding: Floats) -> Floats:
    return embedding / np.linalg.norm(embedding)


def mixed_archives() -> dict[str, tuple[dict[str, Image.Image], set[str]]]:
    """4 photos of A, 2 group photos, 2 of B, 1 landscape: the pictures, and the ones that may be chosen."""
    a = {f"a{index}": photo(name) for index, name in enumerate(PEOPLE["A"], 1)}
    b = {f"b{index}": photo(name) for index, name in enumerate(PEOPLE["B"], 1)}
    landscape = {"landscape": photo("rocket")}
    flipped = {name: ImageOps.mirror(photo(name)) for name in PEOPLE["A"]}
    with_a = {
        "group1": beside(photo("sunak"), photo("macron2"), flipped["obama3"]),
        "group2": beside(photo("biden"), flipped["obama2"], photo("ardern")),
    }
    strangers = {"group1": photo("friends"), "group2": photo("solvay")}
    return {
        "groups of strangers": ({**a, **strangers, **b, **landscape}, set(a)),
        "groups with A among others": ({**a, **with_a, **b, **landscape}, {*a, *with_a}),
    }


def beside(*images: Image.Image, height: int = 800) -> Image.Image:
    """Several pictures in a row, as a group photo."""
    images = tuple(image.resize((round(image.width * height / image.height), height)) for image in images)
    row = Image.new("RGB", (sum(image.width for image in images), height))
    for index, image in enumerate(images):
        row.paste(image, (sum(image.width for image in images[:index]), 0))
    return row


def through_a_file(image: Image.Image, scale: float, orientation: int) -> Image.Image:
    """The picture as a JPEG of another size, stored turned with the EXIF tag that says so, and read back."""
    image = image.resize((round(image.width * scale), round(image.height * scale)))
    stored = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    if orientation in stored:
        image = image.transpose(stored[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, exif=exif)
    return read_image(file.getvalue(), field="image_archive_url")


def arranged(pictures: dict[str, Image.Image], seed: int) -> list[Photo]:
    """The archive in another order, its pictures in other sizes and stored in other ways up."""
    order = random.Random(seed)
    photos = [
        Photo(name, through_a_file(image, order.choice((0.5, 0.75, 1.0)), order.choice(ORIENTATIONS)))
        for name, image in pictures.items()
    ]
    order.shuffle(photos)
    return photos


def simple_way(finder: FaceFinder, image: Image.Image) -> Floats | None:
    """The embedding of the first face that InsightFace returns for a picture as it is; None without a face."""
    boxes, points = finder.detector.detect(np.asarray(image)[:, :, ::-1], input_size=(640, 640))
    if not len(boxes):
        return None
    return finder.embedding(Face(0, image, as_box(boxes[0][:4]), points[0], float(boxes[0][4])))


def is_a(embedding: Floats, known: Floats) -> bool:
    return bool((known @ direction(embedding)).max() > 0.35)


def group_archives(finder: FaceFinder, known: Floats) -> None:
    """A's photos in groups are mirrored ones of the archive, and usually left out as the same picture."""
    print(
        f"\nmixed archives, {ARRANGEMENTS} arrangements each     only A chosen   photos kept   A's share of first faces"
    )
    for name, (pictures, allowed) in mixed_archives().items():
        right = kept = 0
        simple: list[bool] = []
        for seed in range(ARRANGEMENTS):
            photos = arranged(pictures, seed)
            portraits = finder.portraits(photos)
            chosen = {portrait.name for portrait in portraits}
            right += chosen <= allowed and all(is_a(portrait.embedding, known) for portrait in portraits)
            kept += len(chosen & allowed)
            firsts = [simple_way(finder, one.image) for one in photos]
            simple += [is_a(first, known) for first in firsts if first is not None]
        print(
            f"  {name:38} {right:7} of {ARRANGEMENTS} {kept / ARRANGEMENTS:8.1f} of {len(allowed)}"
            f" {np.mean(simple):17.0%}"
        )


def detection(finder: FaceFinder) -> None:
    """A face counts as right when its embedding is within a cosine of 0.9 of the upright photo's face."""
    portraits = [name for person in PEOPLE.values() for name in person]
    turns = {
        "as taken": None,
        "90° without EXIF": Image.Transpose.ROTATE_90,
        "180° without EXIF": Image.Transpose.ROTATE_180,
        "270° without EXIF": Image.Transpose.ROTATE_270,
    }
    print("the right face, upright                                 here   first face, as sent")
    for label, turn in turns.items():
        found = simple = 0
        for name in portraits:
            image = photo(name)
            truth = direction(finder.embedding(finder.faces(image)[0]))
            shown = image if turn is None else image.transpose(turn)
            faces, first = finder.faces(shown), simple_way(finder, shown)
            found += bool(faces) and float(direction(finder.embedding(faces[0])) @ truth) > 0.9
            simple += first is not None and float(direction(first) @ truth) > 0.9
        print(f"  {label:42} {found:5} of {len(portraits)} {simple:17} of {len(portraits)}")
    crowd = finder.detector.detect(np.asarray(photo("solvay"))[:, :, ::-1], input_size=(640, 640))[0]
    false = sum(bool(finder.faces(photo(name))) for name in LANDSCAPES)
    print(f"  {'group photo of 29':42} {len(crowd):5} of 29")
    print(f"  {'pictures without people (false faces)':42} {false:5} of {len(LANDSCAPES)}")


def similarity(finder: FaceFinder) -> Floats:
    """Prints same person against strangers, and what the crop keeps; returns A's directions."""
    portraits = {name: finder.portraits([Photo(name, photo(name))])[0] for person in PEOPLE.values() for name in person}
    found = {name: direction(portrait.embedding) for name, portrait in portraits.items()}
    owner = {name: person for person, names in PEOPLE.items() for name in names}
    same: list[float] = []
    strangers: list[float] = []
    for one, other in itertools.combinations(found, 2):
        (same if owner[one] == owner[other] else strangers).append(float(found[one] @ found[other]))
    kept = [
        float(found[name] @ direction(finder.embedding(finder.faces(portrait.image)[0])))
        for name, portrait in portraits.items()
        if finder.faces(portrait.image)
    ]
    print("\ncosine of embeddings                            lowest    mean   highest   pairs")
    for label, values in (
        ("same person, different photos", same),
        ("strangers", strangers),
        ("a photo and its own crop", kept),
    ):
        print(f"  {label:42} {min(values):9.3f} {np.mean(values):7.3f} {max(values):9.3f} {len(values):7}")
    shares = [finder.faces(photo(name))[0].share for name in portraits]
    crops = [finder.faces(portrait.image)[0].share for portrait in portraits.values()]
    print(f"  the face's share of the picture: {np.mean(shares):.0%} in the photos, {np.mean(crops):.0%} in the crops")
    return np.stack([found[name] for name in PEOPLE["A"]])


def likeness_scores(finder: FaceFinder) -> None:
    """The score that answers carry: a photo against the mean of one to three other photos, as many as there are."""
    faces = {name: finder.embedding(finder.faces(photo(name))[0]) for names in PEOPLE.values() for name in names}
    print("\nlikeness, by photos in the reference   same person, lowest    mean   strangers, mean   highest   pairs")
    for count in (1, 2, 3):
        same: list[float] = []
        strangers: list[float] = []
        for names in PEOPLE.values():
            for chosen in itertools.combinations(names, count):
                if count > 1 and len(names) <= count:
                    continue
                person = reference(np.stack([faces[name] for name in chosen]))
                for name in faces.keys() - set(chosen):
                    score = likeness(photo(name), person, finder)
                    if score is not None:
                        (same if name in names else strangers).append(score)
        print(
            f"  {count:36} {min(same):20.2f} {np.mean(same):7.2f} {np.mean(strangers):17.2f} {max(strangers):9.2f}"
            f" {len(same):4} + {len(strangers)}"
        )


def hard_faces(finder: FaceFinder) -> None:
    """What the score makes of faces that are partly hidden, or seen from the side."""
    faces = {name: finder.faces(photo(name))[0] for names in PEOPLE.values() for name in names}
    known = {name: finder.embedding(face) for name, face in faces.items()}
    owners = {name: names for names in PEOPLE.values() for name in names}
    print("\nlikeness of a picture whose face is        null   same person, lowest    mean   strangers, highest")
    for part, area in {"shown": (0.0, 0.0, 0.0, 0.0), **HIDDEN}.items():
        same: list[float] = []
        strangers: list[float] = []
        unseen = 0
        for name, face in faces.items():
            picture = hidden(photo(name), face, area)
            seen = [direction(finder.embedding(found)) for found in finder.faces(picture)]
            unseen += not seen
            for one in seen:
                others = [known[other] for other in owners[name] if other != name]
                if others:
                    same.append(float(one @ reference(np.stack(others))))
                for names in PEOPLE.values():
                    if name not in names:
                        strangers.append(float(one @ reference(np.stack([known[other] for other in names]))))
        print(
            f"  {part:28} {unseen:7} of {len(faces)} {figure(min, same):>22} {figure(np.mean, same):>7}"
            f" {figure(max, strangers):>20}",
            flush=True,
        )
    person = reference(np.stack([known[name] for name in PEOPLE["A"]]))
    for name in ("turned", "profile"):
        score = likeness(photo(name), person, finder)
        print(f"  a stranger, {name}: {'null' if score is None else f'{score:.2f}'}")


def figure(of: Callable[[list[float]], float], scores: list[float]) -> str:
    return f"{of(scores):.2f}" if scores else "-"


def hidden(picture: Image.Image, face: Face, area: tuple[float, float, float, float]) -> Image.Image:
    """The picture with a part of its face painted over: left, top, right, bottom in shares of the face's box."""
    x, y, right, bottom = face.box
    width, height = right - x, bottom - y
    left, top, end, low = area
    picture = picture.copy()
    if end > left:
        corner = round(x + left * width), round(y + top * height)
        picture.paste("black", (*corner, round(x + end * width), round(y + low * height)))
    return picture


def small_faces(finder: FaceFinder) -> None:
    """From how many pixels on a face can be told from a stranger's of the same size (``faces.RECOGNISABLE``)."""
    faces = {name: finder.faces(photo(name))[0] for names in PEOPLE.values() for name in names}
    owner = {name: person for person, names in PEOPLE.items() for name in names}
    print("\nside of the face, pixels          found   its photo, lowest   same person, lowest   strangers, highest")
    for side in SIDES:
        small: dict[str, Floats] = {}
        for name, face in faces.items():
            scale = side / face.side
            wide = Image.new("RGB", (1536, 1024), "gray")
            picture = face.picture
            size = (round(picture.width * scale), round(picture.height * scale))
            wide.paste(picture.resize(size, Image.Resampling.LANCZOS), (500, 300))
            (found,) = finder.find([wide])
            if found:
                small[name] = direction(finder.embedding(found[0]))
        kept = [float(one @ direction(finder.embedding(faces[name]))) for name, one in small.items()]
        pairs = {(one, other): float(small[one] @ small[other]) for one, other in itertools.combinations(small, 2)}
        same = [cosine for (one, other), cosine in pairs.items() if owner[one] == owner[other]]
        strangers = [cosine for (one, other), cosine in pairs.items() if owner[one] != owner[other]]
        print(
            f"  {side:28} {len(small):5} of {len(faces)} {min(kept):13.2f} {min(same):21.2f} {max(strangers):20.2f}",
        )


def speed(finder: FaceFinder) -> None:
    large = [Photo(name, photo(name).resize((3000, 4000))) for name in PEOPLE["A"] + PEOPLE["B"] + PEOPLE["C"]]
    small = [Photo(one.name, one.image.resize((1152, 1536))) for one in large]

    empty = [photo(name).resize((1536, 1024)) for name in itertools.islice(itertools.cycle(LANDSCAPES), 8)]

    def best(work: Callable[[], object]) -> tuple[float, float]:
        clocks = []
        for _ in range(5):
            wall, processor = time.perf_counter(), time.process_time()
            work()
            clocks.append((time.perf_counter() - wall, time.process_time() - processor))
        return min(clocks)

    print("\nspeed, 8 photos                                   wall   processor   (seconds, best of 5)")
    for label, work in (
        ("detection, 12 megapixels", lambda: finder.find([one.image for one in large])),
        ("detection, as an archive is read: 1536 px", lambda: finder.find([one.image for one in small])),
        ("everything, 1536 px", lambda: finder.portraits(small)),
        ("pictures without people, 1536 px", lambda: finder.find(empty)),
    ):
        wall, processor = best(work)
        print(f"  {label:42} {wall:9.2f} {processor:11.2f}")


def sheet(finder: FaceFinder) -> None:
    """Each archive in one row, what was chosen of it in the next, under the photo that it is from."""
    archives = [arranged(pictures, 1) for pictures, _ in mixed_archives().values()]
    archives.append([Photo(name, photo(name).rotate(90, expand=True)) for name in PEOPLE["B"]])
    archives.append([Photo("friends", photo("friends"))])
    archives.append([Photo("solvay", photo("solvay"))])
    columns = max(map(len, archives))
    picture = Image.new("RGB", (columns * CELL, len(archives) * 2 * (CELL + 16)), "white")
    draw = ImageDraw.Draw(picture)
    for row, photos in enumerate(archives):
        chosen: dict[str, Portrait] = {portrait.name: portrait for portrait in finder.portraits(photos)}
        y = row * 2 * (CELL + 16)
        for column, one in enumerate(photos):
            x = column * CELL
            picture.paste(ImageOps.contain(one.image, (CELL - 6, CELL - 6)), (x, y + 14))
            draw.text((x, y), one.name, fill="black")
            if one.name in chosen:
                crop = ImageOps.contain(chosen[one.name].image, (CELL - 6, CELL - 6))
                picture.paste(crop, (x, y + CELL + 20))
            else:
                draw.text((x + 10, y + CELL + 80), "left out", fill="red")
    SHEET.parent.mkdir(exist_ok=True)
    picture.save(SHEET)
    print(f"\n{SHEET}: archives and what was chosen of them")


def main() -> None:
    finder = FaceFinder(PACK, face_root())
    detection(finder)
    known = similarity(finder)
    likeness_scores(finder)
    hard_faces(finder)
    group_archives(finder, known)
    small_faces(finder)
    speed(finder)
    sheet(finder)


if __name__ == "__main__":
    main()
