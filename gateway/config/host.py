"""What the machine gives to a configuration: its name, where state lies, and the names that follow from both."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOG_NAME = "events.db"
SIMULATED_SUFFIX = "-sim"
ID_CHARS_MAX = 64

_SHARED_NAMES = frozenset({"", "raspberrypi", "localhost"})
"""Host names that tell no machine from the next one."""
_MACHINE_ID = Path("/etc/machine-id")
_NOT_IN_IDS = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Host:
    """The machine as the configuration sees it. Tests make their own."""

    environ: Mapping[str, str]
    hostname: str
    machine_id: str

    @classmethod
    def here(cls) -> Host:
        try:
            machine_id = _MACHINE_ID.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            machine_id = ""
        return cls(os.environ, platform.node(), machine_id)

    def gateway_id(self) -> str:
        """The host's first name as an id; with six hex digits of the hashed machine id where half the world has it."""
        name = as_id(self.hostname.split(".")[0])
        if name not in _SHARED_NAMES:
            return name
        digest = hashlib.sha256(self.machine_id.encode()).hexdigest()[:6]
        return f"{name or 'gateway'}-{digest}"

    def machine(self) -> str:
        """A word that differs from machine to machine, and does not tell the machine id, which is confidential."""
        if not self.machine_id:
            return ""
        return hashlib.sha256(f"sensor-event-gateway log {self.machine_id}".encode()).hexdigest()[:16]

    def log_path(self) -> Path:
        """The state directory that systemd gives the service, else the one that its unit asks for."""
        given = self.environ.get("STATE_DIRECTORY", "").split(":")[0]  # systemd lists several with colons
        return Path(given or "/var/lib/gateway") / LOG_NAME

    def simulated_log_path(self, gateway_id: str) -> Path:
        """A log of the simulation's own, in the user's state directory (XDG Base Directory specification)."""
        given = self.environ.get("XDG_STATE_HOME", "")
        base = Path(given) if given.startswith("/") else self.home() / ".local/state"
        return base / "gateway" / gateway_id / LOG_NAME

    def home(self) -> Path:
        return Path(self.environ.get("HOME") or "/")

    def located(self, path: Path, file: str) -> Path:
        """A path of the YAML as an absolute one: `~/` is the home, relative ones begin beside the YAML file."""
        if path.parts[:1] == ("~",):
            path = self.home().joinpath(*path.parts[1:])
        return Path(os.path.abspath(Path(file).parent / path))  # noqa: PTH100 - resolve() would follow links


def as_id(text: str) -> str:
    """The nearest valid id; empty where nothing is left."""
    return _NOT_IN_IDS.sub("-", text.lower()).strip("-_")[:ID_CHARS_MAX]


def simulated_id(gateway_id: str) -> str:
    return gateway_id[: ID_CHARS_MAX - len(SIMULATED_SUFFIX)] + SIMULATED_SUFFIX
