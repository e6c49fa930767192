"""Tells systemd how we are: sd_notify(3), which is one datagram to the socket named in $NOTIFY_SOCKET."""

from __future__ import annotations

import socket
from collections.abc import Mapping


def notify(state: str, environ: Mapping[str, str]) -> bool:
    """Send a state such as `READY=1`; says whether there was somebody to tell.

    A manager that went away is no reason to stop: trouble on the socket is ignored, as sd_notify(3) advises.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):  # the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.connect(address)
            manager.sendall(state.encode())
    except OSError:
        return False
    return True
