"""From what a caller sends to what an app gets: its path, its headers, and what the platform keeps for itself."""

from urllib.parse import parse_qsl, quote, unquote, urlencode

from starlette.requests import HTTPConnection, Request

from localfal.access import TOKEN_PARAMETER
from localfal.errors import BadRequestError
from localfal.jobs import Submission
from localfal.outcome import retry_config
from localfal.queue_api import webhook_url

# Hop by hop, secret, or said by the platform itself.
NOT_FOR_APP = frozenset(
    {
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-fal-caller-user-id",
        "x-fal-endpoint",
        "x-fal-no-retry",
        "x-fal-queue-priority",
        "x-fal-request-id",
        "x-fal-request-timeout",
        "x-fal-retry-config",
        "x-fal-runner-hint",
        "x-fal-store-io",
        "x-fal-target-url",
    }
)
NOT_FOR_APP_PREFIXES = ("x-localfal-", "sec-websocket-")
CALLER_ID = "localfal"
FOR_PLATFORM = ("fal_webhook", "fal_max_queue_length", TOKEN_PARAMETER)
PATH_CHARACTERS = "/:@!$&'()*+,;=~"
HINT_HEADER = "x-fal-runner-hint"
# An app's request context has it, whatever the caller says.
LIFECYCLE_HEADER = "x-fal-object-lifecycle-preference"


def app_path(connection: HTTPConnection, raw: str, tail: str) -> str:
    """The app's own path and query, escaped as the caller sent it; `tail` is that path, decoded, of the `raw` one."""
    sent = "/" + "/".join(raw.split("/")[-tail.count("/") :])
    # As it came, where that is known: decoding and escaping again can make three times as much of it.
    path = quote(sent, safe=f"{PATH_CHARACTERS}%") if unquote(sent) == tail else quote(tail, safe=PATH_CHARACTERS)
    pairs = parse_qsl(connection.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    query = urlencode([(name, value) for name, value in pairs if name not in FOR_PLATFORM])
    return f"{path}?{query}" if query else path


def app_headers(connection: HTTPConnection, app_id: str, path: str) -> dict[str, str]:
    """The headers that the app gets."""
    kept = {
        name: value
        for name, value in connection.headers.items()
        if name not in NOT_FOR_APP and not name.startswith(NOT_FOR_APP_PREFIXES)
    }
    endpoint = app_id + path.partition("?")[0].rstrip("/")
    told = {"x-fal-endpoint": endpoint, "x-fal-caller-user-id": CALLER_ID}
    return {LIFECYCLE_HEADER: "{}", **kept, **told}


def submission(request: Request, app_id: str, path: str, body: bytes, default_start: float | None) -> Submission:
    """A request for the queue, whose app has a default for the time to start."""
    headers = request.headers
    priority = headers.get("x-fal-queue-priority", "normal")
    if priority not in ("normal", "low"):
        raise BadRequestError("X-Fal-Queue-Priority is normal or low")
    return Submission(
        path=path,
        headers=app_headers(request, app_id, path),
        body=body,
        low_priority=priority == "low",
        start_timeout=start_timeout(request, default_start),
        no_retry=headers.get("x-fal-no-retry", "").lower() in ("1", "true", "yes"),
        store_io=headers.get("x-fal-store-io", "1") != "0",
        webhook=webhook_url(request),
        hint=headers.get(HINT_HEADER),
        retry_config=retry_config(headers.get("x-fal-retry-config")),
    )


def start_timeout(request: HTTPConnection, default: float | None) -> float | None:
    """The caller's time to start, in seconds, else the app's default."""
    text = request.headers.get("x-fal-request-timeout")
    if text is None:
        return default
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 < seconds < 1e9:
        raise BadRequestError("X-Fal-Request-Timeout is a number of seconds above 0.1")
    return seconds
