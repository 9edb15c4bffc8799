"""A platform that hosts the app with every kind of field."""

import sys
from pathlib import Path
from typing import Any

import httpx

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "localfal"))

from serving import KEY, Served, eventually  # noqa: E402

FIELDS_APP = str(HERE / "fields_app.py") + "::Fields"
APP_ID = "demo/fields"


class Hosted(Served):
    """`localfal serve` of the app with every kind of field, with example files."""

    def __init__(self, state: Path, examples: Path, **apps: str) -> None:
        super().__init__(state, "--examples", str(examples), apps={APP_ID: FIELDS_APP, **apps})

    def ask(self, **body: Any) -> str:
        """Put a request into the queue; returns its id."""
        with httpx.Client(trust_env=False) as client:
            response = client.post(f"{self.origin}/queue/{APP_ID}", json={"prompt": "x", **body}, headers=KEY)
            response.raise_for_status()
            return str(response.json()["request_id"])

    def requests(self, **query: Any) -> dict[str, Any]:
        """What the platform lists of its requests."""
        with httpx.Client(trust_env=False) as client:
            url = f"{self.origin}/v1/models/requests/by-endpoint"
            response = client.get(url, params=query, headers=KEY)
            response.raise_for_status()
            return dict(response.json())

    def until_idle(self) -> None:
        """Return when nothing waits or runs."""
        eventually(lambda: all(item["ended_at"] for item in self.requests()["items"]))
