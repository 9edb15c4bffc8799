"""In a Python process, fal's hosts are the local gateway, whatever library connects.

A program may use one that reads no proxy variables. An app reads uploads at `https://v3.fal.media/…`, and the guards of
fal's toolkit, and of careful apps, first look the host up, refuse an address that is not public, and heed no proxy. So
the look-up of a host of fal's answers with a public address that is nobody's, and a connection to that address goes to
the gateway, whose certificate names the host.

Of the standard library alone: a program's own Python, which may be an older one, loads it from this file.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection
from typing import Any

# Of the block that answers stray DNS queries (RFC 7535): nobody has business there.
STAND_IN = "192.31.196.101"
FALS = re.compile(r"(.*\.)?(fal\.(run|ai|media)|falrun\.com)")


def lead_hosts(hosts: Collection[str], gateway_port: int, *, refuse_others: bool) -> None:
    """From now on, in this process, these hosts are the gateway's TLS port; fal's other hosts may be refused."""
    look_up, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex

    def led_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode("latin-1") if isinstance(host, bytes) else host
        if isinstance(name, str):
            name = name.lower().rstrip(".")
            if name in hosts:
                return look_up(STAND_IN, *arguments, **options)
            if refuse_others and FALS.fullmatch(name):
                reason = f"{name} is a host of fal's that localfal does not answer for; nothing was sent"
                raise socket.gaierror(socket.EAI_NONAME, reason)
        return look_up(host, *arguments, **options)

    def led(address: Any) -> Any:
        return ("127.0.0.1", gateway_port) if isinstance(address, tuple) and address[0] == STAND_IN else address

    socket.getaddrinfo = led_look_up
    socket.socket.connect = lambda self, address: connect(self, led(address))  # type: ignore[method-assign]
    socket.socket.connect_ex = lambda self, address: connect_ex(self, led(address))  # type: ignore[method-assign]
