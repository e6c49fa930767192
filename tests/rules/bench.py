"""What rules cost: `python -m tests.rules.bench`. CPU time of this thread, the best of some rounds, beside a bare loop.

The bare loop does the least that any such engine must: look at each event's subject and time. Machines differ and are
busy; how many times the bare loop an engine costs does not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.model import RuleConfig

EVENTS, ROUNDS, BATCH = 50_000, 5, 500
KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "event": lambda on: {"event": {"channel": on, "above": 99}},
    "hold": lambda on: {"hold": {"channel": on, "above": 95, "clear_below": 50, "for": "10s", "max_gap": "1h"}},
    "count": lambda on: {"count": {"channel": on, "above": 95, "at_least": 5, "within": "100ms"}},
    "window": lambda on: {"window": {"channel": on, "tumbling": "1m", "of": {"avg": "avg", "max": "max"}}},
    "rate": lambda on: {"rate": {"channel": on, "over": "200ms", "per": "1s", "above": 1e9}},
    "absent": lambda on: {"absent": {"channel": on, "for": "90s"}},
    "sequence": lambda on: {
        "sequence": {
            "steps": [{"as": "a", "channel": on, "above": 98}, {"as": "b", "channel": on, "below": 1}],
            "within": "1s",
        }
    },
}  # fmt: skip


class Load(NamedTuple):
    """Rules, and events for them."""

    name: str
    rules: list[RuleConfig]
    events: list[Event]


def rules(channels: Sequence[str]) -> list[RuleConfig]:
    """One rule for each channel, the operators taking turns."""
    kinds = list(KINDS.values())
    return [
        RuleConfig.model_validate({"id": f"r{n}", "when": kinds[n % len(kinds)](channel)})
        for n, channel in enumerate(channels)
    ]


def events(subjects: Sequence[str], count: int = EVENTS) -> list[Event]:
    """Readings of 0 to 100, one each millisecond."""
    step_ns = NS_PER_S // 1000
    return [
        Event("reading", subjects[n % len(subjects)], at, at, float(n * 37 % 101), "Cel", "good")
        for n, at in enumerate(range(NS_PER_S, NS_PER_S + count * step_ns, step_ns))
    ]


def loads() -> list[Load]:
    twenty, others = [f"d{n}/x" for n in range(20)], [f"u{n}/x" for n in range(380)]
    mixed = [subject for n in range(20) for subject in (*others[n * 19 : n * 19 + 19], twenty[n])]
    return [
        *(Load(kind, rules_of(kind), events(["a/x"])) for kind in KINDS),
        Load("unselected", rules(["a/x"] * 20), events(["b/x"])),
        Load("20 rules, jointly 5 %", rules(twenty), events(mixed)),
        Load("20 rules, 5 % each", rules(twenty), events(twenty)),
        Load("20 rules, all of all", rules(["a/x"] * 20), events(["a/x"], EVENTS // 5)),
    ]


def rules_of(kind: str) -> list[RuleConfig]:
    return [RuleConfig.model_validate({"id": "r", "when": KINDS[kind]("a/x")})]


def detector(configs: Sequence[RuleConfig], first: Event) -> Detector:
    made = Detector(Engine(configs))
    made.begin_run("bench", 1)
    told = [Event("gateway.started", "gateway", first.time - 1, first.mono - 1)]
    told += [
        Event(one.type, f"rule/{one.rule}", told[0].time, told[0].mono, data=one.data) for one in made.announcements()
    ]
    made.detect(told, 1)
    return made


def cost_ns(load: Load) -> float:
    """CPU nanoseconds for one event, in batches as the recorder takes them."""
    made = detector(load.rules, load.events[0])
    batches = [load.events[n : n + BATCH] for n in range(0, len(load.events), BATCH)]
    offset = 100 + len(made.detect(batches[0], 100))  # every subject was seen once: patterns are matched only then
    began_ns = time.thread_time_ns()
    for batch in batches[1:]:
        offset += len(made.detect(batch, offset))
    return (time.thread_time_ns() - began_ns) / (len(load.events) - BATCH)


def bare_ns() -> float:
    """CPU nanoseconds of the bare loop for one event."""
    listed = events(["a/x", "b/x"])
    known: dict[str, list[int]] = {"a/x": []}
    began_ns, seen = time.thread_time_ns(), list[Event]()
    for event in listed:
        if known.get(event.subject) is not None and event.mono > 0:
            seen.append(event)
    return (time.thread_time_ns() - began_ns) / len(listed)


def measure(rounds: int = ROUNDS) -> tuple[float, dict[str, float]]:
    """The bare loop, and each load, in ns for one event: the best of the rounds."""
    all_loads = loads()
    bare, best = float("inf"), {load.name: float("inf") for load in all_loads}
    for _ in range(rounds):
        bare = min(bare, bare_ns())
        for load in all_loads:
            best[load.name] = min(best[load.name], cost_ns(load))
    return bare, best


def report(bare: float, best: dict[str, float]) -> str:
    lines = [f"{'':24}{'ns/event':>9}{'events/s':>12}{'x bare':>8}"]
    lines += [
        f"{name:24}{ns:9.0f}{1e9 / ns:12,.0f}{ns / bare:8.1f}" for name, ns in {"bare loop": bare, **best}.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(*measure()))  # noqa: T201 - this is a command
