"""Two disks that can lose their power, and have nothing in common but the file system on them."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from random import Random

from tests.rigs import volatile

EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
DISK_BYTES = 64 * 2**20
CUT_WITHIN_WRITES = 8


class Disk(ABC):
    """An ext4, mounted at `path`."""

    def __init__(self, folder: Path) -> None:
        self.image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()
        with self.image.open("wb") as image:
            image.truncate(DISK_BYTES)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))

    @abstractmethod
    def mount(self) -> None: ...

    @abstractmethod
    def cut(self) -> str:
        """From some instant within this call on, nothing reaches the disk any more. Says what that did."""

    @abstractmethod
    def unmount(self) -> None:
        """After the machine's end; what is mounted next is what the cut has left."""

    def close(self) -> None:
        """Let go of everything, in whatever state it is."""
        _let_go(self.path)


class ShutDown(Disk):
    """ext4 is told to stop by an ioctl, without flushing its journal, as xfstests' godown does."""

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.path))

    def unmount(self) -> None:
        _run("umount", str(self.path))

    def cut(self) -> str:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)
        return ""


class Volatile(Disk):
    """A drive with a write cache: the cut comes between two writes, and tears those that no flush has followed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._drive = folder / "drive"
        self._drive.touch()
        self._random = Random(20261123)
        self._power: subprocess.Popen[str] | None = None

    def mount(self) -> None:
        command = [
            sys.executable,
            volatile.__file__,
            str(self.image),
            str(self._drive),
            str(self._random.getrandbits(32)),
        ]
        self._power = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._hear() == "ready"
        _run("mount", "-o", "loop", str(self._drive), str(self.path))

    def cut(self) -> str:
        assert self._power is not None
        assert self._power.stdin is not None
        print(self._random.randint(1, CUT_WITHIN_WRITES), file=self._power.stdin, flush=True)
        told = json.loads(self._hear())
        return f"{told['waiting']} writes were not flushed: {told['kept']} kept, {told['torn']} torn"

    def unmount(self) -> None:
        assert self._power is not None
        _run("umount", str(self.path))
        _run("umount", str(self._drive))
        self._power.communicate(timeout=10)
        self._power = None

    def close(self) -> None:
        super().close()
        _let_go(self._drive)
        if self._power is not None:
            self._power.communicate(timeout=10)

    def _hear(self) -> str:
        assert self._power is not None
        assert self._power.stdout is not None
        return self._power.stdout.readline().strip()


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{' '.join(words)} ended with {done.returncode}: {done.stderr}"


def _let_go(path: Path) -> None:
    subprocess.run(["umount", "--lazy", path], capture_output=True, check=False)
