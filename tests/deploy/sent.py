"""What a deploy sent, read back in the words of fal.toml."""

import io
import tarfile
from collections.abc import Callable
from typing import Any, TypeAlias

import httpx
import isolate_proto as proto
from google.protobuf.json_format import MessageToDict

Sent: TypeAlias = proto.RegisterApplicationRequest

# How each of fal.App's attributes reaches the controller.
ARRIVES: dict[str, Callable[[Sent], Any]] = {
    "app_name": lambda sent: sent.application_name,
    "app_auth": lambda sent: proto.ApplicationAuthMode.Name(sent.auth_mode).lower(),
    "machine_type": lambda sent: list(sent.machine_requirements.machine_types),
    "num_gpus": lambda sent: sent.machine_requirements.num_gpus,
    "regions": lambda sent: list(sent.machine_requirements.valid_regions),
    "keep_alive": lambda sent: sent.machine_requirements.keep_alive,
    "min_concurrency": lambda sent: sent.machine_requirements.min_concurrency,
    "max_concurrency": lambda sent: sent.machine_requirements.max_concurrency,
    "concurrency_buffer": lambda sent: sent.machine_requirements.concurrency_buffer,
    "scaling_delay": lambda sent: sent.machine_requirements.scaling_delay_seconds,
    "max_multiplexing": lambda sent: sent.machine_requirements.max_multiplexing,
    "request_timeout": lambda sent: sent.machine_requirements.request_timeout,
    "startup_timeout": lambda sent: sent.machine_requirements.startup_timeout,
    "termination_grace_period_seconds": lambda sent: sent.termination_grace_period_seconds,
    "secrets": lambda sent: list(sent.secrets.names),
    "data_mounts": lambda sent: list(sent.data_mounts),
}


def arrived(sent: Sent, settings: dict[str, Any]) -> dict[str, Any]:
    """The controller's view of an [app] table: its keys, with the values that arrived."""
    return {key: ARRIVES[key](sent) for key in settings}


def layers(sent: Sent) -> list[list[str]]:
    """The requirements, one list for each step of the installation."""
    (environment,) = sent.environments
    requirements: list[list[str]] = MessageToDict(environment.configuration)["requirements"]
    return requirements


def package_url(sent: Sent) -> str:
    """Where the project's own package was uploaded to."""
    (own,) = (line for layer in layers(sent) for line in layer if " @ " in line)
    name, _, url = own.partition(" @ ")
    assert name == "photomaker"
    return url


def package(sent: Sent, client: httpx.Client) -> dict[str, bytes]:
    """The files of the uploaded package, by their paths in the project."""
    response = client.get(package_url(sent))
    response.raise_for_status()
    files = {}
    with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
        for member in archive.getmembers():
            content = archive.extractfile(member)
            if content is not None:
                files[member.name.partition("/")[2]] = content.read()
    return files
