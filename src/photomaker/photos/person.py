"""Who of the faces in an archive is its person, and which of that person's faces to take.

Embeddings of one person point the same way, so the person of an archive is whoever agrees across most of its
photos. ``directions`` are the faces' embeddings at length 1, float32 [faces, 512].
"""

from collections.abc import Sequence

import numpy as np

from photomaker.photos.face import Face, Floats

SAME_PERSON = 0.35  # cosine; between strangers (at most 0.2) and one person's different photos (from 0.5)
SAME_PICTURE = 0.94  # cosine; the same photo again, resized or saved again
SHARP_SIDE = 112  # pixels of a face that the recogniser takes in; a larger face adds nothing to it


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


def agreement(directions: Floats) -> float | None:
    """The mean cosine between a person's faces, -1 to 1; None of a single one."""
    count = len(directions)
    if count < 2:
        return None
    return float((directions @ directions.T)[~np.eye(count, dtype=bool)].mean())


def others(faces: Sequence[Face], directions: Floats, kept: Sequence[int]) -> int:
    """In how many photos whoever is in most of them, beside the person with the faces ``kept``, is."""
    similar = directions @ mean_direction(directions[list(kept)]) >= SAME_PERSON
    rest = [index for index in range(len(faces)) if index not in kept and not similar[index]]
    if not rest:
        return 0
    return len(person([faces[index] for index in rest], directions[rest]))


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
