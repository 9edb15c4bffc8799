"""fal's hosts, and which of its services each stands for: what leads calls to this machine leads these, no other."""

SERVICES = {
    "fal.run": "run",
    "queue.fal.run": "queue",
    "rest.fal.ai": "rest",
    "v3.fal.media": "media",
    "ws.fal.run": "ws",
    # The names that releases before 1.0 and pages of today use for the same.
    "gateway.alpha.fal.ai": "run",
    "queue.falrun.com": "queue",
    "rest.alpha.fal.ai": "rest",
    "fal.media": "media",
    "v3b.fal.media": "media",
    "api.fal.ai": "api",
    "fal.ai": "api",
}
FAL_HOSTS = tuple(SERVICES)
LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
MEDIA = "https://v3.fal.media"


def host_name(authority: str) -> str:
    """The host of a Host header, in lower case."""
    return authority.lower().rpartition(":")[0] if ":" in authority else authority.lower()


def is_loopback(authority: str) -> bool:
    """Whether a Host header is this machine's plain address."""
    return host_name(authority) in LOOPBACK_HOSTS
