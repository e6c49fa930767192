"""A machine of its own: Debian, booted by systemd-nspawn, with the gateway installed as systemd/README.md says.

What takes long (Debian, the gateway's dependencies) is made once, in build/machine, and anew when the lock changes.
Each boot puts a layer in memory over it, so every run starts from the same machine and leaves nothing behind.
Dependencies are fetched by this machine's pip for the other one's Python, and installed there without a network.

Commands are run inside by nsenter(1): it needs neither a systemd on this machine nor a network between the two.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

from tests.demand import demand
from tests.service import wait_until

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "machine"
SUITE = "bookworm"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "python3-venv")
"""What a minimal Debian lacks and every real one has; then what systemd/README.md asks for."""

TOOLS = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "nsenter": "util-linux"}
BOOT_S = 30.0
UNWANTED_UNITS = ("console-getty.service", "systemd-firstboot.service")
"""The first hangs up whoever else writes to the console; the second asks what nobody is there to answer."""


def missing() -> str:
    """What keeps this machine from booting another, as a sentence; empty if nothing does."""
    packages = sorted(package for tool, package in TOOLS.items() if shutil.which(tool) is None)
    if packages:
        return f"needs a machine booted by systemd-nspawn: apt install {' '.join(packages)}"
    return "" if os.geteuid() == 0 else "needs root to boot a machine with systemd-nspawn"


class Machine:
    """A booted machine. `leader` is the pid, out here, of its systemd."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self.root = Path(f"/proc/{leader}/root")
        """Its files, as its processes see them."""

    def inside(self, *words: str) -> list[str]:
        """The command line, out here, that runs this one in there, as root and with a fresh environment."""
        enter = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "--"]
        return [*enter, "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8", *words]

    def run(self, *words: str, check: bool = True, within_s: float = 30.0) -> str:
        """What the command writes; fails with it, unless told otherwise."""
        done = subprocess.run(self.inside(*words), capture_output=True, text=True, timeout=within_s)
        said = done.stdout + done.stderr
        assert done.returncode == 0 or not check, f"{' '.join(words)} ended with {done.returncode}:\n{said}"
        return said

    def outer_pid(self, pid: int) -> int:
        """What a process of the machine is called out here."""
        ours = Path(f"/proc/{self.leader}/ns/pid").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # processes come and go
                names = re.search(r"^NSpid:\t(.*)$", (process / "status").read_text(), re.MULTILINE)
                if (process / "ns/pid").readlink() == ours and names and int(names[1].split()[-1]) == pid:
                    return int(process.name)
        raise AssertionError(f"the machine has no process {pid}")


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """A machine with the gateway of this checkout in /opt/gateway. It sees the checkout in /mnt/checkout."""
    demand(missing(), "REQUIRE_NSPAWN")
    prepared = _prepared()
    _wheel(folder)
    command = [
        "systemd-nspawn", "--quiet", "--boot", f"--directory={prepared}", "--volatile=overlay", "--register=no",
        "--keep-unit", "--private-network", "--console=pipe", f"--bind-ro={ROOT}:/mnt/checkout",
        f"--bind-ro={folder}:/mnt/rig",
    ]  # fmt: skip
    with (folder / "console").open("wb") as console:
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console)
    try:
        machine = wait_until(lambda: _running(nspawn.pid), BOOT_S, "the machine has booted")
        _install(machine)
        yield machine
    finally:
        nspawn.send_signal(signal.SIGTERM)  # asks its systemd for an orderly power-off
        with contextlib.suppress(subprocess.TimeoutExpired):
            nspawn.wait(20)
        nspawn.kill()
        nspawn.wait(10)


def _running(nspawn: int) -> Machine | None:
    """The machine, once its systemd has started everything. The first child of nspawn only prepares the second."""
    children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
    machine = Machine(int(children[0])) if len(children) == 1 else None
    up = machine is not None and machine.run("systemctl", "is-system-running", check=False).strip() == "running"
    return machine if up else None


def _prepared() -> Path:
    """The folder of the machine with everything but the gateway; made first where it is not there."""
    lock = (ROOT / "requirements.lock").read_bytes()
    key = hashlib.sha256(b"\0".join([lock, SUITE.encode(), *(p.encode() for p in PACKAGES), b"1"])).hexdigest()[:16]
    prepared = CACHE / key
    if not prepared.exists():
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        began, half_made = monotonic(), CACHE / "half-made"
        print(f"\n  making a Debian with the gateway's dependencies in {CACHE.relative_to(ROOT)} ...", flush=True)
        _make(half_made)
        half_made.rename(prepared)
        print(f"  made in {monotonic() - began:.0f} s", flush=True)
    return prepared


def _make(root: Path) -> None:
    _outside("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root))
    (root / "etc/machine-id").unlink(missing_ok=True)
    for unit in UNWANTED_UNITS:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    version = (root / "usr/bin/python3").readlink().name.removeprefix("python")
    lock, wheels = ROOT / "requirements.lock", CACHE / "wheels"
    _outside(
        sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", f"--requirement={lock}",
        f"--dest={wheels}", f"--python-version={version}", "--only-binary=:all:",
    )  # fmt: skip
    within = ["systemd-nspawn", "--quiet", "--pipe", "--register=no", "--keep-unit", "--private-network"]
    within += [f"--directory={root}", f"--bind-ro={wheels}:/mnt/wheels", f"--bind-ro={lock}:/mnt/requirements.lock"]
    _outside(*within, "python3", "-m", "venv", "/opt/gateway")
    _outside(
        *within, "/opt/gateway/bin/pip", "install", "--quiet", "--no-index", "--find-links=/mnt/wheels",
        "--require-hashes", "--requirement=/mnt/requirements.lock",
    )  # fmt: skip
    shutil.rmtree(wheels)


def _wheel(folder: Path) -> None:
    """Build the gateway of this checkout into the folder that the machine sees as /mnt/rig."""
    _outside(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))


def _install(machine: Machine) -> None:
    """As systemd/README.md says, but for the network."""
    wheel = machine.run("sh", "-c", "ls /mnt/rig/*.whl").strip()
    machine.run("/opt/gateway/bin/pip", "install", "--quiet", "--no-index", "--no-deps", wheel, within_s=120)
    sysusers = "/usr/lib/sysusers.d/gateway.conf"
    machine.run("install", "-D", "-m", "644", "/mnt/checkout/systemd/gateway.sysusers.conf", sysusers)
    machine.run("systemd-sysusers")
    machine.run("install", "-m", "644", "/mnt/checkout/systemd/gateway.service", "/etc/systemd/system/")
    machine.run("systemctl", "daemon-reload")


def _outside(*words: str) -> None:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words[:4])} ... ended with {done.returncode}:\n{done.stderr[-4000:]}"
