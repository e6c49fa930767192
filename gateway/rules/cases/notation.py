"""How a case is written: series of events, and what must be said. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from gateway.clock import NS_PER_S
from gateway.event import Quality, Value
from gateway.options import parse_duration_s
from gateway.rules.idle import DERIVED

EVENTS_MAX: Final = 100_000
"""Events of one series."""

BEGIN_NS: Final = 1_000 * NS_PER_S
"""Boot time at which every case begins: late enough that nothing is before the boot."""

KINDS: Final = tuple(kind.removeprefix("rule.") for kind in sorted(DERIVED))
LEVELS: Final = {"on": True, "open": True, "true": True, "off": False, "closed": False, "false": False}
NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_REPEATED: Final = re.compile(rf"({NUMBER}|[a-z]\w*)(?:([-+](?:\d+\.?\d*|\.\d+)))?x(\d{{1,6}})")
_EXPECTED: Final = re.compile(rf"(?:([a-z0-9][a-z0-9_-]*) )?({'|'.join(KINDS)})@(\S+)((?: [\w.]+=\S+)*)")


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
    if bare in LEVELS:
        return Sample(at_ns, LEVELS[bare], quality)
    return Sample(at_ns, float(bare) if re.fullmatch(NUMBER, bare) else bare, quality)


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


def seconds(ns: int) -> str:
    """`5.8s`."""
    return f"{ns / NS_PER_S:.9g}s"
