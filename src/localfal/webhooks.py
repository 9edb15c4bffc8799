"""Webhooks: a signed POST for every finished request that asked for one, tried again until somebody takes it."""

import asyncio
import base64
import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from localfal.certificates import write_private
from localfal.jobs import Answer
from localfal.queue import Queue
from localfal.state import until_stored

log = logging.getLogger(__name__)

ANSWER_SECONDS = 15.0
# Ten more tries over about two hours.
RETRY_DELAYS = (10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 1800.0, 2700.0)
USER_ID = "localfal"
AT_ONCE = 8


def signing_key(path: Path) -> Ed25519PrivateKey:
    """The key that signs webhooks, made on first use and readable by its owner alone."""
    with suppress(FileNotFoundError, ValueError):  # ValueError: half a file, of a disk that was full
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        if isinstance(key, Ed25519PrivateKey):
            return key
    key = Ed25519PrivateKey.generate()
    write_private(
        path,
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )
    return key


def key_set(key: Ed25519PrivateKey) -> dict[str, Any]:
    """The JSON Web Key Set by which a receiver checks signatures."""
    public = key.public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(public).rstrip(b"=").decode()
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "x": x}]}


def signed_headers(key: Ed25519PrivateKey, request_id: str, body: bytes) -> dict[str, str]:
    """The headers of one delivery, signed as fal documents it."""
    timestamp = str(int(time.time()))
    message = "\n".join([request_id, USER_ID, timestamp, hashlib.sha256(body).hexdigest()])
    return {
        "content-type": "application/json",
        "x-fal-webhook-request-id": request_id,
        "x-fal-webhook-user-id": USER_ID,
        "x-fal-webhook-timestamp": timestamp,
        "x-fal-webhook-signature": key.sign(message.encode()).hex(),
    }


def payload(request_id: str, answer: Answer) -> bytes:
    """What a receiver is told."""
    content: dict[str, Any] = {"request_id": request_id, "gateway_request_id": request_id}
    if answer.status < 400:
        content["status"] = "OK"
    else:
        content["status"] = "ERROR"
        content["error"] = f"Invalid status code: {answer.status}"
    try:
        content["payload"] = json.loads(answer.body)
        return json.dumps(content).encode()
    except (ValueError, RecursionError):  # or nested too deeply to be written within something
        content["payload"] = None
        content["payload_error"] = "Response payload is not JSON serializable"
    return json.dumps(content).encode()


class Webhooks:
    """Delivers what is due; what is due is in the database, so that a killed gateway forgets nobody."""

    def __init__(
        self,
        database: sqlite3.Connection,
        queue: Queue,
        key: Ed25519PrivateKey,
        retry_delays: Sequence[float] = RETRY_DELAYS,
    ) -> None:
        self._database = database
        self._queue = queue
        self._key = key
        self._retry_delays = retry_delays
        self._something_new = asyncio.Event()
        queue.on_change.append(self._something_new.set)
        self._delivering: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Deliver until cancelled."""
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as client:
            try:
                while True:
                    self._something_new.clear()
                    delay = self._start_due(client)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(delay):
                            await self._something_new.wait()
            finally:
                tasks = list(self._delivering.values())
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _start_due(self, client: httpx.AsyncClient) -> float | None:
        """Start what is due; returns the seconds until the next is, None when there is nothing to wait for."""
        rows = self._database.execute(
            "SELECT id, webhook, CAST(webhook_due AS REAL) AS due, webhook_attempts FROM requests"
            " WHERE webhook_due IS NOT NULL AND app = ? ORDER BY webhook_due LIMIT ?",
            (self._queue.app, 2 * AT_ONCE),
        ).fetchall()
        for row in rows:
            if row["id"] in self._delivering:
                continue
            if len(self._delivering) >= AT_ONCE:
                return None
            delay = row["due"] - time.time()
            if delay > 0:
                return float(delay)
            task = asyncio.create_task(self._deliver(client, row["id"], row["webhook"], row["webhook_attempts"]))
            self._delivering[row["id"]] = task
        return None

    async def _deliver(self, client: httpx.AsyncClient, request_id: str, url: str, attempts: int) -> None:
        answer = self._queue.answer(request_id)
        delivered = answer is None or await self._post(client, url, request_id, answer)
        due = None
        if not delivered and attempts < len(self._retry_delays):
            due = time.time() + self._retry_delays[attempts]
        await until_stored(
            lambda: self._database.execute(
                "UPDATE requests SET webhook_due = ?, webhook_attempts = ? WHERE id = ?",
                (due, attempts + 1, request_id),
            )
        )
        del self._delivering[request_id]
        self._something_new.set()

    async def _post(self, client: httpx.AsyncClient, url: str, request_id: str, answer: Answer) -> bool:
        """Whether this is over: taken, or sent somewhere else, which fal does not follow."""
        body = payload(request_id, answer)
        headers = signed_headers(self._key, request_id, body)
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                # Only the status counts: the receiver's words are not read.
                client.stream("POST", url, content=body, headers=headers) as response,
            ):
                return response.status_code < 400
        except Exception as error:  # libraries promise no list of what they raise for a caller's URL
            log.warning("the webhook of %s: %s", request_id, type(error).__name__)
            return False
