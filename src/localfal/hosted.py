"""One app on the platform: its queue, its runners, and who hands the one to the others."""

from dataclasses import dataclass

from localfal.dispatch import Dispatcher
from localfal.fleet import Fleet
from localfal.queue import Queue
from localfal.queue_api import QueueApi


@dataclass(frozen=True)
class HostedApp:
    """An app under its id, `owner/alias`."""

    id: str
    queue: Queue
    queue_api: QueueApi
    dispatcher: Dispatcher
    fleet: Fleet

    @property
    def auth(self) -> str:
        """`private`, `shared` or `public`, as its class says."""
        return self.fleet.options.auth

    @property
    def start_timeout(self) -> float | None:
        """For how many seconds a call waits for a runner, unless its caller says so: who calls here owns the app."""
        return self.fleet.options.request_start_timeout
