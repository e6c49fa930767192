"""One log has one writer: an advisory lock on a file beside it, which names its holder.

`flock` belongs to the open file, so the kernel lets go when the process dies, however it dies; what the file says
is only for people and for commands that look for the service.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from gateway.errors import LogLocked, StoreUnavailable


class WriterLock:
    """Holds the lock from construction to `release`.

    Raises:
        LogLocked: another process holds it.
        StoreUnavailable: the folder cannot be written.
    """

    def __init__(self, log_path: Path) -> None:
        path = log_path.with_name(log_path.name + ".lock")
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreUnavailable(f"{path}: cannot be opened for writing ({error.strerror})") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = _pid(os.pread(self._fd, 32, 0))
            os.close(self._fd)
            raise LogLocked(str(log_path), pid) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next writer in. The file stays: removing it would race with a new holder."""
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1


def _pid(text: bytes) -> int | None:
    word = text.strip()
    return int(word) if word.isdigit() else None
