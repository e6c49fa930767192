"""One log has one writer: an advisory lock on a file beside it, which names its holder.

`flock` belongs to the open file, so the kernel lets go when the process dies, however it dies; what the file says
is only for people and for commands that look for the service.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

from gateway.errors import LogLocked, StoreUnavailable

_ELSE: Final = "choose another `buffer.path`"
_ADVICE: Final = {
    errno.EROFS: f"`dmesg` says why the disk is read-only (often a card that fails); `mount -o remount,rw`, or {_ELSE}",
    errno.EACCES: f"let the user that the gateway runs as write there, or {_ELSE}",
}


class WriterLock:
    """Holds the lock from construction to `release`.

    Raises:
        LogLocked: another process holds it.
        StoreUnavailable: the folder cannot be written.
    """

    def __init__(self, log_path: Path) -> None:
        self._log_path, self._path = log_path, log_path.with_name(log_path.name + ".lock")
        self._fd = self._acquired()

    def _acquired(self) -> int:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreUnavailable(
                f"{self._path}: cannot be opened for writing ({error.strerror}): {_ADVICE.get(error.errno or 0, _ELSE)}"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = _pid(os.pread(fd, 32, 0))
            os.close(fd)
            raise LogLocked(str(self._log_path), pid) from None
        with contextlib.suppress(
            OSError
        ):  # what it says is only for people; a full disk must not keep us from starting
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        return fd

    def renew(self) -> None:
        """Hold the lock where the log is now: after a fault the path may lead to another card.

        Raises:
            LogLocked, StoreUnavailable: as at construction; the lock that was held stays.
        """
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._fd)):  # noqa: PTH116 - beside fstat
                return
        held, self._fd = self._fd, self._acquired()
        os.close(held)

    def probe(self) -> None:
        """Write and flush one block. A file system that went read-only shows in nothing else (OSError)."""
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        os.fdatasync(self._fd)

    def release(self) -> None:
        """Let the next writer in. The file stays: removing it would race with a new holder."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):  # a disk that takes no writes must not keep the gateway from stopping
                os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _pid(text: bytes) -> int | None:
    word = text.strip()
    return int(word) if word.isdigit() else None
