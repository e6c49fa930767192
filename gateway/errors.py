"""Every error that a caller may want to tell apart, drawn as a tree.

    GatewayError
    ├── ConfigError             the YAML is wrong; carries every problem at once
    ├── PluginError             a driver or sink cannot be loaded
    ├── DeviceError             a device did not answer, or answered nonsense; it may answer next time
    ├── LogError
    │   ├── LogLocked           another process writes this log
    │   ├── LogTooNew           written by a newer version of the gateway
    │   ├── LogCorrupt          the file is not a log, or a checksum does not match
    │   │   └── LogForeign      it holds nothing of ours, and is left alone
    │   ├── LogMoved            the log goes on elsewhere than the caller took for granted
    │   └── StoreUnavailable    the disk refuses; what was not committed is kept and tried again
    │       └── LogFull         the log is at its bound and set to refuse: these events will not fit later either
    ├── LinkError               a sink cannot be reached, or refuses us as a whole
    └── ControlError
        └── NotRunning          nobody listens on the control socket

Messages say where, what was found, what was expected and what to do. `exit_code` is what a command that fails with
the error returns: 2 for input that the user must change, 1 for the rest (as `grep`, `pytest` and `click` do).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class GatewayError(Exception):
    """Root of all errors that the gateway raises on purpose."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration file, and where.

    `line` and `column` count from 1, as editors do. `path` is the place in the document (`devices[1].pin`), `message`
    says what was found, what was expected and what to do.
    """

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where} {self.path}: {self.message}" if self.path else f"{where} {self.message}"


class ConfigError(GatewayError):
    """A configuration that cannot be used. `problems` holds all of them, in file order."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(GatewayError):
    """A driver or sink is not installed, does not import, or misses an optional package."""


class DeviceError(GatewayError):
    """A device did not answer, or not sensibly. Drivers raise it for what may be better next time."""


class LogError(GatewayError):
    """Something about the event log."""


class LogLocked(LogError):
    """Another process writes this log. `pid` is its process id, None where it could not be learnt."""

    def __init__(self, path: str, pid: int | None) -> None:
        self.path, self.pid = path, pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"{path} is written by {who}: one log has one writer. "
            f"Stop {who} first, or give this gateway a `buffer.path` of its own."
        )


class LogTooNew(LogError):
    """The log was written by a newer version of the gateway."""


class LogCorrupt(LogError):
    """The file is not an event log, or a checksum in it does not match."""


class LogForeign(LogCorrupt):
    """The file holds nothing of an event log: somebody else's, and left alone."""


class StoreUnavailable(LogError):
    """The disk refused a transaction: full, read-only, dying. The batch is kept by the caller and tried again.

    `full` says that there is no room for it, and that nothing else is wrong.
    """

    def __init__(self, reason: str, *, full: bool = False) -> None:
        self.full = full
        super().__init__(reason)


class LogFull(StoreUnavailable):
    """The log is at its byte bound, and `when_full: refuse` keeps what is in it: some of the events cannot be taken."""


class LogMoved(LogError):
    """The log goes on elsewhere than its caller took for granted: under a new run, or behind words of its own."""


class LinkError(GatewayError):
    """A sink cannot be reached, or refuses us as a whole.

    `retry_after_s` is a wait that the refusal itself asks for, None to use the usual back-off.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        self.reason, self.retry_after_s = reason, retry_after_s
        super().__init__(reason)


class ControlError(GatewayError):
    """The service answered a command with an error."""


class NotRunning(ControlError):
    """No service listens on the control socket."""


class StateUnfit(GatewayError):
    """A part's state that cannot be taken over: of another version, or damaged. It is folded anew instead."""
