"""A gateway's spine that is killed: run as a program, it says what rules derived with and without kills.

The log, its disk, the recorder and the rules are real. Inputs are a trace of numbered events, and time is the trace's:
the boot clock stands at the newest input that was offered, and at a start at the newest event in the log. So no time
passes while nobody runs, and what is derived must be the same however often that happens.

One process imports everything and then forks a *life* for each start. The life goes on with the input after the last
one that it finds in the log, until somebody kills it. A page of memory that both see tells where it was then.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from time import monotonic, sleep
from typing import Any
from unittest import mock

from gateway import folds, gathering
from gateway.clock import NS_PER_S
from gateway.detection import Detection
from gateway.event import Event
from gateway.eventlog import EventLog, store, writes
from gateway.folds import recover
from gateway.record import Recorder
from tests.rules.every_operator import CHANNELS, RULES

DAY_ONE_NS = 1_800_000_000 * NS_PER_S
BEGIN_NS = 1_000 * NS_PER_S
PENDING_MAX = 400
CHECKPOINT_EVENTS = 600
BATCH_EVENTS = 40
"""Smaller than what is often pending, so that a batch that rules have seen is cut into several commits."""

EARLY_SHARE = 0.2
"""Kills that come no later than a start takes."""

MOMENT_S = 0.005
"""How long after a random input a kill comes, at most: several commits."""

DOING = ("opening", "recovering", "detecting", "committing", "committing a checkpoint", "waiting")


class Clock:
    """Implements `gateway.clock.Clock`: stands where the trace stands."""

    boot_id = "one-boot"

    def __init__(self, mono_ns: int) -> None:
        self.now_ns = mono_ns

    def mono_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return DAY_ONE_NS + self.now_ns

    def synced(self) -> bool:
        return True


class Shared:
    """What a life tells whoever kills it: numbers in a page that survives it."""

    def __init__(self) -> None:
        self._page = memoryview(mmap.mmap(-1, mmap.PAGESIZE)).cast("q")

    def __getattr__(self, name: str) -> int:
        return self._page[_PLACES[name]]

    def __setattr__(self, name: str, value: int) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self._page[_PLACES[name]] = value

    @contextlib.contextmanager
    def now(self, doing: str) -> Iterator[None]:
        before, self.doing = self.doing, DOING.index(doing)
        yield
        self.doing = before


_PLACES = {name: place for place, name in enumerate(("doing", "committed", "recovered", "mismatches", "left"))}


def trace(count: int) -> list[Event]:
    """Numbered inputs of three channels, some milliseconds apart, with silences. Some are bad, some urgent."""
    random, at, listed = Random(7), BEGIN_NS, []
    for n in range(count):
        pauses = [1, 50, 300, 700, 4000 if n % 40 == 0 else 200]
        at += random.choice(pauses) * 1_000_000 + 1
        value = None if random.random() < 0.02 else float(random.randrange(10))
        quality: Any = "bad" if value is None else "uncertain" if random.random() < 0.05 else "good"
        subject, urgent = random.choice(CHANNELS), random.random() < 0.05
        wall = DAY_ONE_NS + at
        listed.append(Event("reading", subject, wall, at, value, None, quality, data={"n": n}, urgent=urgent))
    return listed


async def newest(log: EventLog) -> tuple[int, int]:
    """(number of the next input, boot time of the newest event)."""
    last = log.last_event
    at, end = log.next_offset, log.next_offset
    while at > log.first_offset:
        at = max(log.first_offset, end - 200)
        page = await log.read(at, end - at, as_told=True)
        for event in reversed(page.events):
            if "n" in event.data and event.type == "reading":
                assert last is not None
                return event.data["n"] + 1, last.mono
        end = at
    return 0, BEGIN_NS if last is None else last.mono


async def life(path: Path, inputs: Sequence[Event], shared: Shared, seed: int, *, lasting: bool) -> None:
    """Start, go on with the trace to its end, stop; a lasting one waits for its kill then."""
    clock = Clock(BEGIN_NS)
    with shared.now("opening"):
        log = await EventLog.open(path, clock)
        place, clock.now_ns = await newest(log)
    with shared.now("recovering"):
        detection = Detection(RULES, [])
        folded_from = await recover(log, {"rules": detection})
        last = log.last_event
        recorder = Recorder(
            log,
            clock,
            commit_within_s=0.002,
            protected=lambda: log.next_offset,
            folds={"rules": detection},
            folded_from=folded_from,
            detection=detection,
        )
        left = detection.recovered(log.end)
        recorder.resume(left)
    shared.mismatches, shared.left = shared.mismatches + detection.mismatches, shared.left + len(left)
    shared.recovered += 1
    recorder.watch(lambda events: tell_committed(shared, events))
    running = asyncio.create_task(recorder.run())
    gap_ns = None if last is None else clock.mono_ns() - last.mono
    recorder.note("gateway.started", {"version": "rig", "clean": False, "gap_ns": gap_ns})
    for told in detection.announcements():
        recorder.note(told.type, told.data, about=f"rule/{told.rule}")
    random = Random(seed)
    while place < len(inputs):
        chunk = inputs[place : place + random.randrange(1, 120)]
        place += len(chunk)
        clock.now_ns = chunk[-1].mono
        recorder.offer(chunk)
        await asyncio.sleep(0)
        if recorder.pending > PENDING_MAX or random.random() < 0.3:
            await recorder.flush()
    if lasting:
        await running
    await recorder.stop()
    await running
    await log.close()


def tell_committed(shared: Shared, events: Sequence[Event]) -> None:
    for event in events:
        if "n" in event.data and event.type == "reading":
            shared.committed = event.data["n"] + 1


@contextlib.contextmanager
def watched(shared: Shared) -> Iterator[None]:
    """Short batches and checkpoints, and `shared` knows what is being done."""
    transaction, detect = store.Store.transaction, Detection.detect

    async def written(self: Any, statements: Any) -> Any:
        marks = any(statement[0] == writes.INSERT_CHECKPOINT for statement in statements)
        with shared.now("committing a checkpoint" if marks else "committing"):
            return await transaction(self, statements)

    def detected(self: Any, *batch: Any) -> Any:
        with shared.now("detecting"):
            return detect(self, *batch)

    with (
        mock.patch.object(store.Store, "transaction", written),
        mock.patch.object(Detection, "detect", detected),
        mock.patch.object(gathering, "MAX_BATCH_EVENTS", BATCH_EVENTS),
        mock.patch.object(folds, "EVENTS_MAX", CHECKPOINT_EVENTS),
    ):
        yield


def begin(path: Path, inputs: Sequence[Event], shared: Shared, seed: int, *, lasting: bool = False) -> int:
    """Fork a life; returns its pid."""
    shared.doing = DOING.index("waiting")
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        with watched(shared):
            asyncio.run(life(path, inputs, shared, seed, lasting=lasting))
        status = 0
    except Exception:  # noqa: BLE001 - whatever it was, a life does not run on into the code of its parent
        traceback.print_exc()
    finally:
        os._exit(status)


def whole(path: Path, inputs: Sequence[Event], shared: Shared) -> None:
    """A life that nobody disturbs, to the end of the trace."""
    _, status = os.waitpid(begin(path, inputs, shared, 0), 0)
    if status:
        raise SystemExit(f"a life that nobody disturbed ended with {status}")


def killed(path: Path, inputs: Sequence[Event], shared: Shared, kills: int) -> Counter[str]:
    """Kill a life after another at random moments, then let one go on to the end. Returns in the midst of what."""
    random, hit, start_s = Random(20261123), Counter[str](), 0.02
    for kill in range(kills):
        began, recovered, seed = monotonic(), shared.recovered, random.randrange(1 << 30)
        pid = begin(path, inputs, shared, seed, lasting=True)
        if random.random() < EARLY_SHARE:
            sleep(random.uniform(0, 1.5 * start_s))
        else:
            wait_for(pid, lambda before=recovered: shared.recovered > before)
            start_s = 0.8 * start_s + 0.2 * (monotonic() - began)
            fair = (len(inputs) - shared.committed) / (kills - kill + 1)
            place = shared.committed + random.uniform(0, 1.8) * fair
            wait_for(pid, lambda to=place: shared.committed >= to)
            sleep(random.uniform(0, MOMENT_S))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        hit[DOING[shared.doing]] += 1
    whole(path, inputs, shared)
    return hit


def wait_for(pid: int, condition: Callable[[], bool]) -> None:
    """Wait for what a life is going to do. It fails the rig where that life ends before."""
    deadline = monotonic() + 60
    while not condition():
        if os.waitpid(pid, os.WNOHANG)[0] or monotonic() > deadline:
            raise SystemExit("a life ended or hung before it was killed")
        sleep(0.0005)


async def said(path: Path) -> tuple[list[Event], dict[str, Any]]:
    """All derived events of a log, and what each id stands for: an input's number, or a rulekey."""
    log = await EventLog.open(path, Clock(BEGIN_NS))
    derived, known, at, numbers = [], {}, log.first_offset, []
    while (page := await log.read(at, as_told=True)).events:
        for event in page.events:
            if "rulekey" in event.data:
                derived.append(event)
                known[event.id] = event.data["rulekey"]
            elif event.type == "reading":
                known[event.id] = event.data["n"]
                numbers.append(event.data["n"])
        at = page.next_offset
    await log.close()
    assert numbers == list(range(len(numbers))), "every input is in the log, once and in order"
    return derived, known


def content(event: Event, known: dict[str, Any]) -> str:
    """Everything that a derived event says; ids as what they stand for."""

    def ids(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: ids(one) for key, one in value.items()}
        return [known[one] for one in value]

    data = {key: ids(value) if key == "matched" else value for key, value in event.data.items()}
    cause = known[event.cause] if event.cause else None
    what = [event.type, event.subject, event.value, event.unit, event.quality, event.time, event.mono, cause, data]
    return json.dumps(what, sort_keys=True)


def compared(undisturbed: Path, disturbed: Path) -> dict[str, Any]:
    """How what was derived with kills differs from what was derived without."""
    (first, first_ids), (second, second_ids) = asyncio.run(said(undisturbed)), asyncio.run(said(disturbed))
    keys = Counter(event.data["rulekey"] for event in second)
    one = {content(event, first_ids) for event in first}
    other = {content(event, second_ids) for event in second}
    return {
        "derived": len(second),
        "rules": len({event.subject for event in second}),
        "doubled": [key for key, count in keys.items() if count > 1][:3],
        "missing": len(one - other),
        "unexpected": len(other - one),
        "examples": sorted(one ^ other)[:4],
    }


def main(folder: Path, count: int, kills: int) -> None:
    inputs, shared = trace(count), Shared()
    Detection(RULES, [])  # imports what lives need, once for all of them
    whole(folder / "undisturbed.db", inputs, shared)
    shared.committed = shared.recovered = shared.left = 0
    hit = killed(folder / "killed.db", inputs, shared, kills)
    figures = {
        "inputs": count,
        "kills": kills,
        "starts": shared.recovered,
        "hit": hit,
        "left": shared.left,
        "mismatches": shared.mismatches,
        **compared(folder / "undisturbed.db", folder / "killed.db"),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
