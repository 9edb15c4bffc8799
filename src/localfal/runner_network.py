"""Within a runner, fal's hosts are the local gateway, whatever library connects.

An app reads uploads at `https://v3.fal.media/…`. The guards of fal's toolkit, and of careful apps, first look the host
up, refuse an address that is not public, and heed no proxy. So the look-up of a host of fal's answers with a public
address that is nobody's, and a connection to that address goes to the gateway, whose certificate names the host.
"""

import socket
from typing import Any

from localfal.hosts import FAL_HOSTS

# Of the block that answers stray DNS queries (RFC 7535): no app has business there.
STAND_IN = "192.31.196.101"


def lead_hosts(gateway_port: int) -> None:
    """From now on, in this process, fal's hosts are the gateway's TLS port."""
    look_up, connect, connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex

    def led_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        name = host.decode("latin-1") if isinstance(host, bytes) else host
        known = isinstance(name, str) and name.lower().rstrip(".") in FAL_HOSTS
        return look_up(STAND_IN if known else host, *arguments, **options)

    def led(address: Any) -> Any:
        return ("127.0.0.1", gateway_port) if isinstance(address, tuple) and address[0] == STAND_IN else address

    socket.getaddrinfo = led_look_up
    socket.socket.connect = lambda self, address: connect(self, led(address))  # type: ignore[method-assign]
    socket.socket.connect_ex = lambda self, address: connect_ex(self, led(address))  # type: ignore[method-assign]
