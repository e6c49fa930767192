"""How far a long command is: a line on standard error, once it takes more than two seconds."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

import click

from gateway.cli import look
from gateway.clock import NS_PER_S, Clock, SystemClock

AFTER_S = 2.0
EVERY_S = 0.2
EVERY_PLAIN_S = 10.0
"""Where standard error is no terminal, each line stays: fewer of them."""

CLEAR = "\r\x1b[K"


class Progress:
    """Counts things done of a total, which may be unknown (0)."""

    def __init__(self, thing: str, total: int = 0, *, clock: Clock | None = None, terminal: bool | None = None) -> None:
        """`thing` is what is counted, in the singular."""
        self._thing, self.total, self.done = thing, total, 0
        self._clock = clock or SystemClock()
        self._terminal = sys.stderr.isatty() if terminal is None else terminal
        self._began_s = self._now_s()
        self._shown_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown_s is not None and self._terminal:
            click.echo(CLEAR, nl=False, err=True)

    @property
    def took_s(self) -> float:
        return self._now_s() - self._began_s

    def add(self, count: int) -> None:
        self.at(self.done + count)

    def at(self, done: int) -> None:
        """So many are done."""
        self.done = done
        now_s = self._now_s()
        every_s = EVERY_S if self._terminal else EVERY_PLAIN_S
        if now_s - self._began_s < AFTER_S or (self._shown_s is not None and now_s - self._shown_s < every_s):
            return
        self._shown_s = now_s
        if self._terminal:
            click.echo(CLEAR + self.line(), nl=False, err=True)
        else:
            click.echo(self.line(), err=True)

    def line(self) -> str:
        """`[######----] 60 %, 600 000 of 1 000 000 events, 4 s left`."""
        took_s = self.took_s
        if not self.total:
            return f"{look.counted(self.done, self._thing)}, {look.duration(took_s)}"
        done = min(self.done, self.total)
        left = f", {look.duration(took_s * (self.total - done) / done)} left" if done else ""
        counted = f"{look.count(done)} of {look.counted(self.total, self._thing)}"
        return f"{look.bar(done, self.total)} {100 * done // self.total} %, {counted}{left}"

    def _now_s(self) -> float:
        return self._clock.mono_ns() / NS_PER_S
