"""How a request that gets no pictures is answered: fal's error bodies, and nothing billed.

Of the app's side: fastapi is on a runner because fal's server is.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from photomaker import refusals
from photomaker.errors import Cancelled, RequestError, cause
from photomaker.tracebacks import traced

BILLABLE = "x-fal-billable-units"
UNBILLED = {BILLABLE: "0"}

Log = Callable[[str], None]


@contextmanager
def answered(cancelled: Event, log: Log) -> Iterator[None]:
    """What ends a request early, as fal's errors.

    Args:
        cancelled: Set where the caller took the request back.
        log: Takes lines of the request's log.
    """
    try:
        yield
    except Cancelled as error:
        if not cancelled.is_set():  # 503: fal's queue sends the request to another runner
            leaving = "The runner is shutting down. Send the request again."
            raise HTTPException(503, leaving, UNBILLED) from None
        # As fal answers its own RequestCancelledException, which takes no headers.
        raise HTTPException(499, str(error), UNBILLED) from None
    except RequestError as error:
        log(f"{error.type}: {error.message}{cause(error)}")
        raise HTTPException(error.status, [error.as_detail()], UNBILLED) from None


def told(error: Exception) -> dict[str, Any] | None:
    """What a stream that has begun says of a refusal: the status and detail that an answer would have had."""
    return {"status": error.status_code, "detail": error.detail} if isinstance(error, HTTPException) else None


async def refused(request: Request, error: RequestValidationError) -> JSONResponse:
    """A body that is not as the schema has it."""
    return JSONResponse({"detail": refusals.refused(error.errors())}, 422, UNBILLED)


async def unreadable(request: Request, error: HTTPException) -> Response:
    """A body that is no JSON, which FastAPI answers with a 400 without a reason."""
    detail = refusals.unreadable(error.__cause__, request.headers.get("content-encoding"))
    return JSONResponse({"detail": detail}, 422, UNBILLED)


class Failures:
    """Answers a failure of ours; the log says where, for a caller's eyes too.

    Args:
        app: The application.
        log: Takes lines of the request's log.
        answer: What to say of it.
    """

    def __init__(self, app: ASGIApp, log: Log, answer: Callable[[Exception], ASGIApp]) -> None:
        self.app, self.log, self.answer = app, log, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except Exception as error:
            self.log(traced(error))
            if scope["type"] == "http" and not begun:  # one that has begun ends unfinished
                await self.answer(error)(scope, receive, send)
