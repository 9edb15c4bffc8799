"""What an answer means: for its runner, and for a queued request that might be tried again."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from localfal.app_options import AppOptions
from localfal.errors import PlatformError, RequestTimeoutError, RunnerLostError, RunnerUnreachableError
from localfal.jobs import Job

Condition = Literal["server_error", "timeout", "connection_error"]

CONDITIONS: tuple[Condition, ...] = ("server_error", "timeout", "connection_error")
MAX_ATTEMPTS = 10
BROKEN_STATUS = 503
# fal looks whether the runner still takes connections after one of these.
DOUBTFUL_STATUSES = (500, 502, 504)
RETRIED_STATUSES = (503, 504)

RUNNER_HINTS = "x-fal-runner-hints"
NEEDS_RETRY = "x-fal-needs-retry"
STOP_RUNNER = "x-fal-stop-runner"
CHECK_RUNNER = "x-fal-runner-health-check"
NOT_PASSED_ON = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "server",
        "transfer-encoding",
        "upgrade",
        "vary",
        RUNNER_HINTS,
        STOP_RUNNER,
        CHECK_RUNNER,
    }
)


@dataclass(frozen=True)
class Outcome:
    """What follows from an answer: whether its runner ends, and under which condition a request is tried again.

    A runner that is `shut_down` may still clean up. A `doubtful` one ends if it takes no connection, a `lost` one if it
    does not answer either.
    """

    condition: Condition | None = None
    needs_retry: bool | None = None
    stop_runner: bool = False
    shut_down: bool = False
    doubtful: bool = False
    lost: bool = False
    check_health: bool = False
    hints: frozenset[str] | None = None


def of_answer(status: int, headers: Mapping[str, str]) -> Outcome:
    """The outcome of an app's own answer."""
    hints = headers.get(RUNNER_HINTS)
    stop = _flag(headers.get(STOP_RUNNER))
    return Outcome(
        condition="server_error" if status in RETRIED_STATUSES else None,
        needs_retry=_flag(headers.get(NEEDS_RETRY)) if may_need_retry(status) else None,
        stop_runner=status == BROKEN_STATUS if stop is None else stop,
        doubtful=status in DOUBTFUL_STATUSES,
        check_health=CHECK_RUNNER in headers,
        hints=None if hints is None else frozenset(hint.strip() for hint in hints.split(",")),
    )


def of_error(error: PlatformError) -> Outcome:
    """The outcome of an exchange that came to no answer."""
    if isinstance(error, RequestTimeoutError):
        return Outcome(condition="timeout", shut_down=True)
    if isinstance(error, RunnerUnreachableError):
        return Outcome(condition="connection_error", lost=True)
    if isinstance(error, RunnerLostError):
        return Outcome(condition="server_error", lost=True)
    return Outcome()


def may_need_retry(status: int) -> bool:
    """Whether X-Fal-Needs-Retry counts; elsewhere fal strips it."""
    return status >= 500 or status == 429


def tried_again(job: Job, outcome: Outcome, options: AppOptions) -> bool:
    """Whether a queued request gets another attempt, by its own headers, the answer's, and the app's options."""
    if job.no_retry or job.attempt >= MAX_ATTEMPTS:
        return False
    if outcome.needs_retry is not None:
        return outcome.needs_retry
    if outcome.condition is None:
        return False
    budget = job.retry_config.get(outcome.condition, options.retries.get(outcome.condition))
    if budget is not None:
        return job.retries.get(outcome.condition, 0) < budget
    return outcome.condition not in options.skip_retry


def retry_config(text: str | None) -> dict[str, int]:
    """A caller's X-Fal-Retry-Config; as on fal, whatever is no config counts for nothing."""
    try:
        content = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    config = {}
    for condition, entry in content.items() if isinstance(content, dict) else ():
        retries = entry.get("retries") if isinstance(entry, dict) else None
        if condition in CONDITIONS and isinstance(retries, int) and not isinstance(retries, bool):
            config[condition] = min(max(retries, 0), MAX_ATTEMPTS)
    return config


def passed_on(status: int, headers: Mapping[str, str]) -> dict[str, str]:
    """The app's response headers that are the caller's business; who may read it from a page, the gateway says."""
    return {
        name: value
        for name, value in headers.items()
        if not (
            (lower := name.lower()) in NOT_PASSED_ON
            or lower.startswith("access-control-")
            or (lower == NEEDS_RETRY and not may_need_retry(status))
        )
    }


def _flag(value: str | None) -> bool | None:
    return {"1": True, "true": True, "0": False, "false": False}.get((value or "").strip().lower())
