"""`api.fal.ai/v1/models/requests/by-endpoint`: what the platform has been asked, and what it answered."""

import asyncio
import base64
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localfal.errors import BadRequestError

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
ENDPOINT = "rtrim(app || substr(path, 1, instr(path || '?', '?') - 1), '/')"
STATUSES = {
    "success": "status < 400",
    "error": "status >= 400",
    "user_error": "status >= 400 AND status < 500",
}


@dataclass(frozen=True)
class Filter:
    """Which requests, as SQL conditions with their values; `page` is counted from 1."""

    conditions: list[str]
    values: list[Any]
    limit: int
    page: int
    payloads: bool


async def list_requests(database: sqlite3.Connection, query: Mapping[str, str], endpoints: list[str]) -> dict[str, Any]:
    """One page of requests, newest first; those of all apps when no endpoint is named.

    fal lists the last 24 hours unless `start` is given; here the default is all that the platform still keeps, those
    that wait or run included. With `expand=payloads`, input and output that are JSON of at most 16 MiB.
    """
    chosen = _filter(query, endpoints)
    payloads = "body, result" if chosen.payloads else "NULL AS body, NULL AS result"
    rows = database.execute(
        f"SELECT id, app, path, created, started, finished, status, {payloads} FROM requests"  # noqa: S608 - ours
        f" WHERE {' AND '.join(chosen.conditions)} ORDER BY seq DESC LIMIT ? OFFSET ?",
        [*chosen.values, chosen.limit + 1, chosen.limit * (chosen.page - 1)],
    ).fetchall()
    more = len(rows) > chosen.limit
    rows = rows[: chosen.limit]
    # Megabytes of JSON take a while to read: other callers are served meanwhile.
    items = await asyncio.to_thread(lambda: [_item(row, chosen.payloads) for row in rows])
    return {"items": items, "next_cursor": _cursor(chosen.page + 1) if more else None, "has_more": more}


def _filter(query: Mapping[str, str], endpoints: list[str]) -> Filter:
    conditions, values = ["1"], list[Any]()
    if endpoints:
        if len(endpoints) > DEFAULT_LIMIT:
            raise BadRequestError(f"At most {DEFAULT_LIMIT} endpoint_id")
        conditions.append("(" + " OR ".join([f"{ENDPOINT} = ?"] * len(endpoints)) + ")")
        values += endpoints
    for name, condition in (("start", "created >= ?"), ("end", "created < ?")):
        if name in query:
            conditions.append(condition)
            values.append(_moment(name, query[name]))
    if "request_id" in query:
        conditions.append("id = ?")
        values.append(query["request_id"])
    if "status" in query:
        if query["status"] not in STATUSES:
            raise BadRequestError(f"status is one of {', '.join(STATUSES)}")
        conditions.append(STATUSES[query["status"]])
    return Filter(
        conditions,
        values,
        _limit(query.get("limit")),
        _page(query.get("cursor")),
        "payloads" in query.get("expand", "").split(","),
    )


def _item(row: sqlite3.Row, payloads: bool) -> dict[str, Any]:
    path, _, asked = row["path"].partition("?")
    item = {
        "request_id": row["id"],
        "endpoint_id": (row["app"] + path).rstrip("/"),
        "sent_at": _iso(row["created"]),
        "started_at": _iso(row["started"]),
        "ended_at": _iso(row["finished"]),
        "status_code": row["status"],
        "duration": row["finished"] - row["started"] if row["finished"] and row["started"] else None,
    }
    if payloads:
        item["query"] = asked or None  # fal's endpoints with arguments outside of a body are called so
        item["json_input"], item["json_output"] = _json(row["body"]), _json(row["result"])
    return item


def _json(content: bytes | None) -> Any:
    if not content or len(content) > MAX_PAYLOAD_BYTES:
        return None
    try:
        # NaN and the infinities, which Python writes and reads, are no JSON.
        return json.loads(content, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _moment(name: str, text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise BadRequestError(f"{name} is a date such as 2025-01-01T00:00:00Z") from None


def _limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise BadRequestError(f"limit is a number from 1 to {MAX_LIMIT}")
    return int(text[:9])


def _page(cursor: str | None) -> int:
    try:
        page = int(base64.b64decode(cursor, validate=True)[:9]) if cursor else 1
    except ValueError:
        page = 0
    if page < 1:
        raise BadRequestError("cursor is a next_cursor of an earlier answer")
    return page


def _cursor(page: int) -> str:
    return base64.b64encode(str(page).encode()).decode()
