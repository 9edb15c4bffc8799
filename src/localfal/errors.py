"""The platform's own request errors, in fal's flat form: `{"detail": str, "error_type": str}`."""

from starlette.responses import JSONResponse

ERROR_TYPE_HEADER = "x-fal-error-type"
TIMEOUT_TYPE_HEADER = "x-fal-request-timeout-type"


class PlatformError(Exception):
    """A request the platform itself refuses or gives up on; the app's own errors pass through untouched."""

    status = 400
    error_type: str | None = "bad_request"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}

    def body(self) -> dict[str, str]:
        """The JSON body that a caller gets."""
        body = {"detail": self.detail}
        if self.error_type:
            body["error_type"] = self.error_type
        return body

    def all_headers(self) -> dict[str, str]:
        """The extra headers that a caller gets."""
        named = {ERROR_TYPE_HEADER: self.error_type} if self.error_type else {}
        return {**named, **self.headers}

    def response(self) -> JSONResponse:
        """The whole response."""
        return JSONResponse(self.body(), self.status, self.all_headers())


class BadRequestError(PlatformError):
    """A malformed header, parameter or application id."""


class UnauthorizedError(PlatformError):
    """No usable Authorization header."""

    status = 401
    error_type = None


class ForbiddenError(PlatformError):
    """A caller that may not call at all."""

    status = 403
    error_type = None


class NotFoundError(PlatformError):
    """No such application, request, path or file."""

    status = 404
    error_type = None


class MethodNotAllowedError(PlatformError):
    """The path exists, the method does not."""

    status = 405
    error_type = None

    def __init__(self, allow: str) -> None:
        super().__init__("Method Not Allowed", headers={"allow": allow})


class TooLargeError(PlatformError):
    """A body above the platform's bounds."""

    status = 413


class StalledBodyError(PlatformError):
    """A caller stopped sending in the middle of its request."""

    status = 408

    def __init__(self) -> None:
        super().__init__("The request's body stopped coming")


class BusyError(PlatformError):
    """There is no room for another large request just now."""

    status = 503
    error_type = None

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"retry-after": "5"})


class QueueFullError(PlatformError):
    """More requests are waiting than the caller's `fal_max_queue_length`."""

    status = 429
    error_type = "queue_full"


class StorageFullError(PlatformError):
    """The storage has reached its bound."""

    status = 507
    error_type = "storage_full"


class StartTimeoutError(PlatformError):
    """No runner began the request within the caller's `X-Fal-Request-Timeout`."""

    status = 504
    error_type = "request_timeout"

    def __init__(self) -> None:
        # Both clients retry a 504 unless this header says that the caller asked for it.
        super().__init__("Request timed out", headers={TIMEOUT_TYPE_HEADER: "user"})


class RequestTimeoutError(PlatformError):
    """The app worked on the request for longer than its `request_timeout`."""

    status = 504
    error_type = "request_timeout"

    def __init__(self) -> None:
        super().__init__("Request timed out")


class RunnerLostError(PlatformError):
    """The runner went away while it worked on the request."""

    status = 503
    error_type = "runner_disconnected"

    def __init__(self, detail: str = "The runner disconnected unexpectedly during processing") -> None:
        super().__init__(detail)


class RunnerUnreachableError(RunnerLostError):
    """The runner takes no connection."""

    error_type = "runner_connection_refused"

    def __init__(self) -> None:
        super().__init__("The runner refused the connection")


class IncompleteAnswerError(RunnerLostError):
    """The runner broke its answer off."""

    status = 502
    error_type = "runner_incomplete_response"

    def __init__(self) -> None:
        super().__init__("The runner sent an incomplete response payload")


class ClientCancelledError(PlatformError):
    """The caller cancelled the request."""

    status = 499
    error_type = "client_cancelled"

    def __init__(self) -> None:
        super().__init__("Request was cancelled by the client")


class InternalError(PlatformError):
    """A mistake of the platform's own; the log says which."""

    status = 500
    error_type = "internal_error"

    def __init__(self, detail: str = "Internal Server Error") -> None:
        super().__init__(detail)


class RunnerAnswerTooLargeError(InternalError):
    """The app's answer is above the platform's bounds."""
