"""What answers say beside pictures, in the words of the wire."""

from typing import Literal

from pydantic import BaseModel, Field


class Timings(BaseModel):
    """Seconds."""

    download: float = Field(description="Fetching the photos and the initial image.")
    faces: float = Field(description="Reading the photos and finding the person; 0 for photos seen before.")
    encode: float = Field(description="Encoding the person and the prompts.")
    denoise: float = Field(description="All steps, for all images.")
    decode: float = Field(description="From latents to checked pictures.")
    upload: float = Field(
        description="Encoding, comparing and storing the pictures; one is uploaded while the next is decoded, so this "
        "is the sum over them and not added to the rest."
    )


class PhotoVerdict(BaseModel):
    name: str = Field(description="In its archive, or of its field.")
    used: bool = Field(description="Whether the pictures were made from it.")
    reason: str | None = Field(description="Why not.")


class Fault(BaseModel):
    """What a request with this input would be refused for."""

    loc: list[str | int] = Field(description="Where it is in the input.")
    msg: str = Field(description="What is wrong, and what to change.")
    type: str = Field(description="fal's name for it: https://docs.fal.ai/errors")


class InspectedPhoto(BaseModel):
    name: str = Field(description="In its archive, or of its field.")
    width: int | None = Field(description="In pixels, as read: larger photos are read at most 1536 a side.")
    height: int | None = Field(description="In pixels, as read.")
    face: bool | None = Field(description="Whether there is a face; null where the deployment looks for none.")
    whose: Literal["person", "somebody else"] | None = Field(description="Whose the face is; null if nobody can tell.")
    similarity: float | None = Field(description="Of the face to the chosen person, a cosine from -1 to 1.")
    sharpness: float | None = Field(
        description="Fine detail in the face: mostly below 100 where it is small or out of focus, several hundred and "
        "more where it is sharp."
    )
    used: bool = Field(description="Whether pictures would be made from it.")
    reason: str | None = Field(description="Why not.")


class ChosenPerson(BaseModel):
    photos: int = Field(description="How many photos show the person who was chosen.")
    agreement: float | None = Field(
        description="How sure: how alike the person's faces in different photos are, the mean of their cosines; one "
        "person's photos lie mostly above 0.5. null with a single photo."
    )
    others: int = Field(description="In how many photos whoever else is in most of them is; as many means unsure.")


class InspectedPrompt(BaseModel):
    text: str = Field(description="With the style's words.")
    class_word: str = Field(description="What the trigger word stands behind.")
    room: int = Field(description="How many photos the prompt has room for.")
    tokens_used: int = Field(description="With the photos' own, of the 77 that there are.")
    tokens_dropped: int = Field(description="For which there is no room.")
    dropped: str = Field(description="The words that they are.")


class Inspection(BaseModel):
    ok: bool = Field(description="Whether pictures could be made of this input.")
    faults: list[Fault] = Field(description="All that a request would be refused for, not the first alone.")
    photos: list[InspectedPhoto] = Field(description="One entry for each photo.")
    person: ChosenPerson | None = Field(description="null where no face is found, or the deployment looks for none.")
    prompt: InspectedPrompt | None = Field(description="null where the prompt cannot be read.")
