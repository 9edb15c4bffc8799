"""Who may call: any key opens the platform, a token opens the apps that it was made for, a public app asks for none."""

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse

from localfal.errors import BadRequestError, UnauthorizedError
from localfal.json_object import json_object

TOKEN_PARAMETER = "fal_jwt_token"  # noqa: S105 - a name
TOKEN_SECONDS = 120
MAX_TOKEN_SECONDS = 3600
MAX_APPS = 100


def require_key(connection: HTTPConnection, app_id: str = "") -> None:
    """Raise UnauthorizedError unless the caller shows a key."""
    authorization = connection.headers.get("authorization")
    if not authorization:
        if app_id:
            raise UnauthorizedError(
                f'Cannot access application "{app_id}". Authentication is required to access this application.'
            )
        raise UnauthorizedError("Authentication is required")
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() not in ("key", "bearer") or not credentials.strip():
        raise UnauthorizedError("No user found for Key ID and Secret")


class Tokens:
    """Short-lived tokens for pages, which must not have the key: `POST /tokens/`, then `?fal_jwt_token=`."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    async def issue(self, request: Request) -> JSONResponse:
        """Answer `POST /tokens/`: a token for `allowed_apps` (or one `app`), as a JSON string."""
        require_key(request)
        wish = await json_object(request)
        try:
            apps = wish["allowed_apps"] if "allowed_apps" in wish else [wish["app"]]
            seconds = wish.get("token_expiration", wish.get("duration", TOKEN_SECONDS))
            usable = isinstance(apps, list) and len(apps) <= MAX_APPS and all(isinstance(app, str) for app in apps)
            usable = usable and type(seconds) in (int, float) and 0 < seconds <= MAX_TOKEN_SECONDS
        except (ValueError, TypeError, KeyError):
            usable = False
        if not usable:
            raise BadRequestError(
                f"A token is asked for with allowed_apps, a list of aliases, and token_expiration,"
                f" up to {MAX_TOKEN_SECONDS} seconds"
            )
        now = int(time.time())
        claims = {"apps": [_alias(app) for app in apps], "iat": now, "exp": now + int(seconds)}
        return JSONResponse(self._signed(claims), 201)

    def open(self, token: str, app_id: str) -> bool:
        """Whether a token is ours, still good, and for this app."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return False
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        return _alias(app_id) in claims["apps"] and time.time() < claims["exp"]

    def _signed(self, claims: dict[str, Any]) -> str:
        parts = (json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        signed = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
        return f"{signed}.{self._signature(signed)}"

    def _signature(self, signed: str) -> str:
        digest = hmac.new(self._secret, signed.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def require_access(connection: HTTPConnection, app_id: str, auth: str, tokens: Tokens) -> None:
    """Raise UnauthorizedError unless the app is public, or the caller shows a key or a token for it."""
    if auth == "public":
        return
    token = connection.query_params.get(TOKEN_PARAMETER)
    if token is None:
        require_key(connection, app_id)
    elif not tokens.open(token, app_id):
        raise UnauthorizedError("The token is not for this application, or has expired")


def _alias(app: str) -> str:
    """`alias` of `alias`, `owner/alias` or `owner/alias/path`."""
    parts = app.split("/")
    return parts[0] if len(parts) == 1 else parts[1]
