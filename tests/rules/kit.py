"""Rules, events and a log of their own for the tests: seconds in, seconds out."""

from __future__ import annotations

from typing import Any

from gateway.clock import NS_PER_S
from gateway.event import Event, stamp
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.fold import Fold
from gateway.rules.model import RuleConfig


def ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def rule(rule_id: str = "r", **parts: Any) -> RuleConfig:
    """A rule; operators may stand beside `by` and the rest: `rule(hold={..})`."""
    operators = {"event", "hold", "count", "window", "rate", "absent", "sequence"}
    when = {name: parts.pop(name) for name in list(parts) if name in operators}
    return RuleConfig.model_validate({"id": rule_id, "when": when, **parts})


def event(subject: str, value: Any, at_s: float, **more: Any) -> Event:
    kind = more.pop("type", "state" if isinstance(value, bool) else "reading")
    quality = more.pop("quality", "bad" if value is None else "good")
    return Event(kind, subject, ns(at_s), ns(at_s), value, quality=quality, **more)


def engine(*rules: RuleConfig, at_s: float = 0, subjects: Any = ()) -> Engine:
    made = Engine(rules, subjects)
    made.begin_all(ns(at_s))
    return made


def told(derived: list[Event]) -> list[tuple[str, float, Any]]:
    """(what, seconds, value) of derived events; `what` is the type without `rule.`."""
    return [(one.type.removeprefix("rule."), one.data_at, one.value) for one in map(_Told, derived)]


class _Told:
    def __init__(self, one: Event) -> None:
        self.type, self.value = one.type, one.value
        self.data_at = int(one.data["rulekey"].rsplit(":", 2)[1]) / NS_PER_S


def judged(
    rules: RuleConfig | list[RuleConfig], *series: tuple[Any, ...], until: float
) -> list[tuple[str, float, Any]]:
    """What follows from (subject, value, seconds) events, and from time until then."""
    made = engine(*([rules] if isinstance(rules, RuleConfig) else rules))
    derived = [one for s, v, t in sorted(series, key=lambda row: row[2]) for one in made.feed(event(s, v, t), ns(t))]
    return told(derived + made.advance(ns(until)))


class Log:
    """A recorder and its log, without a disk: every call is one commit."""

    def __init__(self, configs: list[RuleConfig], subjects: Any = ()) -> None:
        self.records: list[Event] = []
        self.configs, self.subjects = configs, subjects
        self.runs = 0
        self.detector = Detector(Engine(configs, subjects))

    @property
    def next_offset(self) -> int:
        return len(self.records) + 1

    @property
    def run(self) -> str:
        return f"run{self.runs}"

    def open(self, mono: int, wall: int, gap_ns: int | None = None) -> None:
        self.runs += 1
        self.detector.begin_run(self.run, self.next_offset)
        self.record([Event("gateway.started", "gateway", wall, mono, data={"gap_ns": gap_ns})])
        self.announce(mono, wall)

    def announce(self, mono: int, wall: int) -> None:
        self.record([
            Event(one.type, f"rule/{one.rule}", wall, mono, data=one.data) for one in self.detector.announcements()
        ])  # fmt: skip

    def record(self, events: list[Event]) -> None:
        self._append(self.detector.detect(events, self.next_offset))

    def tick(self, mono: int) -> None:
        self._append(self.detector.tick(mono, self.next_offset))

    def _append(self, batch: list[Event]) -> None:
        for offset, one in enumerate(batch, self.next_offset):
            assert one.offset in {0, offset}, "a derived event knows its offset"
            self.records.append(stamp(one, offset=offset, recorded=one.time, run=self.run, boot="b"))

    def reread(self, checkpoint: bytes | None = None, after: int = 0) -> Fold:
        """A fresh engine, fed the log; it takes the place of the one that ran."""
        self.detector = Detector(Engine(self.configs, self.subjects))
        if checkpoint is not None:
            self.detector.restore(checkpoint)
        fold = Fold(self.detector)
        fold.read_all(self.records[after:])
        return fold
