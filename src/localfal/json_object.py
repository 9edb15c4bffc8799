"""A JSON object that a request brings for the platform itself: small, whatever its sender has in mind."""

import json
from typing import Any

from starlette.requests import Request

from localfal.buffer import moving
from localfal.errors import BadRequestError

MAX_JSON_BYTES = 1024 * 1024


async def json_object(request: Request) -> dict[str, Any]:
    """What the body says; nothing at all says nothing. Raises BadRequestError, StalledBodyError."""
    body = bytearray()
    async for chunk in moving(request):
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise BadRequestError(f"The body is above {MAX_JSON_BYTES} bytes")
    try:
        content = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BadRequestError("The body is not a JSON object")
    return content
