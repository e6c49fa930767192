"""Exactly once: kills at random moments change nothing of what is derived."""

from __future__ import annotations

from random import Random

import pytest

from gateway.event import Event, stamp
from gateway.rules.detect import Detector
from gateway.rules.engine import Engine
from gateway.rules.fold import Fold
from tests.rules.kit import event
from tests.rules.test_fold import RULES

CHECKPOINT_RECORDS = 400


def trace(count: int) -> list[Event]:
    """Inputs of three keys, some milliseconds apart, with silences."""
    random, at, listed = Random(7), 1_000.0, []
    for n in range(count):
        at += random.choice([0.001, 0.05, 0.3, 0.9, 4.0 if n % 40 == 0 else 0.2])
        subject = random.choice(["a/x", "b/x", "c/x"])
        value = random.random() < 0.5 if subject == "b/x" else float(random.randrange(9))
        listed.append(event(subject, value, at))
    return listed


class Committed:
    """A log in memory; what is in `records` survives, everything else is lost with the detector."""

    def __init__(self) -> None:
        self.records: list[Event] = []
        self.checkpoint: tuple[bytes, int] | None = None
        self.opened = 0

    def open(self) -> Detector:
        self.opened += 1
        detector = Detector(Engine(RULES))
        after = 0
        if self.checkpoint is not None:
            checkpoint, after = self.checkpoint
            detector.restore(checkpoint)
        fold = Fold(detector)
        fold.read_all(self.records[after:])
        assert fold.named == []
        left = fold.finish()
        detector.begin_run("run", len(self.records) + 1)
        self.append(left)
        return detector

    def append(self, batch: list[Event]) -> None:
        first = len(self.records) + 1
        self.records += [stamp(one, offset=n, recorded=0, run="run", boot="b") for n, one in enumerate(batch, first)]


def play(inputs: list[Event], kills: set[int], random: Random) -> Committed:
    """Feed the inputs in batches; after some of them the power goes, before, in the middle of, or behind the append."""
    log, place, batches = Committed(), 0, 0
    detector = log.open()
    began = Event("gateway.started", "gateway", inputs[0].time - 1, inputs[0].mono - 1)
    rules = [
        Event(one.type, f"rule/{one.rule}", began.time, began.mono, data=one.data) for one in detector.announcements()
    ]
    log.append(detector.detect([began, *rules], 1))
    while place < len(inputs):
        size = random.randrange(1, 40)
        batch = detector.detect(inputs[place : place + size], len(log.records) + 1)
        batches += 1
        if batches in kills:
            cut = random.choice([0, len(batch), random.randrange(len(batch) + 1)])
            while 0 < cut < len(batch) and batch[cut].type.startswith("rule.") and random.random() < 0.5:
                cut += 1
            log.append(batch[:cut])
            place += sum(not one.type.startswith("rule.") for one in batch[:cut])
            detector = log.open()
            continue
        log.append(batch)
        place += size
        if log.checkpoint is None or len(log.records) - log.checkpoint[1] > CHECKPOINT_RECORDS:
            log.checkpoint = detector.checkpoint(), len(log.records)
    return log


def said(log: Committed) -> list[tuple[object, ...]]:
    return [
        (one.type, one.value, one.quality, one.time, one.data)
        for one in log.records
        if one.type.startswith("rule.") and one.type != "rule.started"
    ]


@pytest.mark.parametrize(
    ("inputs", "kills"), [(4_000, 40), pytest.param(60_000, 200, marks=pytest.mark.rig)], ids=["short", "long"]
)
def test_kills_at_random_moments_change_nothing_of_what_is_derived(inputs, kills):
    fed = trace(inputs)
    undisturbed = play(fed, set(), Random(1))
    random = Random(2)
    killed = play(fed, set(random.sample(range(1, inputs // 20), kills)), random)
    assert killed.opened == kills + 1
    assert len(said(undisturbed)) > inputs // 20
    assert said(killed) == said(undisturbed)
