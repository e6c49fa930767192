"""Rule time: what restarts, steps and skew do to it, and what they do not."""

from __future__ import annotations

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.rules.rule import rule_time_of
from tests.rules.kit import Log, ns, rule

HELD = rule("held", hold={"channel": "a/x", "above": 5, "for": "10s"})
YEARS = 20 * 366 * 86400


class Clocks(Log):
    """A log whose wall clock can be set."""

    def __init__(self, *configs) -> None:
        super().__init__(list(configs))
        self.ahead_s = 1_700_000_000
        self.open(ns(100), ns(100 + self.ahead_s))

    def read(self, at_s: float, value: float = 9, subject: str = "a/x") -> None:
        self.record([Event("reading", subject, ns(at_s + self.ahead_s), ns(at_s), value, quality="good")])

    def step(self, at_s: float, by_s: int) -> None:
        self.ahead_s += by_s
        self.record([Event("clock.step", "gateway", ns(at_s + self.ahead_s), ns(at_s))])

    def said(self) -> list[tuple[str, float, float]]:
        """(kind, boot time, wall time) of what was derived, in seconds; wall time from 1.7e9 s on."""
        return [
            (one.type.removeprefix("rule."), one.mono / NS_PER_S, one.time / NS_PER_S - 1_700_000_000)
            for one in self.records
            if one.type.startswith("rule.") and one.type != "rule.started"
        ]


def test_a_step_of_the_wall_clock_moves_no_duration():
    log = Clocks(HELD)
    log.read(101)
    log.step(103, 3600)
    log.tick(ns(112))
    assert log.said() == [("raised", 111.0, 3711.0)]


def test_a_clock_set_twenty_years_ahead_and_back_freezes_nothing():
    log = Clocks(HELD)
    log.step(101, YEARS)
    log.read(102)
    log.tick(ns(113))
    log.read(114, 1)
    log.step(115, -YEARS)
    log.read(116)
    log.tick(ns(127))
    assert log.said() == [("raised", 112.0, 112.0 + YEARS), ("cleared", 114.0, 114.0 + YEARS), ("raised", 126.0, 126.0)]
    assert log.reread().named == []


def test_a_gateway_that_starts_in_the_wrong_year_finds_back():
    log = Clocks(HELD)
    log.read(101)
    log.ahead_s += YEARS
    log.reread().finish()
    log.open(ns(5), ns(5 + log.ahead_s))
    log.step(7, -YEARS)
    log.read(8)
    log.tick(ns(30))
    assert [row[0] for row in log.said()] == ["raised"]
    assert log.said()[0][2] < 1_000


def test_windows_that_begin_after_a_step_align_to_the_new_time():
    log = Clocks(rule("w", window={"channel": "a/x", "tumbling": "1m", "of": {"n": "count"}}))
    log.step(101, 7)
    log.read(102)
    log.tick(ns(300))
    ((_, _, end),) = log.said()
    assert (end + 1_700_000_000) % 60 == 0


def test_skew_between_devices_drops_nothing():
    log = Clocks(rule("n", by="none", count={"channel": "*/x", "at_least": 3, "within": "1s"}))
    for at_s, subject in ((101.003, "a/x"), (101.000, "b/x"), (101.002, "c/x")):
        log.read(at_s, subject=subject)
    (matched,) = [one for one in log.records if one.type == "rule.matched"]
    assert rule_time_of(matched) == ns(101.003) + ns(1_700_000_000)
    assert log.detector.engine.late == 2, "judged at the newest rule time, and counted"


def test_downtime_of_the_same_boot_is_known_and_waited_out():
    log = Clocks(HELD)
    log.read(101)
    log.reread().finish()
    log.open(ns(200), ns(200 + log.ahead_s), gap_ns=ns(200) - log.records[-1].mono)
    log.tick(ns(205))
    assert log.said() == []
    log.tick(ns(211))
    assert log.said() == [("raised", 210.0, 210.0)]


def test_a_reboot_is_a_pause_of_unknown_length():
    log = Clocks(HELD)
    log.read(101)
    log.reread().finish()
    log.open(ns(3), ns(9_000 + log.ahead_s))
    log.tick(ns(12))
    assert log.said() == []
    log.tick(ns(14))
    assert log.said() == [("raised", 13.0, 9_010.0)]


def test_the_recorder_is_told_when_to_come_back():
    log = Clocks(HELD)
    assert log.detector.deadline_mono() is None
    log.read(101)
    assert log.detector.deadline_mono() == ns(111.01)
