"""A thread that stands still while the others of its process go on: the shape of most hangs.

ptrace(2) stops one thread from outside, in the middle of whatever it does, so what is under test needs no hook for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

from tests.service import wait_until

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000
"""waitpid's __WALL: also threads, which wait() leaves out."""

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def stand_until_killed(tid: int, within_s: float) -> None:
    """Stop that thread, and wait until somebody has killed its process for it.

    A traced thread's end is told to who traces it first: nobody else hears of it before this has.
    """
    _ptrace(PTRACE_SEIZE, tid)
    _ptrace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, WALL)
    try:
        wait_until(lambda: _has_ended(tid), within_s, f"thread {tid} ends")
    finally:
        with contextlib.suppress(ProcessLookupError):  # as it should be: it has ended
            _ptrace(PTRACE_DETACH, tid)


def _has_ended(tid: int) -> bool:
    found, status = os.waitpid(tid, WALL | os.WNOHANG)
    return found == tid and not os.WIFSTOPPED(status)


def _ptrace(request: int, tid: int) -> None:
    if _libc.ptrace(request, tid, None, None) == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace request {request:#x} for thread {tid}: {os.strerror(number)}")


def writer_of(pid: int) -> int:
    """The thread besides the first that has written the most: the one that writes the log."""
    threads = [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir() if task.name != str(pid)]
    return max(threads, key=lambda tid: _written_bytes(pid, tid))


def _written_bytes(pid: int, tid: int) -> int:
    lines = Path(f"/proc/{pid}/task/{tid}/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])
