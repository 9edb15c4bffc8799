"""fal as a deploy meets it, put together on loopback: controller, storage, a certificate, and perhaps a runner."""

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import isolate_proto as proto

from .certificate import make_certificate
from .controller import KEY_ID, KEY_SECRET, Controller
from .rest import Rest
from .runner import Runner

RUNNER_KEEPS = ("HOME", "LANG", "TMPDIR")


@dataclass
class Cloud:
    """`start()`, then `stop()`; with `runs`, a deployed app is built and run on this machine."""

    folder: Path
    runs: bool = False
    runners: list[Runner] = field(default_factory=list)

    def start(self) -> None:
        certificate = make_certificate(self.folder)
        self.bundle = certificate.bundle
        self.rest = Rest(self.folder / "storage", certificate)
        self.rest.start()
        self.controller = Controller(self._build, self._deploy) if self.runs else Controller()
        self._listening = self.controller.serve(certificate.server)

    def stop(self) -> None:
        self.stop_runners()
        self._listening.stop()
        self.rest.stop()

    def stop_runners(self) -> None:
        while self.runners:
            self.runners.pop().stop()

    def _build(self, request: proto.BuildEnvironmentRequest) -> None:
        self._runner().build(request)

    def _deploy(self, request: proto.RegisterApplicationRequest) -> None:
        self.stop_runners()  # a new revision takes the old one's place
        runner = self._runner()
        runner.start(request)
        self.runners.append(runner)

    def _runner(self) -> Runner:
        kept = {name: os.environ[name] for name in RUNNER_KEEPS if name in os.environ}
        # The tiny networks are fastest on one thread, by far where other programs run as well.
        variables = {"PHOTOMAKER_ALLOW_HOSTS": self.rest.host, "OMP_NUM_THREADS": "1"}
        return Runner(self.folder, kept | self.secrets() | variables)

    def secrets(self) -> dict[str, str]:
        """The key, where it is valid, and whom to trust there."""
        return {
            "FAL_KEY": f"{KEY_ID}:{KEY_SECRET}",
            "FAL_REST_HOST": self.rest.host,
            "SSL_CERT_FILE": str(self.bundle),
            "HF_HUB_OFFLINE": "1",
        }

    def deployer(self) -> dict[str, str]:
        """The environment variables of somebody who deploys here, with no settings of their own."""
        nobody = self.folder / "nobody"
        return {
            **self.secrets(),
            "FAL_GRPC_HOST": self._listening.host,
            "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(self.bundle),
            "FAL_CONFIG_PATH": str(nobody / "config.toml"),
            "FAL_HOME_DIR": str(nobody),
            "FAL_DONT_OPEN_LINKS": "1",
            "NO_COLOR": "1",
        }

    def client(self) -> httpx.Client:
        """For this machine's https."""
        context = ssl.create_default_context(cafile=str(self.bundle))
        return httpx.Client(verify=context, trust_env=False, timeout=120)

    def upload(self, name: str, content: bytes) -> str:
        """A file put into the storage as fal's clients put it there; returns its URL."""
        with self.client() as client:
            start = client.post(
                f"{self.rest.origin}/storage/upload/initiate",
                json={"file_name": name, "content_type": "application/octet-stream"},
                headers={"authorization": f"Key {KEY_ID}:{KEY_SECRET}"},
            )
            start.raise_for_status()
            client.put(start.json()["upload_url"], content=content).raise_for_status()
            url: str = start.json()["file_url"]
            return url
