"""Disks of a rig's own: an ext4 on a loop device that breaks and is repaired, and flushes that fail when told to."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SHIM = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A flush of a log's file fails while the file named by $FLUSHES_FAIL exists. */
static int fails(int fd) {
    char link[64], path[4096];
    const char *trigger = getenv("FLUSHES_FAIL");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0 || !trigger || access(trigger, F_OK)) return 0;
    path[n] = 0;
    if (!strstr(path, ".db")) return 0;
    errno = EIO;
    return 1;
}
#define REAL(name) ((int (*)(int))dlsym(RTLD_NEXT, name))(fd)
int fsync(int fd) { return fails(fd) ? -1 : REAL("fsync"); }
int fdatasync(int fd) { return fails(fd) ? -1 : REAL("fdatasync"); }
"""


class Flushes:
    """What makes the flushes of a process fail: `environ` for it, `fail` and `work`."""

    def __init__(self, folder):
        if shutil.which("gcc") is None:
            pytest.skip("needs gcc")
        source, self._library, self._trigger = folder / "shim.c", folder / "shim.so", folder / "flushes-fail"
        source.write_text(SHIM)
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", self._library, source, "-ldl"], check=True)
        self.environ = {"LD_PRELOAD": str(self._library), "FLUSHES_FAIL": str(self._trigger)}

    def fail(self):
        self._trigger.touch()

    def work(self):
        self._trigger.unlink()


class LoopDisk:
    """An ext4 in a file, mounted on `path`. Needs root. End it with `unmount`."""

    def __init__(self, folder, size_bytes=64 * 2**20):
        if os.geteuid() != 0:
            pytest.skip("needs root to mount a loop device")
        self._image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()
        with self._image.open("wb") as image:
            image.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", self._image], check=True)
        self._mount()

    def _mount(self):
        subprocess.run(["mount", "-o", "loop,errors=remount-ro", self._image, self.path], check=True)

    def fails(self):
        """What ext4 does when it meets an error of its own: from now on nothing can be written, and little says so."""
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        (device,) = [mount[0] for mount in mounts if mount[1] == str(self.path)]
        trigger = Path("/sys/fs/ext4") / Path(device).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("this kernel cannot be asked for an error of ext4")
        trigger.write_text("a rig asked for it")

    def is_replaced(self):
        """A person takes the card out, repairs a copy of it, and puts that in its place."""
        copy = self._image.with_name("copy.img")
        shutil.copy(self._image, copy)
        subprocess.run(["e2fsck", "-fy", copy], check=False, capture_output=True)
        self.unmount()
        self._image = copy
        self._mount()

    def unmount(self):
        subprocess.run(["umount", "-l", self.path], check=False, capture_output=True)
