"""The person in the photos: found, chosen and cropped with InsightFace.

The detector (SCRFD) gives a box and five points a face, the recogniser (ArcFace) an embedding.

Licence: InsightFace's code is MIT, but its own model packs (buffalo_l, antelopev2, …) are for non-commercial
research only. Any pack of an SCRFD detector and an ArcFace-like recogniser in ``root/models/NAME`` works instead.

Nothing here is written to disk, and logs and errors name files, never what was found in a face.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from insightface.app import FaceAnalysis
from PIL import Image

from photomaker.cores import usable_cores
from photomaker.photos.archive import Photo
from photomaker.photos.face import Box, Face, Floats, aligned, inside, portrait
from photomaker.photos.looks import COPY, NO_FACE, NO_ROOM, NOT_THE_PERSON, TOO_SMALL, Log, Look, Looks, Portrait, told
from photomaker.photos.person import (
    agreement,
    best_and_most_different,
    mean_direction,
    others,
    person,
    without_copies,
)
from photomaker.weights.sources import CheckpointError

STORE = Path("~/.insightface")
DETECTION_SIZES = (640, 288)  # pixels; a face that fills its photo is found when shown smaller
CONFIDENCE = 0.5  # InsightFace's own
RECOGNISABLE = 32  # pixels; smaller faces of strangers look alike to the recogniser (benchmarks/likeness.py)
DIMENSIONS = 512  # of an embedding: ArcFace's, and what version 2 takes
SURE = 0.7  # below it the other three ways up are tried: a face upside down can be taken for a poor upright one
TURNS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180)
FACES_PER_PHOTO = 12  # the largest ones; whoever is smaller in a crowd is not whom the photo is of
MOST_AT_ONCE = 8  # photos


class FaceFinder:
    """InsightFace's detector and recogniser, loaded once.

    Args:
        pack: The name of a model pack; downloaded by InsightFace if it is its own and not in the store yet.
        root: The store, with the packs in ``models/``. Default: ~/.insightface.
        providers: onnxruntime's execution providers. Default: the best of this onnxruntime build.

    Raises:
        CheckpointError: The pack has no detector or no recogniser, or what it has cannot be used.
    """

    def __init__(self, pack: str, root: str | Path | None = None, providers: Sequence[str] | None = None) -> None:
        options = onnxruntime.SessionOptions()
        # Photos side by side, one thread each, keep the cores busier than one photo on all of them.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        store = Path(root or STORE).expanduser().absolute()  # InsightFace takes a relative path into its own store
        folder = store / "models" / pack
        try:
            analysis = FaceAnalysis(
                # By its path: a folder of that name where the program was started would come before the store.
                name=str(folder) if folder.is_dir() else pack,
                root=str(store),
                allowed_modules=["detection", "recognition"],
                providers=None if providers is None else list(providers),
                sess_options=options,
            )
        except AssertionError as error:  # InsightFace's word for it
            raise CheckpointError(f"{folder}: there is no face detector, such as SCRFD, in it") from error
        except Exception as error:  # onnxruntime's errors have no name in common
            raise CheckpointError(f"{folder}: its models cannot be read: {error}") from error
        if "recognition" not in analysis.models:
            raise CheckpointError(f"{folder}: there is no face recogniser, such as ArcFace, in it")
        if not analysis.det_model.use_kps:
            raise CheckpointError(f"{folder}: its face detector gives boxes only, not where eyes, nose and mouth are")
        width = [None, *analysis.models["recognition"].output_shape][-1]
        if isinstance(width, int) and width != DIMENSIONS:
            raise CheckpointError(f"{folder}: its face recogniser gives {width} numbers a face, not {DIMENSIONS}")
        analysis.prepare(ctx_id=0, det_thresh=CONFIDENCE, det_size=(DETECTION_SIZES[0], DETECTION_SIZES[0]))
        self.detector = analysis.det_model
        self.recogniser = analysis.models["recognition"]
        self.threads = ThreadPoolExecutor(min(usable_cores(), MOST_AT_ONCE), "faces")

    def portraits(
        self,
        photos: Sequence[Photo],
        *,
        field: str = "image_archive_url",
        limit: int | None = None,
        log: Log = lambda line: None,
        check: Callable[[], None] = lambda: None,
    ) -> list[Portrait]:
        """The archive's person, once for every photo that shows them, in the photos' order.

        Args:
            photos: The archive's photos.
            field: The input field that an error is about.
            limit: How many portraits there is room for; the best and most different ones stay.
            log: Told about every photo that is left out.
            check: Called before each photo is looked at; what it raises ends the search.

        Raises:
            FaceDetectionError: There is no face in any photo.
        """
        return told(photos, self.look(photos, limit=limit, check=check), field=field, log=log).portraits

    def look(
        self, photos: Sequence[Photo], *, limit: int | None = None, check: Callable[[], None] = lambda: None
    ) -> Looks:
        """What is in each photo, and which ones are used; the arguments are :meth:`portraits`'."""
        found = self.find([photo.image for photo in photos], check)
        faces = [face for of_photo in found for face in of_photo]
        if not faces:
            return Looks(tuple(Look(None, None, NO_FACE) for _ in photos))
        faces = [face for face in faces if face.side >= RECOGNISABLE] or faces
        embeddings = np.stack(list(self.threads.map(self.embedding, faces)))
        directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

        kept = person(faces, directions)
        largest_first = sorted(kept, key=lambda index: faces[index].side, reverse=True)
        distinct = sorted(without_copies(largest_first, directions))
        chosen = distinct if limit is None else best_and_most_different(distinct, faces, directions, limit)
        similarity = directions @ mean_direction(directions[chosen])

        looks: list[Look] = []
        for photo, of_photo in enumerate(found):
            here = [index for index, face in enumerate(faces) if face.photo == photo]
            index = next((index for index in kept if index in here), here[0] if here else None)
            if index is None:
                looks.append(Look(of_photo[0] if of_photo else None, None, TOO_SMALL if of_photo else NO_FACE))
                continue
            face, likeness, reason, view = faces[index], float(similarity[index]), None, None
            if index in chosen:
                view = Portrait(photo, photos[photo].name, portrait(face, of_photo), embeddings[index])
            elif index not in kept:
                reason = NOT_THE_PERSON
            else:
                reason = NO_ROOM if index in distinct else COPY
            looks.append(Look(face, likeness, reason, view))
        return Looks(tuple(looks), agreement(directions[distinct]), others(faces, directions, kept))

    def find(self, images: Sequence[Image.Image], check: Callable[[], None] = lambda: None) -> list[list[Face]]:
        """Each photo's faces; very small ones are looked for, in every photo, where the archive has no others.

        Beside others they would say nothing about whose they are, and an ID encoder sees nothing in them.
        """

        def small(photo: int) -> list[Face]:
            check()
            return self.small_faces(photo, images[photo])

        found = self.upright_faces(images, check)
        return found if any(found) else list(self.threads.map(small, range(len(images))))

    def faces(self, image: Image.Image) -> list[Face]:
        """One picture's largest faces, as :meth:`upright_faces` finds them."""
        return self.upright_faces([image])[0]

    def upright_faces(
        self, images: Sequence[Image.Image], check: Callable[[], None] = lambda: None
    ) -> list[list[Face]]:
        """Each photo's largest faces, in the photo turned so that they are upright.

        First all photos as sent, then the unsure ones turned, so that threads share what one photo needs.
        """

        def detect(job: tuple[int, int, Image.Transpose | None]) -> list[Face]:
            check()
            photo, size, turn = job
            image = images[photo] if turn is None else images[photo].transpose(turn)
            return self.detect(photo, image, size)

        found: list[list[Face]] = [[] for _ in images]
        for size in DETECTION_SIZES:
            missing = [photo for photo, faces in enumerate(found) if not faces]
            as_sent = self.threads.map(detect, [(photo, size, None) for photo in missing])
            found = [faces or next(as_sent) for faces in found]
            unsure = [photo for photo in missing if confidence(found[photo]) < SURE]
            turned = self.threads.map(detect, [(photo, size, turn) for photo in unsure for turn in TURNS])
            for photo in unsure:
                surest = max((next(turned) for _ in TURNS), key=confidence)
                if confidence(surest) >= SURE:
                    found[photo] = surest
        return found

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
