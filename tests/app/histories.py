"""Histories of a whole gateway in virtual time: starts, stops, kills, clocks, reloads, trims, a disk that refuses.

The gateway is the real one, over a real log on a real disk; its devices are played: what they would have read is
offered to the recorder. A history is a list of `Deed`s. Afterwards, and at each start, the log is judged: a fresh
engine that reads it derives what is recorded and nothing else, no event is said twice, and every id that a derived
event names is that of an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from unittest import mock

import msgspec

from gateway import folds, gathering, record
from gateway.app import Gateway
from gateway.clock import NS_PER_S
from gateway.config import Config, parse_config
from gateway.config.model import BufferConfig, KeepConfig
from gateway.detection import Detection
from gateway.errors import StoreUnavailable
from gateway.event import Event
from gateway.eventlog import Cursor, EventLog, LogEnd, opening, retention, store
from gateway.eventlog.words import WhenFull
from gateway.plugins import Plugins
from gateway.rules.model import RuleConfig
from tests.rules.every_operator import CHANNELS, RULES
from tests.rules.kit import rule
from tests.virtual import LoopClock, passes

CHECKPOINT_EVENTS: Final = 40
BATCH_EVENTS: Final = 7
"""Smaller than what is often pending, so that a batch that rules have seen is cut into several commits."""

EVENTS_MAX: Final = 150
SIZE_BYTES_MAX: Final = 90_000
COMMIT_WITHIN_S: Final = 0.5

CHANGED: Final = [
    rule("sums", version=2, window={"channel": "*/x", "tumbling": "3s", "of": {"avg": "avg"}}),
    rule("hot", hold={"channel": "*/x", "above": 5, "for": "1s"}),
    rule("new", count={"rule": "hot", "at_least": 2, "within": "30s"}),
    rule("started", event={"type": "gateway.started"}),
]
SETS: Final[list[list[RuleConfig]]] = [
    RULES,
    [*(one for one in RULES if one.id not in {"sums", "hot"}), *CHANGED],
    [one for one in RULES if one.id not in {"above", "twice", "once", "steep"}],
    [],
]


class Deed(NamedTuple):
    """`what` is the name of a method of `History`; the rest is what it takes."""

    what: str
    one: Any = None
    other: Any = None


class StepClock(LoopClock):
    """The loop's time; its wall clock may be set, and the machine started anew."""

    def __init__(self) -> None:
        super().__init__()
        self._since_boot_ns, self._ahead_ns, self._boots = 0, 0, 1
        self.is_synced = True

    @property
    def boot_id(self) -> str:  # type: ignore[override]
        return f"boot-{self._boots}"

    def mono_ns(self) -> int:
        return super().mono_ns() - self._since_boot_ns

    def wall_ns(self) -> int:
        return 1_800_000_000 * NS_PER_S + super().mono_ns() + self._ahead_ns

    def synced(self) -> bool:
        return self.is_synced

    def step_s(self, seconds: float) -> None:
        self._ahead_ns += round(seconds * NS_PER_S)

    def reboot(self) -> None:
        self._boots += 1
        self._since_boot_ns = super().mono_ns() - 5 * NS_PER_S


class Disk:
    """`refuses`: no transaction succeeds, and no file can be opened. `unsure`: they seem to fail, and do not."""

    def __init__(self) -> None:
        self.refuses = self.unsure = False
        self._transaction, self._open = store.Writer.transaction, opening.open_store

    @contextlib.contextmanager
    def everywhere(self) -> Iterator[None]:
        disk = self

        async def written(writer: Any, statements: Any) -> int:
            if not disk.refuses:
                return await disk._transaction(writer, statements)
            if disk.unsure:
                disk.unsure = False
                await disk._transaction(writer, statements)
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error

        async def opened(path: Path, **more: Any) -> Any:
            if disk.refuses:
                raise StoreUnavailable("disk I/O error (SQLITE_IOERR)")
            return await disk._open(path, **more)

        with mock.patch.object(store.Writer, "transaction", written), mock.patch.object(opening, "open_store", opened):
            yield


class History:
    """One log and the gateways that write it, one after another."""

    def __init__(self, folder: Path, when_full: WhenFull = "evict") -> None:
        self.clock, self.disk = StepClock(), Disk()
        keep = KeepConfig.model_construct(
            for_s=3600.0, size_bytes_max=SIZE_BYTES_MAX, events_max=EVENTS_MAX, when_full=when_full
        )
        bare = parse_config("gateway: {id: history}\ndevices: []\nsinks: []\n", str(folder / "h.yaml"), Plugins())
        buffer = BufferConfig.model_construct(
            path=folder / "history.db", keep=keep, commit_within_s=COMMIT_WITHIN_S, wear_bytes_per_day=None
        )
        self.config: Config = replace(bare, buffer=buffer, rules=tuple(RULES))
        self.gateway: Gateway
        self.seen: dict[str, Event] = {}
        """Every event that ever was in the log or held in memory."""
        self.stored: set[str] = set()
        """Ids of those that were in the log."""
        self.starts = 0
        self.trimmed = False
        self.random = Random(1)

    async def play(self, deeds: Sequence[Deed]) -> None:
        with (
            self.disk.everywhere(),
            mock.patch.object(gathering, "MAX_BATCH_EVENTS", BATCH_EVENTS),
            mock.patch.object(record, "MAX_BATCH_EVENTS", BATCH_EVENTS),
            mock.patch.object(record, "TRIM_EVERY_S", 20.0),
            mock.patch.object(folds, "EVENTS_MAX", CHECKPOINT_EVENTS),
            mock.patch.object(folds, "EVENTS_MIN", CHECKPOINT_EVENTS),
            mock.patch.object(retention, "TRIM_STEP", 0.05),
        ):
            await self.start()
            for what, one, other in deeds:
                given = [argument for argument in (one, other) if argument is not None]
                await getattr(self, what)(*given)
            await self.end()
            await self.judge()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        self.starts += 1
        self.gateway = Gateway(self.config, clock=self.clock, load=lambda: self.config, random=Random(1))
        await self.gateway.__aenter__()
        self.gateway.recorder.watch(self._see)
        assert self.gateway.detection.mismatches == 0, f"start {self.starts} reads something else than was recorded"
        await self._see_all()

    async def _see_all(self) -> None:
        """What was committed at the moment of a kill, too, before it may be trimmed."""
        log = self.gateway.log
        at = log.first_offset
        while (page := await log.read(at, as_told=True)).events:
            self._see(page.events)
            at = page.next_offset

    async def end(self) -> None:
        self.disk.refuses = False
        for _ in range(100):  # ten seconds: what was held in memory is appended
            if self.gateway.recorder.settled:
                break
            await passes(0.1)
        await self.gateway.__aexit__(None, None, None)

    def _see(self, events: Sequence[Event]) -> None:
        self.seen.update((event.id, event) for event in events)
        self.stored.update(event.id for event in events if event.durable)

    async def stop(self, seconds: float) -> None:
        await self.end()
        await passes(seconds)
        await self.start()

    async def kill(self, seconds: float) -> None:
        await self._die()
        await passes(seconds)
        await self.start()

    async def kill_before_the_commit(self, seconds: float) -> None:
        """What rules have seen by then is lost."""
        self.disk.refuses = True
        await self.events(8, 50)
        await passes(0.6)
        await self._die()
        self.disk.refuses = False
        await passes(seconds)
        await self.start()

    async def kill_between_commits(self, seconds: float, commits: int) -> None:
        """Of a batch that is longer than one append only the beginning is recorded."""
        self.random.shuffle(values := [9.0, 8.0, 0.0, 1.0, 9.0, 5.0] * 3)
        seen = asyncio.Event()
        left = [commits]

        def count(_: Sequence[Event]) -> None:
            left[0] -= 1
            if left[0] <= 0:
                self.disk.refuses = True
                seen.set()

        unwatch = self.gateway.recorder.watch(count)
        for value in values:
            self._offer(self.random.choice(CHANNELS), value)
        await asyncio.wait_for(seen.wait(), 60)
        unwatch()
        await self._die()
        self.disk.refuses = False
        await passes(seconds)
        await self.start()

    async def _die(self) -> None:
        """As far as one can inside a process: nobody says or writes another word."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        log = self.gateway.log
        await log._head.store.close()
        log._lock.release()

    async def reboot(self, clean: bool) -> None:
        await (self.end() if clean else self._die())
        await passes(3)
        self.clock.reboot()
        await self.start()

    # -- what happens -------------------------------------------------------------------------------------------------

    def _offer(self, subject: str, value: float | None, late_ms: int = 0, *, urgent: bool = False) -> None:
        wall, mono = self.clock.wall_ns() - late_ms * 1_000_000, self.clock.mono_ns() - late_ms * 1_000_000
        quality: Any = "bad" if value is None else "good"
        synced = self.clock.synced()
        one = Event("reading", subject, wall, mono, value, None, quality, synced=synced, urgent=urgent)
        self.gateway.recorder.offer([one])

    async def events(self, count: int, pause_ms: int) -> None:
        """Some readings; a few are bad, late by milliseconds or by more, or urgent."""
        random = self.random
        for _ in range(count):
            value = None if random.random() < 0.05 else float(random.randrange(10))
            late_ms = random.choice([0, 0, 0, 3, 40, 2_500])
            self._offer(random.choice(CHANNELS), value, late_ms, urgent=random.random() < 0.1)
            await passes(random.randrange(pause_ms + 1) / 1000)

    async def silence(self, seconds: float) -> None:
        await passes(seconds)

    async def step(self, seconds: float) -> None:
        self.clock.step_s(seconds)

    async def sync(self, synced: bool) -> None:
        self.clock.is_synced = synced

    async def reload(self, rules: int) -> None:
        self.config = replace(self.config, rules=tuple(SETS[rules]), hash=f"set-{rules}")
        await self.gateway.reloads.ask()

    async def acknowledge(self, part: float) -> None:
        """Somebody who is away now and then has read so much of the log. What he has not is protected, or counted."""
        recorder, log = self.gateway.recorder, self.gateway.log
        recorder.ride("far", Cursor(log.first_offset + int(part * (log.next_offset - log.first_offset)), None), 20)

    async def trim(self) -> None:
        self.gateway.recorder.trim_soon()
        await self.events(6, 500)

    async def refusal(self, seconds: float) -> None:
        """The disk refuses for so long."""
        await self._refusal(seconds)

    async def unsure_refusal(self, seconds: float) -> None:
        """The same, but the first transaction that it seems to refuse is on the disk."""
        self.disk.unsure = True
        await self._refusal(seconds)
        self.disk.unsure = False

    async def _refusal(self, seconds: float) -> None:
        self.disk.refuses = True
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            await self.events(3, 300)
        self.disk.refuses = False

    # -- judgement ----------------------------------------------------------------------------------------------------

    async def judge(self) -> None:
        """The log as it lies there: everything that was promised of it."""
        log = await EventLog.open(self.config.buffer.path, self.clock)
        checkpoints = [(mark.offset, msgspec.msgpack.decode(mark.state)["rules"]) for mark in await log.checkpoints()]
        events, at = [], log.first_offset
        while (page := await log.read(at, as_told=True)).events:
            events += page.events
            at = page.next_offset
        first = log.first_offset
        self.trimmed = first > 1
        await log.close()
        self._see(events)
        offsets = [event.offset for event in events]
        assert offsets == sorted(set(offsets))
        self.told_once()
        self.named(events)
        if first == 1:
            same(list(self.config.rules), None, events)
        for offset, state in checkpoints:
            if offset >= first:
                same(list(self.config.rules), state, [event for event in events if event.offset >= offset])

    def told_once(self) -> None:
        stored = [self.seen[one].data for one in self.stored]
        keys = Counter(data["rulekey"] for data in stored if "rulekey" in data)
        doubled = [key for key, count in keys.items() if count > 1]
        assert not doubled, doubled

    def named(self, events: Sequence[Event]) -> None:
        """Every id that a derived event names is that of an event before it."""
        for event in events:
            if "rulekey" in event.data:
                for one in (event.cause, *ids(event.data.get("matched"))):
                    assert not one or (one in self.seen and self.seen[one].offset < event.offset), (one, event)


def ids(matched: Any) -> Iterator[str]:
    if isinstance(matched, dict):
        for listed in matched.values():
            yield from listed
    else:
        yield from matched or ()


def same(rules: list[RuleConfig], state: bytes | None, events: Sequence[Event]) -> None:
    """A fresh engine that reads these derives what is recorded, and nothing else."""
    fresh = Detection(rules, [])
    fresh.restore(state)
    fresh.fold(events)
    reading = fresh._reading
    left = fresh.recovered(LogEnd("0" * 16, events[-1].offset + 1 if events else 1))
    wrong = (reading.named if reading is not None else [], left)
    assert wrong == ([], []), wrong


Make = Callable[[Random], Deed]

_MAKES: Final[list[tuple[int, Make]]] = [
    (8, lambda random: Deed("events", random.randrange(1, 30), random.choice([0, 40, 400, 1500]))),
    (3, lambda random: Deed("silence", random.choice([0.3, 2.0, 7.0, 40.0]))),
    (1, lambda random: Deed("stop", random.choice([0.0, 0.5, 9.0, 120.0]))),
    (2, lambda random: Deed("kill", random.choice([0.0, 0.5, 9.0, 120.0]))),
    (1, lambda random: Deed("kill_before_the_commit", random.choice([0.0, 2.0]))),
    (1, lambda random: Deed("kill_between_commits", random.choice([0.0, 2.0]), random.randrange(1, 4))),
    (1, lambda random: Deed("reboot", random.random() < 0.5)),
    (1, lambda random: Deed("step", random.choice([-3600.0, -2.0, 0.7, 5.0, 86400.0 * 400]))),
    (1, lambda random: Deed("sync", random.random() < 0.7)),
    (1, lambda random: Deed("reload", random.randrange(len(SETS)))),
    (1, lambda random: Deed("acknowledge", random.random())),
    (1, lambda _: Deed("trim")),
    (2, lambda random: Deed("refusal", random.choice([0.3, 0.9, 3.0, 20.0]))),
    (1, lambda random: Deed("unsure_refusal", random.choice([0.3, 0.9, 3.0]))),
]


def made(seed: int, length: int, *without: str) -> list[Deed]:
    """A history, without some kinds of deeds."""
    random = Random(seed)
    makes = [make for weight, make in _MAKES for _ in range(weight)]
    deeds = (random.choice(makes)(random) for _ in range(length))
    return [deed for deed in deeds if deed.what not in without]
