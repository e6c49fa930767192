"""Does the machine know whether its wall clock is synchronised? Asked in this order, the first answer counts:

    systemd-timesyncd   the file it touches at each synchronisation (systemd-timesyncd(8), "Files"); its folder is there
                        exactly while it runs
    chrony              its leap status, asked as `chronyc tracking` does: the socket in /run/chrony is for root and
                        chrony alone, but monitoring over loopback is open to everybody (chronyc(1), "Description")
    the kernel          STA_UNSYNC of adjtimex(2), which anybody may read, unless a sandbox forbids it

The kernel is believed when it says yes. A no is worth something only on bare metal without chrony: in containers and
virtual machines nobody clears the flag although the host keeps the clock right, and chrony clears it only with
`rtcsync` (its sys_timex.c). What remains is None: nobody knows, which is no reason to doubt the clock.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

Answer = bool | None

TIMESYNCD: Final = Path("/run/systemd/timesync")
CHRONY: Final = Path("/run/chrony")
CHRONY_PORT: Final = 323

_GUEST_MARKS: Final = ("run/systemd/container", "run/host/container-manager", "run/.containerenv", ".dockerenv")

# chrony's candm.h, protocol version 6, the same since 2009. A request is as long as its reply: no amplification.
_TRACKING: Final = struct.pack("!BBxxHHI92x", 6, 1, 33, 0, 1)
_REPLY: Final = struct.Struct("!BBxxHHH18x24xHH")  # version, type, command, reply, status .. stratum, leap status
_REPLY_TRACKING: Final = (6, 2, 33, 5, 0)
_LEAP_UNSYNCHRONISED: Final = 3
_FIRST_ANSWER_S: Final = 0.05

_TIMEX: Final = struct.Struct("@Illlli")  # modes, offset, freq, maxerror, esterror, status: adjtimex(2)
_TIMEX_BYTES: Final = 512  # the whole structure is 208 bytes on 64-bit machines, less on others
_STA_UNSYNC: Final = 0x0040


class Synchronisation:
    """Asks whoever keeps the clock of this machine. Every source can be replaced; call it at most once a second."""

    def __init__(
        self,
        timesyncd: Path | None = None,
        chrony: Path | None = None,
        *,
        chrony_port: int = CHRONY_PORT,
        kernel: Callable[[], Answer] | None = None,
        guest: bool | None = None,
    ) -> None:
        self._timesyncd, self._chrony = timesyncd or TIMESYNCD, chrony or CHRONY
        self._kernel = kernel or kernel_says
        self._tracking = Tracking(chrony_port)
        self._guest = is_guest() if guest is None else guest

    def __call__(self) -> Answer:
        """Whether the wall clock is synchronised; None where nobody can say."""
        if self._timesyncd.is_dir():
            return (self._timesyncd / "synchronized").exists()
        chrony = self._chrony.is_dir()
        if chrony and (tracked := self._tracking.ask()) is not None:
            return tracked
        kernel = self._kernel()
        return None if kernel is False and (chrony or self._guest) else kernel


class Tracking:
    """Asks chronyd for its leap status. Only the first question waits; later ones get the answer to the one before."""

    def __init__(self, port: int = CHRONY_PORT) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def ask(self) -> Answer:
        """None while chronyd does not answer."""
        try:
            if self._socket is None:
                return self._first()
            return self._exchange(self._socket)
        except OSError:  # not listening, or chronyd was stopped
            self.close()
            return None

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _first(self) -> Answer:
        import socket  # noqa: PLC0415 - most commands only ask what time it is, and need not pay for sockets

        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.connect(("127.0.0.1", self._port))
        self._socket.settimeout(_FIRST_ANSWER_S)
        self._socket.send(_TRACKING)
        answer = leap_says(self._socket.recv(512))
        self._socket.setblocking(False)
        self._socket.send(_TRACKING)
        return answer

    @staticmethod
    def _exchange(asked: socket.socket) -> Answer:
        answer = None
        with contextlib.suppress(BlockingIOError):
            for _ in range(8):
                answer = leap_says(asked.recv(512))
        asked.send(_TRACKING)
        return answer


def leap_says(reply: bytes) -> Answer:
    """What a reply to `tracking` says; None if it is none."""
    if len(reply) < _REPLY.size:
        return None
    *head, _stratum, leap = _REPLY.unpack_from(reply)
    return leap != _LEAP_UNSYNCHRONISED if tuple(head) == _REPLY_TRACKING else None


def kernel_says() -> Answer:
    """Whether the kernel's clock is synchronised; None where it may not be asked, or is no Linux."""
    import ctypes  # noqa: PLC0415 - as above: only the service asks

    buffer = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read only
    try:
        refused = ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0
    except (AttributeError, OSError):
        return None
    return None if refused else not _TIMEX.unpack_from(buffer)[-1] & _STA_UNSYNC


def is_guest(root: Path = Path("/")) -> bool:
    """Whether this is a container or a virtual machine, as far as one can see from inside without privileges."""
    if "container" in os.environ or any((root / mark).exists() for mark in _GUEST_MARKS):
        return True
    try:
        return b"hypervisor" in (root / "proc/cpuinfo").read_bytes()[:8192] or (root / "sys/hypervisor/type").exists()
    except OSError:
        return False
