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
MEDIA = "https://v3.fal.media"
