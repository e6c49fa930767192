"""What was lost before it was read, counted until it is told: the body of a `log.gap`. Pure.

A log that stays full loses something with every step. To tell each step would fill it with the telling, so losses are
added up, durably, in the transaction that causes them, and told at most every 5 minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import reduce
from typing import Any

import msgspec

from gateway.event import Event, sequence

TELL_EVERY_S = 300.0
"""The first loss is told at once, what follows it at most this often."""

SUBJECTS_TOLD = 50
SUBJECTS_COUNTED = 200
"""More subjects than are told are counted, so that the 50 are most likely the right ones. Others go to the rest."""


class Loss(msgspec.Struct, frozen=True, array_like=True):
    """Events that are gone: how many of the offsets `first` to `last`, and about what.

    `told_before` of them were told by a `log.gap` that is gone itself.
    """

    first: int
    last: int
    count: int
    subjects: dict[str, int]
    simulated: bool
    told_before: int = 0

    def plus(self, other: Loss | None) -> Loss:
        if other is None:
            return self
        subjects = Counter(self.subjects)
        subjects.update(other.subjects)
        return Loss(
            min(self.first, other.first),
            max(self.last, other.last),
            self.count + other.count,
            dict(subjects.most_common(SUBJECTS_COUNTED)),
            self.simulated and other.simulated,
            self.told_before + other.told_before,
        )

    def told(self) -> dict[str, Any]:
        """`data` of a `log.gap`: the 50 subjects that lost most, and the rest in one number."""
        span = {"first": sequence(self.first), "last": sequence(self.last)}
        return {
            **span,
            **told(self.count, self.subjects),
            **({"told_before": self.told_before} if self.told_before else {}),
        }


def told(count: int, subjects: dict[str, int]) -> dict[str, Any]:
    """How many events were lost, by subject."""
    named = dict(Counter(subjects).most_common(SUBJECTS_TOLD))
    return {"count": count, "subjects": named, "rest": count - sum(named.values())}


def loss_of(events: Iterable[Event], first: int, last: int) -> Loss:
    """The loss of these events, which are what the log held of the offsets `first` to `last`.

    A `log.gap` among them takes its own tale along: whoever did not read it does not know of those losses either.
    """
    subjects: Counter[str] = Counter()
    count, simulated = 0, True
    tales = []
    for event in events:
        if event.type == "log.gap" and "first" in event.data:
            tales.append(_tale(event))
        subjects[event.subject] += event.stands_for
        count += event.stands_for
        simulated = simulated and event.simulated
    loss = Loss(first, last, count, dict(subjects.most_common(SUBJECTS_COUNTED)), simulated)
    return reduce(Loss.plus, tales, loss)


def unreadable(first: int, last: int) -> Loss:
    """The loss of a damaged batch, of which only its offsets are known."""
    return Loss(first, last, last - first + 1, {}, simulated=False)


def _tale(gap: Event) -> Loss:
    data = gap.data
    count = int(data["count"])
    return Loss(int(data["first"]), int(data["last"]), count, data["subjects"], gap.simulated, count)


encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Loss).decode
