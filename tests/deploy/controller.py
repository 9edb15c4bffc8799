"""fal's controller on loopback: takes what `fal deploy` sends over gRPC, remembers it, and starts a runner with it."""

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import isolate_proto as proto
from isolate.logs import Log, LogSource
from isolate.server.interface import to_grpc

KEY_ID, KEY_SECRET = "deployer", "secret"
UNBOUNDED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Controller(proto.IsolateControllerServicer):
    """What was sent is in `built` and `deployed`, newest last."""

    def __init__(
        self,
        build: Callable[[proto.BuildEnvironmentRequest], Any] | None = None,
        deploy: Callable[[proto.RegisterApplicationRequest], Any] | None = None,
    ) -> None:
        self._build = build
        self._deploy = deploy
        self._aliases: dict[str, proto.AliasInfo] = {}
        self.built: list[proto.BuildEnvironmentRequest] = []
        self.deployed: list[proto.RegisterApplicationRequest] = []

    def serve(self, certificate: Path) -> "Listening":
        """Listen on a free port, with TLS; `certificate` holds the certificate and its key."""
        pem = certificate.read_bytes()
        server = grpc.server(ThreadPoolExecutor(4), options=UNBOUNDED)
        proto.register_controller(self, server)
        port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pem, pem)]))
        server.start()
        return Listening(server, f"localhost:{port}")

    def ListAliases(self, request: proto.ListAliasesRequest, context: grpc.ServicerContext) -> proto.ListAliasesResult:  # noqa: N802
        require_key(context)
        return proto.ListAliasesResult(aliases=list(self._aliases.values()))

    def BuildEnvironment(  # noqa: N802
        self, request: proto.BuildEnvironmentRequest, context: grpc.ServicerContext
    ) -> Iterator[proto.BuildEnvironmentResult]:
        require_key(context)
        self.built.append(request)
        yield proto.BuildEnvironmentResult(logs=[line("building", LogSource.BUILDER)], status=status("IN_PROGRESS"))
        if self._build is not None:
            try:
                self._build(request)
            except Exception as error:
                context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"the environment could not be built: {error}")
        yield proto.BuildEnvironmentResult(env_id=f"environment-{len(self.built)}", status=status("SUCCESS"))

    def RegisterApplication(  # noqa: N802
        self, request: proto.RegisterApplicationRequest, context: grpc.ServicerContext
    ) -> Iterator[proto.RegisterApplicationResult]:
        require_key(context)
        self.deployed.append(request)
        name, revision = request.application_name, str(uuid.uuid4())
        self._aliases[name] = proto.AliasInfo(alias=name, revision=revision, auth_mode=request.auth_mode)
        if self._deploy is not None:
            self._deploy(request)
        yield proto.RegisterApplicationResult(logs=[line("registered", LogSource.USER)])
        address = f"https://fal.run/me/{name}"
        yield proto.RegisterApplicationResult(
            result=proto.RegisterApplicationResultType(application_id=revision),
            service_urls=proto.ServiceURLs(
                playground=f"https://fal.ai/models/me/{name}", run=address, queue=address, ws=address, log=address
            ),
        )


class Listening:
    """A controller's server and where it is."""

    def __init__(self, server: grpc.Server, host: str) -> None:
        self._server = server
        self.host = host

    def stop(self) -> None:
        stopped: threading.Event = self._server.stop(grace=None)
        stopped.wait()


def require_key(context: grpc.ServicerContext) -> None:
    """fal knows who deploys by the key's two halves."""
    sent = dict(context.invocation_metadata())
    if (sent.get("auth-key-id"), sent.get("auth-key")) != (KEY_ID, KEY_SECRET):
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "no user has this key")


def status(state: str) -> proto.HostedRunStatus:
    return proto.HostedRunStatus(state=proto.HostedRunStatus.State.Value(state))


def line(message: str, source: LogSource) -> Any:
    return to_grpc(Log(message, source=source))
