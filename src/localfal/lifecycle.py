"""What an upload wishes for its file: for how long it is kept, and who may read it."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from localfal.errors import BadRequestError

HEADERS = ("x-fal-object-lifecycle", "x-fal-object-lifecycle-preference")

# Whoever may not read is told so (403), or that there is nothing (404).
Decision = Literal["allow", "forbid", "hide"]

_Model = TypeVar("_Model", bound=BaseModel)


class Rule(BaseModel):
    """The decision for one user, by nickname."""

    user: str
    decision: Decision


class AccessControl(BaseModel):
    """Who may read a file.

    fal drops rules for users that do not exist. Here is one user, who owns every file and may read it in any case, so
    that only the default is kept: it decides for callers who show nothing.
    """

    default: Decision = "allow"
    rules: list[Rule] = []

    @classmethod
    def of(cls, content: Any) -> "AccessControl":
        """What a caller sent; raises BadRequestError."""
        return _checked(cls, content)


class Lifecycle(BaseModel):
    """What X-Fal-Object-Lifecycle says."""

    expiration_duration_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    initial_acl: AccessControl | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Lifecycle":
        """What a request's headers say; raises BadRequestError."""
        text = next((headers[name] for name in HEADERS if name in headers), "")
        return _checked(cls, text or "{}")

    @property
    def seconds(self) -> float:
        """Until the file is deleted."""
        return self.expiration_duration_seconds or float("inf")

    @property
    def access(self) -> Decision:
        """For everybody who is not the owner."""
        return self.initial_acl.default if self.initial_acl else "allow"


NO_WISH = Lifecycle()


def _checked(model: type[_Model], content: Any) -> _Model:
    try:
        return model.model_validate_json(content) if isinstance(content, str) else model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (model.__name__, *first["loc"])))
        raise BadRequestError(f"{where}: {first['msg']}") from None
