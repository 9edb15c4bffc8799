"""What an app says about itself in its class: how long, how many at once, who may call, what is tried again."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# fal's own defaults, where an app names none.
REQUEST_SECONDS = 3600.0
STARTUP_SECONDS = 600.0
GRACE_SECONDS = 5.0
HEALTH_START_SECONDS = 30.0
HEALTH_SECONDS = 5.0
HEALTH_FAILURES = 3


@dataclass(frozen=True)
class HealthCheck:
    """The endpoint that tells whether a runner is still fit, and when its word counts."""

    path: str
    method: str = "POST"
    start_period: float = HEALTH_START_SECONDS
    timeout: float = HEALTH_SECONDS
    failures: int = HEALTH_FAILURES
    regularly: bool = True


@dataclass(frozen=True)
class AppOptions:
    """The attributes of a `fal.App` that its platform keeps to; seconds throughout."""

    auth: str = "private"
    max_multiplexing: int = 1
    request_timeout: float = REQUEST_SECONDS
    request_start_timeout: float | None = None
    startup_timeout: float = STARTUP_SECONDS
    grace: float = GRACE_SECONDS
    skip_retry: tuple[str, ...] = ()
    retries: Mapping[str, int] = field(default_factory=dict)
    health: HealthCheck | None = None

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> "AppOptions":
        """What a runner has reported."""
        health = content.get("health")
        return cls(**{**content, "health": HealthCheck(**health) if health else None})


def report() -> dict[str, Any]:
    """In a runner: the options of the app that it is about to serve."""
    from fal.app import get_current_app

    app = get_current_app()
    host: dict[str, Any] = dict(type(app).host_kwargs) if app is not None else {}
    config = host.get("health_check_config")
    options = AppOptions(
        auth=getattr(app, "app_auth", None) or "private",
        max_multiplexing=max(1, int(host.get("max_multiplexing") or 1)),
        request_timeout=float(host.get("request_timeout") or REQUEST_SECONDS),
        request_start_timeout=float(host.get("request_start_timeout") or 0) or None,
        startup_timeout=float(host.get("startup_timeout") or STARTUP_SECONDS),
        grace=_or(host.get("termination_grace_period_seconds"), GRACE_SECONDS),
        skip_retry=tuple(host.get("skip_retry_conditions") or ()),
        retries=_retries(host.get("retry_config")),
    )
    if config is not None:
        # fal counts no failure before the app may have started at all.
        start = max(_or(config.start_period_seconds, HEALTH_START_SECONDS), float(host.get("startup_timeout") or 0))
        health = HealthCheck(
            path=config.path,
            method=(config.method or "POST").upper(),
            start_period=start,
            timeout=_or(config.timeout_seconds, HEALTH_SECONDS),
            failures=int(_or(config.failure_threshold, HEALTH_FAILURES)),
            regularly=config.call_regularly is not False,
        )
        options = dataclasses.replace(options, health=health)
    return dataclasses.asdict(options)


def _retries(config: Any) -> dict[str, int]:
    content = config if isinstance(config, dict) or config is None else config.to_dict()
    return {condition: max(0, int(entry["retries"])) for condition, entry in (content or {}).items()}


def _or(value: float | None, default: float) -> float:
    return default if value is None else float(value)
