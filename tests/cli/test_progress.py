"""How far a long command is: said after two seconds, not before, and not too often."""

from __future__ import annotations

import pytest

from gateway.cli.progress import Progress
from tests.clocks import ManualClock


def _counted(progress: Progress, clock: ManualClock, times: int, every_s: float) -> None:
    with progress:
        for _ in range(times):
            clock.pass_s(every_s)
            progress.add(10)


def test_nothing_is_said_of_what_is_soon_over(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    _counted(Progress("event", 100, clock=clock, terminal=True), clock, 10, 0.19)
    assert capsys.readouterr().err == ""


def test_on_a_terminal_one_line_is_rewritten_and_then_cleared(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    _counted(Progress("event", 100, clock=clock, terminal=True), clock, 5, 1.0)
    lines = capsys.readouterr().err.split("\r")[1:]
    assert lines[0] == "[####----------------] 20 %, 20 of 100 events, 8 s left"
    assert len(lines) == 5
    assert lines[-1] == "", "nothing is left of it"


def test_where_nobody_watches_a_line_comes_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = ManualClock()
    _counted(Progress("event", clock=clock, terminal=False), clock, 300, 0.1)
    assert capsys.readouterr().err.splitlines() == ["200 events, 2 s", "1 200 events, 12 s", "2 200 events, 22 s"]
