"""How log records leave the gateway: lines for a person, for the journal, or JSON for a collector.

systemd's journal reads a level from `<3>` at the beginning of a line (sd-daemon(3)), and takes each line for a record
of its own, so every line of a stack trace carries it. A terminal gets the time instead, which the journal adds itself.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import IO, Any, Literal

import msgspec

from gateway.event import rfc3339

Style = Literal["text", "json"]
STYLES: tuple[Style, ...] = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
"""syslog(3): critical, error, warning, informational, debug."""


def configure(style: Style, level: str, environ: Mapping[str, str], stream: IO[str] | None = None) -> None:
    """Send records to `stream` (stderr). `level` is that of the gateway; of libraries only warnings are of interest."""
    stream = stream or sys.stderr
    shape: logging.Formatter = JsonLines() if style == "json" else TextLines(timed=not in_journal(environ, stream))
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Prioritized(shape) if in_journal(environ, stream) else shape)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("gateway").setLevel(level.upper())


def in_journal(environ: Mapping[str, str], stream: IO[str]) -> bool:
    """Whether the stream itself is the journal's: JOURNAL_STREAM also reaches children whose output goes elsewhere."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):  # no file behind it
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class TextLines(logging.Formatter):
    """`07:53:36 WARNING sink home: connection refused`; no time where the journal has its own."""

    def __init__(self, *, timed: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s" if timed else "%(message)s", "%H:%M:%S")


class JsonLines(logging.Formatter):
    """One JSON object a line: `time` (RFC 3339), `level`, `logger`, `message`, and `exception` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": rfc3339(round(record.created * 1e9)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


class Prioritized(logging.Formatter):
    """Another formatter's lines, each with its priority in front."""

    def __init__(self, shape: logging.Formatter) -> None:
        super().__init__()
        self._shape = shape

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{priority(record.levelno)}>"
        return "\n".join(prefix + line for line in self._shape.format(record).splitlines() or [""])


def priority(level: int) -> int:
    """The syslog priority of a level."""
    return next(number for least, number in _PRIORITIES if level >= least)
