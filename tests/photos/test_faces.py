"""The person in the photos: real models on real photos."""

import itertools
import random

import numpy as np
import pytest
from insightface.utils.face_align import norm_crop
from PIL import Image, ImageFilter

from photomaker.errors import Cancelled, FaceDetectionError
from photomaker.photos.archive import Photo
from photomaker.photos.face import Face, aligned
from photomaker.photos.faces import FaceFinder
from photomaker.photos.looks import no_face
from tests.assets import photo
from tests.people import likeness, names, photos

A = ("obama", "obama2", "obama3", "obama4")
Turn = Image.Transpose


def side_by_side(*names: str, height: int = 700) -> Image.Image:
    """A group picture: the persons of several photos in a row."""
    images = [photo(name) for name in names]
    images = [image.resize((round(image.width * height / image.height), height)) for image in images]
    group = Image.new("RGB", (sum(image.width for image in images), height))
    for index, image in enumerate(images):
        group.paste(image, (sum(image.width for image in images[:index]), 0))
    return group


def test_a_portrait_is_a_square_around_the_face_with_its_embedding(finder: FaceFinder) -> None:
    (portrait,) = finder.portraits(photos("biden"))
    face = finder.faces(photo("biden"))[0]
    assert portrait.name == "biden"
    assert portrait.image.mode == "RGB"
    assert portrait.image.width == portrait.image.height == pytest.approx(2 * face.side, abs=2)
    assert portrait.embedding.shape == (512,)
    assert portrait.embedding.dtype == np.float32
    assert np.linalg.norm(portrait.embedding) > 2  # not normalised
    again = finder.faces(portrait.image)[0]
    assert again.side == pytest.approx(face.side, rel=0.1)  # at the photo's own resolution


def test_embeddings_are_those_of_insightface(finder: FaceFinder) -> None:
    image = photo("obama")
    face = finder.faces(image)[0]
    with pytest.warns(FutureWarning, match="estimate"):  # scikit-image's, which is why the product aligns itself
        theirs = norm_crop(np.ascontiguousarray(np.asarray(image)[:, :, ::-1]), face.points)
    difference = np.abs(aligned(face, 112).astype(int) - theirs.astype(int))
    assert difference.max() <= 2
    with np.errstate(all="raise"):
        ours, reference = finder.embedding(face), finder.recogniser.get_feat(theirs).ravel()
    np.testing.assert_allclose(ours, reference, atol=0.05)


def test_a_single_photo_gives_its_largest_face(finder: FaceFinder) -> None:
    (portrait,) = finder.portraits(photos("friends"))
    largest = max(finder.faces(photo("friends")), key=lambda face: face.share)
    np.testing.assert_array_equal(portrait.embedding, finder.embedding(largest))


@pytest.mark.slow
def test_the_person_is_whoever_is_in_most_photos(finder: FaceFinder) -> None:
    lines: list[str] = []
    sent = photos("ardern", *A, "friends", "ardern2", "solvay", "rocket")
    assert names(finder.portraits(sent, log=lines.append)) == list(A)
    assert sorted(lines) == [
        "ardern2: left out, the person of the other photos is not in it",
        "ardern: left out, the person of the other photos is not in it",
        "friends: left out, the person of the other photos is not in it",
        "rocket: left out, no face was found",
        "solvay: left out, the person of the other photos is not in it",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_order_and_sizes_do_not_change_who_is_chosen(finder: FaceFinder, seed: int) -> None:
    order = random.Random(seed)
    sent = photos("ardern", *A, "ardern2", "rocket", group=side_by_side("sunak", "obama4", "macron2"))
    sent = [
        Photo(one.name, one.image.resize((round(one.image.width * scale), round(one.image.height * scale))))
        for one in sent
        for scale in [order.choice((0.6, 0.8, 1.0))]
    ]
    order.shuffle(sent)
    chosen = names(finder.portraits(sent))
    assert set(A[:3]) <= set(chosen) <= {*A, "group"}
    assert chosen == [one.name for one in sent if one.name in chosen]  # in the archive's order


def test_the_person_is_found_beside_others_who_are_larger(finder: FaceFinder) -> None:
    beside = side_by_side("ardern", "obama3", "sunak")
    portraits = finder.portraits(photos("obama", "obama2", group=beside))
    assert names(portraits) == ["obama", "obama2", "group"]
    assert likeness(finder, portraits[2], "obama") > 0.5
    assert portraits[2].image.width < beside.width / 3


@pytest.mark.slow
def test_of_two_people_in_as_many_photos_the_larger_faces_win(finder: FaceFinder) -> None:
    small = {f"{name}-small": Image.new("RGB", (1200, 1500), "gray") for name in ("macron", "macron2")}
    for name, canvas in small.items():
        canvas.paste(photo(name.removesuffix("-small")).resize((400, 500)), (400, 500))
    sent = photos("ardern", "ardern2", **small)
    for order in itertools.islice(itertools.permutations(sent), 0, None, 5):
        assert set(names(finder.portraits(order))) == {"ardern", "ardern2"}


@pytest.mark.slow
def test_copies_of_one_picture_have_one_voice_and_one_place(finder: FaceFinder) -> None:
    biden = photo("biden")
    lines: list[str] = []
    sent = photos(
        "biden",
        "macron",
        "macron2",
        copy=biden,
        smaller=biden.resize((biden.width * 2 // 3, biden.height * 2 // 3)),
        mirrored=biden.transpose(Turn.FLIP_LEFT_RIGHT),
    )
    assert names(finder.portraits(sent)) == ["macron", "macron2"]
    assert names(finder.portraits(photos("obama", "obama2", copy=photo("obama")), log=lines.append)) == [
        "obama",
        "obama2",
    ]
    assert lines == ["copy: left out, the same picture is there already"]
    smaller = photo("obama").resize((546, 682))
    assert names(finder.portraits([Photo("smaller", smaller), *photos("obama")])) == ["obama"]  # the better one


@pytest.mark.slow
@pytest.mark.parametrize("turn", [Turn.ROTATE_90, Turn.ROTATE_180, Turn.ROTATE_270])
@pytest.mark.parametrize("name", ["obama", "obama2", "ardern", "astronaut", "friends"])
def test_a_photo_taken_sideways_gives_an_upright_portrait(finder: FaceFinder, name: str, turn: Turn) -> None:
    (portrait,) = finder.portraits([Photo(name, photo(name).transpose(turn))])
    (upright,) = finder.portraits(photos(name))
    assert portrait.image.size == upright.image.size
    difference = np.asarray(portrait.image, float) - np.asarray(upright.image, float)
    assert np.abs(difference).mean() < 20  # the same cut, to a pixel or two
    assert likeness(finder, portrait, name) > 0.95


def test_a_portrait_beside_others_shows_one_person(finder: FaceFinder) -> None:
    for name in ("friends", "solvay"):
        (portrait,) = finder.portraits(photos(name))
        assert len(finder.faces(portrait.image)) == 1


def test_a_limit_keeps_good_photos_that_differ(finder: FaceFinder) -> None:
    lines: list[str] = []
    obama = photo("obama")
    sent = photos(
        "obama",
        "obama2",
        "obama3",
        blurred=obama.filter(ImageFilter.GaussianBlur(4)),
        cut=obama.crop((0, 0, 700, 1137)),
    )
    kept = names(finder.portraits(sent, limit=3, log=lines.append))
    assert {"obama2", "obama3"} <= set(kept)
    assert len(kept) == 3
    assert len(lines) == 2
    assert any(line.endswith("left out, the prompt has no room for more photos") for line in lines)
    (best,) = names(finder.portraits(sent, limit=1))
    assert best != "blurred"


@pytest.mark.slow
def test_thirty_photos(finder: FaceFinder) -> None:
    """All made from four: some stay different enough to be pictures of their own."""
    sent = [Photo(f"{index:02}.jpg", photo(A[index % 4]).rotate(index)) for index in range(30)]
    everyone = finder.portraits(sent)
    assert 4 <= len(everyone) < 30
    portraits = finder.portraits(sent, limit=4)
    assert len(portraits) == 4
    assert names(portraits) == sorted(names(portraits))


@pytest.mark.slow
def test_the_search_ends_when_the_request_does(finder: FaceFinder) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise Cancelled

    before = finder.find([photo("rocket")])
    with pytest.raises(Cancelled):
        finder.portraits(photos(*["rocket"] * 8), check=check)
    assert finder.find([photo("rocket")]) == before == [[]]


@pytest.mark.slow
def test_no_face_anywhere_names_the_files_looked_at(finder: FaceFinder) -> None:
    with pytest.raises(FaceDetectionError) as caught:
        finder.portraits(photos("rocket", "chelsea", "coffee"), field="image_archive_url")
    assert caught.value.field == "image_archive_url"
    assert "rocket, chelsea, coffee." in caught.value.message


def test_the_list_of_files_in_an_error_is_bounded() -> None:
    error = no_face([f"{index}-{'x' * 200}" for index in range(12)], "image_archive_url")
    assert "and 2 more." in error.message
    assert len(error.message) < 1000


def test_points_in_one_place_are_no_upright_face() -> None:
    assert not Face(0, Image.new("RGB", (9, 9)), (0, 0, 9, 9), np.zeros((5, 2), np.float32), 0.9).upright


def test_photos_of_the_same_name_are_told_apart(finder: FaceFinder) -> None:
    kept = finder.portraits([Photo("me.jpg", photo("obama")), Photo("me.jpg", photo("obama2"))])
    alone = [finder.portraits([Photo("me.jpg", photo(name))])[0] for name in ("obama", "obama2")]
    assert [portrait.photo for portrait in kept] == [0, 1]
    for portrait, expected in zip(kept, alone, strict=True):
        np.testing.assert_allclose(portrait.embedding, expected.embedding, atol=1e-3)
