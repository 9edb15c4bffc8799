"""Photos as people have them: blurred, tilted, cut, partly hidden, from the side, tiny, crowded, of any shape."""

from collections.abc import Callable

import pytest
from PIL import Image, ImageFilter

from photomaker.photos.archive import Photo
from photomaker.photos.faces import FACES_PER_PHOTO, FaceFinder
from photomaker.photos.person import SAME_PERSON
from tests.assets import photo
from tests.people import likeness, names, photos

pytestmark = pytest.mark.slow

NOT_THE_PERSON = "left out, the person of the other photos is not in it"
TOO_SMALL = "left out, the faces in it are too small to tell whose they are"
HIDDEN = {  # left, top, right, bottom in shares of the face's box
    "sunglasses": (0, 0.28, 1, 0.5),
    "mask": (0, 0.58, 1, 1),
    "hand": (0.55, 0.3, 1.1, 1.1),
    "half": (-0.1, -0.1, 0.5, 1.1),
}


def close_up(image: Image.Image) -> Image.Image:
    return image.crop((340, 60, 640, 450)).resize((1100, 1430))


def tiny(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (1536, 1152), "gray")
    canvas.paste(image.resize((70, 87)), (900, 400))
    return canvas


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda image: image.filter(ImageFilter.GaussianBlur(4)), 0.7),
        (lambda image: image.crop((0, 0, 491, 1137)), 0.45),  # half of the face is outside
        (lambda image: image.rotate(20, expand=True), 0.8),
        (lambda image: image.convert("L").convert("RGB"), 0.8),
        (lambda image: image.point(lambda value: value // 4), 0.7),
        (close_up, 0.7),
        (tiny, 0.35),
    ],
    ids=["blurred", "cut", "tilted", "grey", "dark", "close up", "tiny"],
)
def test_hard_photos(finder: FaceFinder, change: Callable[[Image.Image], Image.Image], kept: float) -> None:
    (portrait,) = finder.portraits([Photo("hard", change(photo("obama")))])
    assert likeness(finder, portrait, "obama") > kept


def with_hidden(finder: FaceFinder, name: str, part: str) -> Image.Image:
    """A photo with a part of its face painted over."""
    image = photo(name).copy()
    face = finder.faces(image)[0]
    x, y = face.box[:2]
    width, height = face.box[2] - x, face.box[3] - y
    left, top, right, bottom = HIDDEN[part]
    area = (x + left * width, y + top * height, x + right * width, y + bottom * height)
    image.paste("black", tuple(map(round, area)))
    return image


@pytest.mark.parametrize("part", HIDDEN)
def test_a_partly_hidden_face_is_still_its_owner_s(finder: FaceFinder, part: str) -> None:
    hidden = {f"{name}-hidden": with_hidden(finder, name, part) for name in ("obama", "macron2", "ardern")}
    lines: list[str] = []
    sent = photos("ardern2", "obama2", "obama3", **hidden)
    assert names(finder.portraits(sent, log=lines.append)) == ["obama2", "obama3", "obama-hidden"]
    assert sorted(lines) == [f"{name}: {NOT_THE_PERSON}" for name in ("ardern-hidden", "ardern2", "macron2-hidden")]
    (alone,) = finder.portraits(photos(hidden=hidden["macron2-hidden"]))
    assert likeness(finder, alone, "macron2") > SAME_PERSON


@pytest.mark.parametrize("name", ["turned", "profile"])
def test_a_face_from_the_side(finder: FaceFinder, name: str) -> None:
    """Good enough where it is alone, and never mixed up with somebody else."""
    (portrait,) = finder.portraits(photos(name))
    assert finder.faces(portrait.image)[0].share > 0.15
    lines: list[str] = []
    assert names(finder.portraits(photos(name, "obama", "obama2"), log=lines.append)) == ["obama", "obama2"]
    assert lines == [f"{name}: {NOT_THE_PERSON}"]


@pytest.mark.parametrize("count", [1, 12])
def test_faces_too_small_for_the_whole_photo_are_looked_for_in_every_photo(finder: FaceFinder, count: int) -> None:
    sent = [*photos(*["rocket"] * (count - 1)), Photo("small", tiny(photo("obama")))]
    assert names(finder.portraits(sent)) == ["small"]


def thumbnail(finder: FaceFinder, name: str, side: int) -> Image.Image:
    """A photo made so small that its face has ``side`` pixels."""
    image = photo(name)
    scale = side / finder.faces(image)[0].side
    return image.resize((round(image.width * scale), round(image.height * scale)))


@pytest.mark.parametrize("side", [12, 16])
def test_faces_too_small_to_tell_apart_do_not_outvote_the_person(finder: FaceFinder, side: int) -> None:
    """To the recogniser such faces of strangers are one person."""
    strangers = ("sunak", "macron2", "ardern2", "astronaut", "biden")
    small = {f"small {name}": thumbnail(finder, name, side) for name in strangers}
    lines: list[str] = []
    assert names(finder.portraits(photos("obama", "obama2", **small), log=lines.append)) == ["obama", "obama2"]
    assert lines == [f"{name}: {TOO_SMALL}" for name in small]
    assert finder.portraits(photos(**small))  # where there is nothing better, they do


def crowd(*people: str) -> Image.Image:
    """Ten by five faces; the first person's is the only large one."""
    tiles = [photo(name).resize((150, 190)) for name in people]
    picture = Image.new("RGB", (1500, 1400))
    for index in range(50):
        picture.paste(tiles[1 + index % (len(tiles) - 1)], (index % 10 * 150, index // 10 * 190))
    picture.paste(photo(people[0]).resize((330, 420)), (600, 970))
    return picture


def test_a_crowd_of_fifty(finder: FaceFinder) -> None:
    strangers = ("biden", "ardern", "macron2", "sunak", "ardern2")
    with_the_person, without = crowd("obama4", *strangers), crowd("biden", *strangers)
    assert len(finder.faces(without)) == FACES_PER_PHOTO
    portraits = finder.portraits(photos("obama", "obama2", there=with_the_person, elsewhere=without))
    assert names(portraits) == ["obama", "obama2", "there"]
    assert likeness(finder, portraits[2], "obama4") > 0.6


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 3), (20_000, 10)])
@pytest.mark.parametrize("kind", ["black", "white", "noise"])
def test_pictures_of_any_shape_are_looked_at(finder: FaceFinder, size: tuple[int, int], kind: str) -> None:
    odd = Image.effect_noise(size, 100).convert("RGB") if kind == "noise" else Image.new("RGB", size, kind)
    assert names(finder.portraits(photos("obama", odd=odd))) == ["obama"]
