"""The person in the photos: found, chosen and cropped with InsightFace.

The detector (SCRFD) gives a box and five points a face, the recogniser (ArcFace) an embedding. Embeddings of one
person point the same way, so the person of an archive is whoever agrees across most of its photos.

Licence: InsightFace's code is MIT, but its own model packs (buffalo_l, antelopev2, …) are for non-commercial
research only. Any pack of an SCRFD detector and an ArcFace-like recogniser in ``root/models/NAME`` works instead.

Nothing here is written to disk, and logs and errors name files, never what was found in a face.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from insightface.app import FaceAnalysis
from insightface.utils.face_align import arcface_dst
from numpy.typing import NDArray
from PIL import Image

from photomaker.archive import Photo
from photomaker.errors import FaceDetectionError

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

STORE = Path("~/.insightface")
DETECTION_SIZES = (640, 288)  # pixels; a face that fills its photo is found when shown smaller
CONFIDENCE = 0.5  # InsightFace's own
SURE = 0.7  # below it the other three ways up are tried: a face upside down can be taken for a poor upright one
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180)
FACES_PER_PHOTO = 12  # the largest ones; whoever is smaller in a crowd is not whom the photo is of
SAME_PERSON = 0.35  # cosine; between strangers (at most 0.2) and one person's different photos (from 0.5)
SAME_PICTURE = 0.94  # cosine; the same photo again, resized or saved again
MARGINS = (2.0, 1.7, 1.4)  # the crop's side in face boxes; a smaller one where it keeps another face out
SHARP_SIDE = 112  # pixels of a face that the recogniser takes in; a larger face adds nothing to it
SEARCHED = 8  # photos in which very small faces are looked for
NAMED = 10  # files that one error names
MAX_THREADS = 8

Log = Callable[[str], None]


@dataclass(frozen=True)
class Portrait:
    """One photo's view of the person.

    Attributes:
        name: The photo's name in the archive.
        image: An upright square around the face, with margin, RGB, at the photo's own resolution.
        embedding: (512,) float32, the recogniser's embedding, not normalised.
    """

    name: str
    image: Image.Image
    embedding: Floats


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face.

    Attributes:
        photo: Index of the photo.
        picture: That photo, turned as it was when the face was found.
        box: Left, top, right, bottom in pixels of ``picture``.
        points: (5, 2) float32: eyes, nose, corners of the mouth, in pixels of ``picture``.
        score: The detector's confidence, 0 to 1.
    """

    photo: int
    picture: Image.Image
    box: Box
    points: Floats
    score: float

    @property
    def side(self) -> float:
        left, top, right, bottom = self.box
        return max(right - left, bottom - top)

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def share(self) -> float:
        """How much of its photo the face covers."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top) / (self.picture.width * self.picture.height)

    @property
    def upright(self) -> bool:
        """Whether the mouth is below the eyes, with the head tilted by less than 45 degrees."""
        right, down = self.points[3:].mean(0) - self.points[:2].mean(0)
        return bool(down > abs(right))


class FaceFinder:
    """InsightFace's detector and recogniser, loaded once.

    Args:
        pack: The name of a model pack; downloaded by InsightFace if it is its own and not in the store yet.
        root: The store, with the packs in ``models/``. Default: ~/.insightface.
        providers: onnxruntime's execution providers. Default: the best of this onnxruntime build.

    Raises:
        ValueError: The pack has no detector or no recogniser.
    """

    def __init__(self, pack: str, root: str | Path | None = None, providers: Sequence[str] | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = min(os.cpu_count() or 1, MAX_THREADS)
        options.inter_op_num_threads = 1
        # Threads that spin after their work take the processor from the denoising that follows.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        analysis = FaceAnalysis(
            name=pack,
            root=str(Path(root or STORE).expanduser()),
            allowed_modules=["detection", "recognition"],
            providers=None if providers is None else list(providers),
            sess_options=options,
        )
        if "recognition" not in analysis.models:
            raise ValueError(f"the face pack {pack!r} has no recognition model")
        analysis.prepare(ctx_id=0, det_thresh=CONFIDENCE, det_size=(DETECTION_SIZES[0], DETECTION_SIZES[0]))
        self.detector = analysis.det_model
        self.recogniser = analysis.models["recognition"]

    def portraits(
        self,
        photos: Sequence[Photo],
        *,
        field: str = "image_archive_url",
        limit: int | None = None,
        log: Log = lambda line: None,
    ) -> list[Portrait]:
        """The archive's person, once for every photo that shows them, in the photos' order.

        Args:
            photos: The archive's photos.
            field: The input field that an error is about.
            limit: How many portraits there is room for; the best and most different ones stay.
            log: Told about every photo that is left out.

        Raises:
            FaceDetectionError: There is no face in any photo.
        """
        found = [self.faces(index, photo.image) for index, photo in enumerate(photos)]
        if not any(found):
            found = [self.small_faces(index, photo.image) for index, photo in enumerate(photos[:SEARCHED])]
            found += [[]] * (len(photos) - len(found))
        faces = [face for of_photo in found for face in of_photo]
        if not faces:
            raise no_face([photo.name for photo in photos], field)
        embeddings = np.stack([self.embedding(face) for face in faces])
        directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

        kept = person(faces, directions)
        with_person = {faces[index].photo for index in kept}
        for photo, of_photo in enumerate(found):
            if not of_photo:
                log(f"{photos[photo].name}: left out, no face was found")
            elif photo not in with_person:
                log(f"{photos[photo].name}: left out, the person of the other photos is not in it")

        largest_first = sorted(kept, key=lambda index: faces[index].side, reverse=True)
        distinct = sorted(without_copies(largest_first, directions))
        for index in kept:
            if index not in distinct:
                log(f"{photos[faces[index].photo].name}: left out, the same picture is there already")

        chosen = distinct if limit is None else best_and_most_different(distinct, faces, directions, limit)
        for index in distinct:
            if index not in chosen:
                log(f"{photos[faces[index].photo].name}: left out, the prompt has no room for more photos")
        return [
            Portrait(
                name=photos[faces[index].photo].name,
                image=portrait(faces[index], found[faces[index].photo]),
                embedding=embeddings[index],
            )
            for index in chosen
        ]

    def faces(self, photo: int, image: Image.Image) -> list[Face]:
        """A photo's largest faces, in the photo turned so that they are upright."""
        for size in DETECTION_SIZES:
            as_sent = self.detect(photo, image, size)
            if confidence(as_sent) >= SURE:
                return as_sent
            turned = max((self.detect(photo, image.transpose(turn), size) for turn in TURNS), key=confidence)
            if confidence(turned) >= SURE:
                return turned
            if as_sent:
                return as_sent
        return []

    def small_faces(self, photo: int, image: Image.Image) -> list[Face]:
        """Faces too small for the whole photo at the detector's size: in its quarters and its middle."""
        faces: list[Face] = []
        width, height = max(1, image.width // 2), max(1, image.height // 2)
        for x, y in ((0, 0), (width, 0), (0, height), (width, height), (width // 2, height // 2)):
            quarter = image.crop((x, y, x + width, y + height))
            for face in self.detect(photo, quarter, DETECTION_SIZES[0]):
                left, top, right, bottom = face.box
                whole = Face(
                    photo,
                    image,
                    (left + x, top + y, right + x, bottom + y),
                    face.points + np.array([x, y], np.float32),
                    face.score,
                )
                if not any(inside(whole.centre, other.box) for other in faces):
                    faces.append(whole)
        return largest(faces)

    def detect(self, photo: int, image: Image.Image, size: int) -> list[Face]:
        """The upright faces of an image shown ``size`` pixels wide or high, the largest first."""
        scale = size / max(image.size)
        shown = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))),
            Image.Resampling.BILINEAR,
            reducing_gap=2.0,
        )
        # Some detectors take one size only; a smaller image then lies in a corner of the black input.
        frame = self.detector.static_input_size or (size, size)
        canvas = np.zeros((frame[1], frame[0], 3), np.uint8)
        canvas[: shown.height, : shown.width] = np.asarray(shown)[:, :, ::-1]  # InsightFace takes BGR
        boxes, points = self.detector.detect(canvas, input_size=frame)
        faces = (
            Face(photo, image, as_box(box[:4] / scale), five / scale, float(box[4]))
            for box, five in zip(boxes, points, strict=True)
        )
        return largest(face for face in faces if face.upright)

    def embedding(self, face: Face) -> Floats:
        """(512,) float32: the recogniser's embedding, not normalised."""
        size = self.recogniser.input_size[0]
        return np.asarray(self.recogniser.get_feat(aligned(face, size)), np.float32).ravel()


def largest(faces: Iterable[Face]) -> list[Face]:
    return sorted(faces, key=lambda face: face.share, reverse=True)[:FACES_PER_PHOTO]


def as_box(edges: Floats) -> Box:
    left, top, right, bottom = (float(edge) for edge in edges)
    return left, top, right, bottom


def confidence(faces: Sequence[Face]) -> float:
    """Of the surest face; nothing found is no confidence."""
    return max((face.score for face in faces), default=0.0)


def inside(point: tuple[float, float], box: Box) -> bool:
    left, top, right, bottom = box
    return left <= point[0] <= right and top <= point[1] <= bottom


def aligned(face: Face, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 BGR: the face with eyes, nose and mouth where the recogniser expects them.

    The least-squares similarity from the five points to ArcFace's template, as InsightFace's ``norm_crop`` has
    it, with points as complex numbers. Only the face's surroundings leave the photo.
    """
    left, top, right, bottom = face.box
    reach = face.side
    area = (
        max(0, int(left - reach)),
        max(0, int(top - reach)),
        min(face.picture.width, int(right + reach) + 1),
        min(face.picture.height, int(bottom + reach) + 1),
    )
    pixels = np.ascontiguousarray(np.asarray(face.picture.crop(area))[:, :, ::-1])
    source = (face.points - np.array(area[:2], np.float32)).astype(np.float64) @ [1, 1j]
    target = (arcface_dst * (size / 112)).astype(np.float64) @ [1, 1j]
    spread = source - source.mean()
    rotation = np.vdot(spread, target - target.mean()) / np.vdot(spread, spread).real
    shift = target.mean() - rotation * source.mean()
    matrix = np.array([[rotation.real, -rotation.imag, shift.real], [rotation.imag, rotation.real, shift.imag]])
    return np.asarray(cv2.warpAffine(pixels, matrix, (size, size)), np.uint8)


def person(faces: Sequence[Face], directions: Floats) -> list[int]:
    """Indices of the faces of whoever is in most photos, at most one a photo, in the photos' order.

    Copies of one picture count once. A tie goes to the larger faces; so does an archive of one photo.
    """
    similarity = directions @ directions.T

    def weight(members: list[int]) -> tuple[int, float]:
        return len(without_copies(members, directions)), sum(faces[index].share for index in members)

    members = max((alike(row, faces) for row in similarity), key=weight)
    # Once more around their mean, which is nearer to every view of a person than any single view is.
    return alike(directions @ mean_direction(directions[members]), faces) or members


def alike(similarity: Floats, faces: Sequence[Face]) -> list[int]:
    """Of every photo the most similar face, where it is similar enough."""
    best: dict[int, int] = {}
    for index, face in enumerate(faces):
        if similarity[index] >= SAME_PERSON and (
            face.photo not in best or similarity[index] > similarity[best[face.photo]]
        ):
            best[face.photo] = index
    return [best[photo] for photo in sorted(best)]


def mean_direction(directions: Floats) -> Floats:
    mean: Floats = directions.mean(0)
    return mean / np.linalg.norm(mean)


def without_copies(indices: Sequence[int], directions: Floats) -> list[int]:
    """The indices without those that show the same picture as an earlier one."""
    distinct: list[int] = []
    for index in indices:
        if all(directions[index] @ directions[other] < SAME_PICTURE for other in distinct):
            distinct.append(index)
    return distinct


def best_and_most_different(indices: Sequence[int], faces: Sequence[Face], directions: Floats, limit: int) -> list[int]:
    """At most ``limit`` of the indices, in their order.

    The best face first: surely a face, large enough, and like the person's mean. Then, again and again, the best
    of those that the chosen ones do not resemble yet.
    """
    if len(indices) <= limit:
        return list(indices)
    typical = directions[indices] @ mean_direction(directions[indices])
    quality = {
        index: faces[index].score * min(1.0, faces[index].side / SHARP_SIDE) * float(likeness)
        for index, likeness in zip(indices, typical, strict=True)
    }
    chosen = [max(indices, key=quality.__getitem__)]

    def gain(index: int) -> float:
        return quality[index] * (1 - max(float(directions[index] @ directions[other]) for other in chosen))

    while len(chosen) < limit:
        chosen.append(max((index for index in indices if index not in chosen), key=gain))
    return sorted(chosen)


def portrait(face: Face, others: Sequence[Face]) -> Image.Image:
    """An upright square around a face, with as much margin as keeps the photo's other faces out."""
    centres = [other.centre for other in others if other is not face]
    box = next(
        (box for box in squares(face) if not any(inside(centre, box) for centre in centres)), list(squares(face))[-1]
    )
    left, top, right, bottom = (round(edge) for edge in box)
    return face.picture.crop((left, top, right, bottom))


def squares(face: Face) -> Iterator[Box]:
    """Squares around a face inside its photo, the widest first."""
    width, height = face.picture.size
    for margin in MARGINS:
        side = min(margin * face.side, width, height)
        x, y = face.centre
        left = min(max(0.0, x - side / 2), width - side)
        top = min(max(0.0, y - side / 2), height - side)
        yield left, top, left + side, top + side


def no_face(names: Sequence[str], field: str) -> FaceDetectionError:
    named = ", ".join(name[-64:] for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return FaceDetectionError(
        field,
        f"No face was found in {named}{more}. Send photos in which the person's face is large, sharp and well lit.",
    )
