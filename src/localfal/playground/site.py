"""What localfal serves of fal.ai and api.fal.ai: the page of the served apps, their schemas, their requests."""

import asyncio
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localfal.access import require_key
from localfal.errors import MethodNotAllowedError, NotFoundError
from localfal.hosted import HostedApp
from localfal.playground.queue_openapi import endpoint_documents, summary_of
from localfal.playground.request_list import list_requests
from localfal.playground.web_files import WebFiles

API_PREFIXES = ("/v1/models", "/api/openapi/")


class Site:
    """Answers for the page and for the listings that it reads."""

    def __init__(self, apps: Mapping[str, HostedApp], database: sqlite3.Connection, examples: Path | None) -> None:
        self._apps = apps
        self._database = database
        self._files = WebFiles(examples)
        self._listing = asyncio.Lock()

    def page(self, request: Request, path: str) -> Response:
        """A file of the page; only for callers who name this machine."""
        return self._files.answer(request, path)

    async def api(self, request: Request, path: str, base: str) -> Response:
        """`api.fal.ai/v1/models…` and `fal.ai/api/openapi/queue/openapi.json`; `base` is the host's URL."""
        if path not in ("/v1/models", "/v1/models/requests/by-endpoint", "/api/openapi/queue/openapi.json"):
            raise NotFoundError(f"localfal does not answer {base}{path}")
        if request.method != "GET":
            raise MethodNotAllowedError("GET")
        wanted = [one for value in request.query_params.getlist("endpoint_id") for one in value.split(",") if one]
        if path == "/v1/models":
            return JSONResponse(self._models(wanted, request.query_params.getlist("expand")))
        if path == "/v1/models/requests/by-endpoint":
            require_key(request)
            async with self._listing:  # one page of payloads is in memory at a time
                page = await list_requests(self._database, request.query_params, wanted)
            return Response(page, media_type="application/json")
        document = self._documents().get(wanted[0] if wanted else "")
        if document is None:
            raise NotFoundError("Endpoint not found")
        return JSONResponse(document)

    def _models(self, wanted: list[str], expand: list[str]) -> dict[str, Any]:
        """All endpoints that are served, or those that are named; one page holds them."""
        models = []
        for endpoint_id, document in self._documents().items():
            if wanted and endpoint_id not in wanted:
                continue
            model: dict[str, Any] = {
                "endpoint_id": endpoint_id,
                "metadata": {
                    "display_name": _display_name(endpoint_id),
                    "description": summary_of(document),
                    "status": "active",
                    "model_url": f"https://fal.run/{endpoint_id}",
                },
            }
            if "openapi-3.0" in ",".join(expand).split(","):
                model["openapi"] = document
            models.append(model)
        return {"models": models, "next_cursor": None, "has_more": False}

    def _documents(self) -> dict[str, dict[str, Any]]:
        described = [(app.id, app.fleet.openapi) for app in self._apps.values()]
        return {
            endpoint_id: document
            for app_id, openapi in described
            if openapi is not None
            for endpoint_id, document in endpoint_documents(app_id, openapi).items()
        }


def _display_name(endpoint_id: str) -> str:
    return " ".join(endpoint_id.split("/")[1:]).replace("-", " ").replace("_", " ").title()
