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
MAX_PAGE_BYTES = 32 * 1024 * 1024  # of payloads, the newest requests' first
ENDPOINT = "rtrim(app || substr(path, 1, instr(path || '?', '?') - 1), '/')"
# In the types that they are read in, whoever wrote them.
COLUMNS = ", ".join(
    f"CAST({name} AS {kind}) AS {name}"
    for kind, names in {
        "TEXT": ("id", "app", "path"),
        "REAL": ("created", "started", "finished", "inference_time"),
        "INTEGER": ("status",),
    }.items()
    for name in names
)
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


async def list_requests(database: sqlite3.Connection, query: Mapping[str, str], endpoints: list[str]) -> str:
    """One page of requests as JSON, newest first; those of all apps when no endpoint is named.

    fal lists the last 24 hours unless `start` is given; here the default is all that the platform still keeps, those
    that wait or run included. With `expand=payloads`, input and output that are JSON of at most 16 MiB, and all of
    them together of at most 32 MiB; one payload is in memory at a time.
    """
    chosen = _filter(query, endpoints)
    rows = database.execute(
        f"SELECT {COLUMNS} FROM requests WHERE {' AND '.join(chosen.conditions)}"  # noqa: S608 - ours
        " ORDER BY seq DESC LIMIT ? OFFSET ?",
        [*chosen.values, chosen.limit + 1, chosen.limit * (chosen.page - 1)],
    ).fetchall()
    more = len(rows) > chosen.limit
    items, left = list[str](), MAX_PAGE_BYTES
    for row in rows[: chosen.limit]:
        item = _item(row)
        if not chosen.payloads:
            items.append(_written(item))
            continue
        contents = _payloads(database, row["id"], min(left // 2, MAX_PAYLOAD_BYTES))
        left -= sum(map(len, contents))
        # Megabytes of JSON take a while to read: other callers are served meanwhile.
        items.append(await asyncio.to_thread(_with_payloads, item, row["path"], contents))
    cursor = _written(_cursor(chosen.page + 1) if more else None)
    return f'{{"items":[{",".join(items)}],"next_cursor":{cursor},"has_more":{_written(more)}}}'


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


def _payloads(database: sqlite3.Connection, request_id: str, most: int) -> tuple[bytes, bytes]:
    """A request's input and result; nothing for one that is not there, or of more than so many bytes."""
    small = "CASE WHEN typeof({0}) = 'blob' AND length({0}) <= :most THEN {0} ELSE x'' END"
    row = database.execute(
        f"SELECT {small.format('body')}, {small.format('result')} FROM requests WHERE id = :id",  # noqa: S608 - ours
        {"id": request_id, "most": most},
    ).fetchone()
    return (row[0], row[1]) if row else (b"", b"")


def _item(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "request_id": row["id"],
        "endpoint_id": (row["app"] + row["path"].partition("?")[0]).rstrip("/"),
        "sent_at": _iso(row["created"]),
        "started_at": _iso(row["started"]),
        "ended_at": _iso(row["finished"]),
        "status_code": row["status"],
        "duration": row["inference_time"],  # by a clock that nobody sets
    }


def _with_payloads(item: dict[str, Any], path: str, contents: tuple[bytes, bytes]) -> str:
    item["query"] = path.partition("?")[2] or None  # fal's endpoints with arguments outside of a body are called so
    item["json_input"], item["json_output"] = map(_json, contents)
    try:
        return _written(item)
    except RecursionError:  # what can just be read is nested too deeply to be written within something
        return _written({**item, "json_input": None, "json_output": None})


def _written(content: Any) -> str:
    # Python's own spelling: an input may hold halves of surrogate pairs, which ASCII escapes carry and UTF-8 does not.
    return json.dumps(content, separators=(",", ":"))


def _json(content: bytes) -> Any:
    try:
        # NaN and the infinities, which Python writes and reads, are no JSON.
        return json.loads(content, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _iso(seconds: float | None) -> str | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
    except (ValueError, OverflowError, OSError):  # of no calendar
        return None


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
