"""Deleting what a request left: its input, its result, and the files that the result names."""

import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from localfal.errors import MethodNotAllowedError, NotFoundError
from localfal.hosted import HostedApp
from localfal.storage import Storage

DELETE_IO = re.compile(r"/requests/delete_io/(?P<id>[0-9a-fA-F-]{1,64})/?")
PAYLOADS = re.compile(r"/v1/models/requests/(?P<id>[0-9a-fA-F-]{1,64})/payloads/?")
FILE_URL = re.compile(r'https?://[^\s"\\/]+/files/(?P<id>[0-9a-f]{32})/[^\s"\\]+')


class Payloads:
    """Answers for the input and output of finished requests, of all apps."""

    def __init__(self, apps: Mapping[str, HostedApp], storage: Storage) -> None:
        self._apps = apps
        self._storage = storage

    def delete(self, request: Request, path: str) -> Response:
        """`PUT` (or `DELETE`) `rest.fal.ai/requests/delete_io/{id}`."""
        match = DELETE_IO.fullmatch(path)
        if match is None:
            raise NotFoundError("Not Found")
        if request.method not in ("PUT", "DELETE"):
            raise MethodNotAllowedError("PUT, DELETE")
        return JSONResponse({"CDN_DELETE_RESULTS": self.delete_all(match["id"])})

    def delete_v1(self, request: Request, request_id: str) -> Response:
        """`DELETE api.fal.ai/v1/models/requests/{id}/payloads`."""
        if request.method != "DELETE":
            raise MethodNotAllowedError("DELETE")
        return JSONResponse({"cdn_delete_results": self.delete_all(request_id)})

    def delete_all(self, request_id: str) -> list[dict[str, Any]]:
        """Delete a finished request's payloads, and say what became of each file of its result."""
        for app in self._apps.values():
            output = app.queue.delete_payloads(request_id)
            if output is not None:
                files = {match[0]: match["id"] for match in FILE_URL.finditer(output.decode(errors="replace"))}
                return [
                    {"link": link, "exception": None if self._storage.delete(file_id) else "No such file"}
                    for link, file_id in files.items()
                ]
        raise NotFoundError("Request not found")
