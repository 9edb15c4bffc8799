"""An app's own OpenAPI document, told as fal tells it: one document for each endpoint, as its queue is called."""

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]

FAL_QUEUE = "https://queue.fal.run"
NAME_OF_REF = re.compile(r"#/components/schemas/(.+)")

QUEUE_STATUS: Json = {
    "type": "object",
    "properties": {
        "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
        "request_id": {"type": "string", "description": "The request id."},
        "response_url": {"type": "string", "description": "The response url."},
        "status_url": {"type": "string", "description": "The status url."},
        "cancel_url": {"type": "string", "description": "The cancel url."},
        "logs": {"type": "array", "items": {"type": "object"}, "description": "The logs."},
        "metrics": {"type": "object", "description": "The metrics."},
        "queue_position": {"type": "integer", "description": "The queue position."},
    },
    "required": ["status", "request_id"],
}


def endpoint_documents(app_id: str, app: Json) -> dict[str, Json]:
    """Every endpoint that a caller can use, under its id `owner/alias[/path]`, in the app's own order.

    An endpoint's `…/cancel` is how the platform tells a runner of a cancellation, and no endpoint of its own.
    An endpoint that streams keeps `text/event-stream` as the content of its result.
    """
    paths: Json = app.get("paths") or {}
    order = [path for path in app.get("x-fal-order-paths") or paths if path in paths]
    endpoints = {path: paths[path]["post"] for path in order if "post" in paths[path] and not _cancels(path, paths)}
    return {(app_id + path).rstrip("/"): _document(app_id, path, post, app) for path, post in endpoints.items()}


def summary_of(document: Json) -> str:
    """What the endpoint says about itself."""
    return str(document["info"].get("description", ""))


def _cancels(path: str, paths: Json) -> bool:
    served, slash, last = path.rpartition("/")
    return bool(slash) and last == "cancel" and (served or "/") in paths


def _document(app_id: str, path: str, post: Json, app: Json) -> Json:
    endpoint_id = (app_id + path).rstrip("/")
    results = (post.get("responses") or {}).get("200", {}).get("content") or {"application/json": {"schema": {}}}
    submit = {key: post[key] for key in ("summary", "description", "parameters", "requestBody") if key in post}
    of_request = [{"name": "request_id", "in": "path", "required": True, "schema": {"type": "string"}}]
    requests = f"/{endpoint_id}/requests/{{request_id}}"
    status = _json_answer("The request status.", {"$ref": "#/components/schemas/QueueStatus"})
    cancelled = {"type": "object", "properties": {"status": {"type": "string"}}}
    paths: Json = {
        f"{requests}/status": {"get": {"parameters": of_request, "responses": {"200": status}}},
        f"{requests}/cancel": {
            "put": {
                "parameters": of_request,
                "responses": {"202": _json_answer("The cancellation was requested.", cancelled)},
            }
        },
        f"/{endpoint_id}": {"post": {**submit, "responses": {"200": status}}},
        requests: {
            "get": {
                "parameters": of_request,
                "responses": {"200": {"description": "Result of the request.", "content": results}},
            }
        },
    }
    schemas = (app.get("components") or {}).get("schemas") or {}
    return {
        "openapi": "3.0.4",
        "info": {
            "title": f"Queue OpenAPI for {endpoint_id}",
            "version": "1.0.0",
            "description": post.get("description") or post.get("summary") or "",
            "x-fal-metadata": {"endpointId": endpoint_id},
        },
        "components": {
            "securitySchemes": {
                "apiKeyAuth": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Fal Key"}
            },
            "schemas": {"QueueStatus": QUEUE_STATUS, **{name: schemas[name] for name in _used([paths], schemas)}},
        },
        "paths": paths,
        "servers": [{"url": FAL_QUEUE}],
        "security": [{"apiKeyAuth": []}],
    }


def _json_answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _used(parts: list[Any], schemas: Json) -> list[str]:
    """The components that something refers to, directly or through others."""
    found: dict[str, None] = {}
    while parts:
        for name in _references(parts.pop()):
            if name in schemas and name not in found:
                found[name] = None
                parts.append(schemas[name])
    return list(found)


def _references(root: Any) -> Iterator[str]:
    nodes = [root]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            if isinstance(reference := node.get("$ref"), str) and (match := NAME_OF_REF.fullmatch(reference)):
                yield match[1]
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)
