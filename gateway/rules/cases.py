"""Cases for rules: what happens at which time, and what the rules must say. A virtual clock, no gateway. Pure.

A series is written as tokens, each a value and a time, or values at a steady pace:

    on@5s off@6.2s bad@8s                 values at times
    every 1m: 29 30.5 _ 31x2 20+0.5x3     one each minute: `_` is none, 31x2 is 31 31 31, 20+0.5x3 is 20 20.5 21 21.5

`on`, `off`, `open`, `closed`, `true` and `false` are levels (type `state`), numbers are readings, `bad` is a reading
without a value, any other word is an input. What must be said is written the same way, with what is to be compared
behind it:

    raised@5.8s since=5s                  `rule.raised` at 5.8 s
    cellar-1m window@1m n=2 avg=21        with the rule's id where a case has several rules

Nothing else may be said. Values that are times (`since`, `start`, ..) are durations from the beginning of the case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.clock import NS_PER_S
from gateway.event import Event, Quality, Value, rfc3339
from gateway.options import Duration, Identifier, Options, parse_duration_s
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.idle import DERIVED
from gateway.rules.model import RuleConfig

EVENTS_MAX: Final = 100_000
"""Events of one series."""

BEGIN_NS: Final = 1_000 * NS_PER_S
"""Boot time at which every case begins: late enough that nothing is before the boot."""

KINDS: Final = tuple(kind.removeprefix("rule.") for kind in sorted(DERIVED))
_LEVELS: Final = {"on": True, "open": True, "true": True, "off": False, "closed": False, "false": False}
_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_DURATION: Final = re.compile(r"-?(?:\d+(?:\.\d+)?(?:ms|[smhd]))+")
_REPEATED: Final = re.compile(rf"({_NUMBER}|[a-z]\w*)(?:([-+](?:\d+\.?\d*|\.\d+)))?x(\d{{1,6}})")
_EXPECTED: Final = re.compile(rf"(?:([a-z0-9][a-z0-9_-]*) )?({'|'.join(KINDS)})@(\S+)((?: [\w.]+=\S+)*)")
_TIMES: Final = frozenset({"since", "first", "last", "start", "end"})


class Sample(NamedTuple):
    """One event of a series: nanoseconds from the beginning of the case, and its value. Text is an input."""

    at_ns: int
    value: Value
    quality: Quality


class Expected(NamedTuple):
    """What must be said: of which rule (empty: of the only one), its kind, when, and what of its data."""

    rule: str
    kind: str
    at_ns: int
    data: Mapping[str, str]


def parse_ns(text: str) -> int:
    """`5.8s`, `1m30s`, or plain seconds.

    Raises:
        ValueError: neither.
    """
    sign, bare = (-1, text[1:]) if text.startswith("-") else (1, text)
    if re.fullmatch(r"\d+(\.\d+)?", bare):
        return sign * round(float(bare) * NS_PER_S)
    return sign * round(parse_duration_s(bare) * NS_PER_S)


def parse_series(text: str) -> list[Sample]:
    """The samples of a series, in its order.

    Raises:
        ValueError: says which token is not understood.
    """
    pace = re.fullmatch(r"every (\S+?)(?: from (\S+))?:(.*)", text.strip(), re.DOTALL)
    if pace is None:
        return [_timed(token) for token in text.split()]
    step, at = parse_ns(pace[1]), parse_ns(pace[2]) if pace[2] else 0
    samples = []
    for token in pace[3].split():
        for value in _repeated(token):
            if value != "_":
                samples.append(_sample(at, value))
            at += step
        if len(samples) > EVENTS_MAX:
            raise ValueError(f"more than {EVENTS_MAX} events")
    return samples


def _timed(token: str) -> Sample:
    value, separator, when = token.rpartition("@")
    if not separator or not value:
        raise ValueError(f"{token!r}: expected a value and a time such as 30.5@2m, or `every 1m: 30.5 31`")
    return _sample(parse_ns(when), value)


def _repeated(token: str) -> Iterator[str]:
    """`3x2` is 3 3 3, `1+2x2` is 1 3 5: the value, and so many more."""
    found = _REPEATED.fullmatch(token)
    if found is None:
        yield token
        return
    value, step, times = found[1], found[2], int(found[3])
    if times > EVENTS_MAX:
        raise ValueError(f"{token!r}: more than {EVENTS_MAX} events")
    for n in range(times + 1):
        yield value if step is None else f"{float(value) + n * float(step):.12g}"


def _sample(at_ns: int, text: str) -> Sample:
    if text == "bad":
        return Sample(at_ns, None, "bad")
    uncertain = text.endswith("?")
    bare = text.removesuffix("?")
    quality: Quality = "uncertain" if uncertain else "good"
    if bare in _LEVELS:
        return Sample(at_ns, _LEVELS[bare], quality)
    return Sample(at_ns, float(bare) if re.fullmatch(_NUMBER, bare) else bare, quality)


def parse_expected(text: str) -> Expected:
    """`raised@5.8s since=5s`, with the rule's id before it where there are several.

    Raises:
        ValueError: not of that form.
    """
    found = _EXPECTED.fullmatch(text.strip())
    if found is None:
        kinds = ", ".join(KINDS)
        raise ValueError(f"expected KIND@TIME such as raised@5.8s or RULE KIND@TIME name=value, KIND one of {kinds}")
    pairs = (pair.split("=", 1) for pair in found[4].split())
    return Expected(found[1] or "", found[2], parse_ns(found[3]), dict(pairs))


def _series(text: str) -> str:
    parse_series(text)
    return text


def _expected(text: str) -> str:
    parse_expected(text)
    return text


def _duration(text: str) -> str:
    parse_ns(text)
    return text


def _short(written: object) -> object:
    return {"values": written} if isinstance(written, str) else written


def _listed(written: object) -> object:
    return [written] if isinstance(written, str) else written


class Series(Options):
    """Events of one subject."""

    values: Annotated[str, Field(max_length=100_000), AfterValidator(_series)] = Field(description="the series")
    type: str | None = Field(None, description="type of the events; default: by their values")
    data: dict[str, Any] = Field({}, description="the events' data")


class Restart(Options):
    """The gateway stops, and starts again."""

    at_s: Duration = Field(alias="at", description="when it stops")
    gap_s: Duration | None = Field(None, alias="for", description="how long it is down; default: nobody knows")


class CaseConfig(Options):
    """One case."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="what is promised")
    rule: (
        Annotated[list[Identifier], BeforeValidator(_listed), WithJsonSchema({"type": ["string", "array"]})] | None
    ) = Field(None, description="id of the rule, or a list; default: all of the file")
    series: dict[str, Annotated[Series, BeforeValidator(_short)]] = Field(
        {}, description="subject -> its events, such as on@5s off@6.2s or every 1m: 29 30.5 31"
    )
    channels: list[str] = Field([], description="channels that are configured, for rules that wait for all of them")
    begins: str = Field("1970-01-01T00:00:00Z", description="what the wall clock says at 0 s")
    restarts: list[Restart] = Field([], max_length=16, description="stops and starts of the gateway")
    until: Annotated[str, AfterValidator(_duration)] | None = Field(
        None, description="how long is waited; default: until the last event or expectation"
    )
    expect: Annotated[
        list[Annotated[str, AfterValidator(_expected)]], BeforeValidator(_listed), WithJsonSchema({"type": "array"})
    ] = Field(description="everything that is said, such as raised@5.8s since=5s; [] for nothing")

    @model_validator(mode="after")
    def _begins_at_a_time(self) -> CaseConfig:
        try:
            wall_ns(self.begins)
        except ValueError:
            raise ValueError("`begins`: expected a time such as 2026-01-05T21:00:00Z") from None
        return self


class CasesConfig(Options):
    """A file of cases."""

    rules: str | None = Field(None, description="the file with the rules; default: given on the command line")
    cases: list[Any] = Field(description="the cases")


def wall_ns(text: str) -> int:
    """Nanoseconds UTC of an RFC 3339 time.

    Raises:
        ValueError: not one.
    """
    told = datetime.fromisoformat(text)
    return round((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()) * NS_PER_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a case came to. Both lists are texts in the notation of `expect`; they are equal where it holds."""

    name: str
    expected: tuple[str, ...]
    told: tuple[str, ...]
    events: int

    @property
    def holds(self) -> bool:
        return self.expected == self.told


def run_case(case: CaseConfig, rules: Sequence[RuleConfig]) -> Outcome:
    """Play the case. `rules` are those of the file; the case says which take part.

    Raises:
        ValueError: the case names a rule that is not there.
    """
    known = {rule.id: rule for rule in rules}
    if missing := [name for name in case.rule or () if name not in known]:
        raise ValueError(f"there is no rule {missing[0]!r}; rules are: {', '.join(known)}")
    chosen = [rule for rule in rules if case.rule is None or rule.id in case.rule]
    expected = [parse_expected(text) for text in case.expect]
    wall = wall_ns(case.begins)
    events = sorted(_events(case, wall), key=lambda event: event.mono)
    derived = _Stage(chosen, case, wall).play(events, _end(case, events, expected))
    many = len(chosen) > 1
    asked = [tuple(one.data) for one in expected] + [()] * len(derived)
    told = [_told(one, fields, wall, many=many) for one, fields in zip(derived, asked, strict=False)]
    return Outcome(case.name, tuple(_normal(one, many=many) for one in expected), tuple(told), len(events))


def _events(case: CaseConfig, wall: int) -> Iterator[Event]:
    for subject, series in case.series.items():
        for sample in parse_series(series.values):
            kind = series.type or _type_of(sample)
            mono = BEGIN_NS + sample.at_ns
            yield Event(
                kind, subject, wall + sample.at_ns, mono, sample.value, quality=sample.quality, data=series.data
            )


def _type_of(sample: Sample) -> str:
    if isinstance(sample.value, bool):
        return "state"
    return "input" if isinstance(sample.value, str) else "reading"


def _end(case: CaseConfig, events: Sequence[Event], expected: Sequence[Expected]) -> int:
    if case.until is not None:
        return BEGIN_NS + parse_ns(case.until)
    last = [event.mono for event in events[-1:]] + [BEGIN_NS + one.at_ns for one in expected]
    return max(last, default=BEGIN_NS)


class _Stage:
    """The parts that a case plays with: a detector, and a log that is a list."""

    def __init__(self, rules: Sequence[RuleConfig], case: CaseConfig, wall: int) -> None:
        self._rules, self._case, self._wall = rules, case, wall
        self._subjects = [(kind, channel) for channel in case.channels for kind in ("reading", "state")]
        self._records: list[Event] = []
        self._detector = Detector(Engine(rules, self._subjects))

    def play(self, events: Sequence[Event], end: int) -> list[Event]:
        restarts = sorted(self._case.restarts, key=lambda one: one.at_s)
        self._start(BEGIN_NS, None)
        for event in events:
            while restarts and event.mono >= BEGIN_NS + round(restarts[0].at_s * NS_PER_S):
                self._restart(restarts.pop(0))
            self._detect([event])
        for restart in restarts:
            self._restart(restart)
        self._records += self._detector.tick(end, self._next)
        return [record for record in self._records if record.type in DERIVED]

    @property
    def _next(self) -> int:
        return len(self._records) + 1

    def _start(self, mono: int, gap_ns: int | None) -> None:
        wall = self._wall + mono - BEGIN_NS
        self._detect([Event("gateway.started", "gateway", wall, mono, data={"gap_ns": gap_ns})])
        for one in self._detector.announcements():
            self._detect([Event(one.type, f"rule/{one.rule}", wall, mono, data=one.data)])

    def _restart(self, restart: Restart) -> None:
        at = BEGIN_NS + round(restart.at_s * NS_PER_S)
        self._records += self._detector.tick(at, self._next)
        self._detect([Event("gateway.stopped", "gateway", self._wall + at - BEGIN_NS, at)])
        checkpoint = self._detector.checkpoint()
        self._detector = Detector(Engine(self._rules, self._subjects))
        self._detector.restore(checkpoint)
        gap_ns = None if restart.gap_s is None else round(restart.gap_s * NS_PER_S)
        self._start(at + (gap_ns or 0), gap_ns)

    def _detect(self, events: list[Event]) -> None:
        self._records += self._detector.detect(events, self._next)


# -- how it is told ---------------------------------------------------------------------------------------------------


def _normal(expected: Expected, *, many: bool) -> str:
    who = f"{expected.rule} " if many else ""
    fields = "".join(f" {name}={_number(text, name)}" for name, text in expected.data.items())
    return f"{who}{expected.kind}@{seconds(expected.at_ns)}{fields}"


def _number(text: str, name: str) -> str:
    if name in _TIMES and _DURATION.fullmatch(text):
        return seconds(parse_ns(text))
    return _shown(_LEVELS.get(text, float(text) if re.fullmatch(_NUMBER, text) else text))


def _told(event: Event, asked: Sequence[str], wall: int, *, many: bool) -> str:
    who = f"{event.subject.removeprefix('rule/')} " if many else ""
    at_ns = event.time - wall
    fields = "".join(f" {name}={_field(event, name, wall)}" for name in asked)
    return f"{who}{event.type.removeprefix('rule.')}@{seconds(at_ns)}{fields}"


def _field(event: Event, name: str, wall: int) -> str:
    if name in {"value", "unit", "quality"}:
        return _shown(getattr(event, name))
    value = event.data.get(name)
    if name in _TIMES and isinstance(value, str) and (told := _time(value)) is not None:
        return seconds(told - wall)
    if isinstance(value, (list, dict)):
        return str(len(value))
    return _shown(value)


def _time(text: str) -> int | None:
    """Nanoseconds of a time that an operator tells, without the error of a float of seconds; None: no such time.

    `first` and `last` may as well be aggregates of a window.
    """
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    exact = round(told.replace(microsecond=0).timestamp()) * NS_PER_S + told.microsecond * 1000
    return exact if rfc3339(exact) == text else None


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (int, float)):
        return f"{value:.6g}"
    return "none" if value is None else str(value).replace(" ", "_")


def seconds(ns: int) -> str:
    """`5.8s`."""
    return f"{ns / NS_PER_S:.9g}s"
