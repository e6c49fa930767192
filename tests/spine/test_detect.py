"""Rules see events before they are recorded: alarms do not wait, and what they name is what is in the log."""

import asyncio
import os
from functools import partial

import pytest

from gateway import gathering, outage
from gateway.clock import NS_PER_S
from gateway.detection import Detection
from gateway.errors import LogFull, StoreUnavailable
from gateway.event import Event
from gateway.eventlog import TELL_EVERY_S, Cursor, EventLog, LogEnd
from gateway.folds import recover
from gateway.record import Recorder
from tests.clocks import ManualClock
from tests.eventlog.disks import Disk, everything, reading
from tests.eventlog.test_log import Faulty
from tests.rules.kit import rule
from tests.spine.conftest import until

MB = 1_000_000
RULES = (
    rule("hot", hold={"channel": "air/t", "above": 30}),
    rule("hot-often", count={"rule": "hot", "type": "rule.raised", "at_least": 2, "within": "1h"}),
    rule("minute", window={"channel": "air/*", "tumbling": "1m", "of": {"n": "count"}}),
    rule("pair", sequence={"steps": [{"channel": "air/a"}, {"channel": "air/b"}], "within": "1h"}),
)


def named_by(event):
    """The ids that a derived event holds: its cause, and what it matched, in a list or by the names of steps."""
    matched = event.data.get("matched", ())
    listed = matched.values() if isinstance(matched, dict) else [matched]
    yield from (one for ids in listed for one in ([ids] if isinstance(ids, str) else ids))
    if event.cause:
        yield event.cause


class World:
    """A recorder with rules over a real log. Nothing is committed but what is urgent, or asked for."""

    def __init__(self, path, clock):
        self.path, self.clock = path, clock
        self.committed = []

    async def open(self, rules=RULES, **keep):
        clock = self.clock
        self.log = await EventLog.open(self.path, clock, **keep)
        self.detection = Detection(rules, ())
        folds = {"rules": self.detection}
        folded_from = await recover(self.log, folds)
        self.recorder = Recorder(
            self.log,
            clock,
            commit_within_s=3600,
            protected=lambda: self.log.next_offset,
            folds=folds,
            folded_from=folded_from,
            detection=self.detection,
        )
        self.recorder.resume(self.detection.recovered(self.log.end))
        self.recorder.watch(self.committed.extend)
        self.task = asyncio.create_task(self.recorder.run())
        self.recorder.note("gateway.started", {"gap_ns": 0})
        for one in self.detection.announcements():
            self.recorder.note(one.type, one.data, about=f"rule/{one.rule}")
        await self.recorder.flush()

    def offer(self, subject, value, **more):
        self.clock.pass_s(1)
        wall, mono = self.clock.wall_ns(), self.clock.mono_ns()
        self.recorder.offer([Event("reading", subject, wall, mono, value, quality="good", **more)])

    async def detected(self):
        """Wait until rules have seen everything."""
        await until(lambda: not self.recorder._gathering.waiting and not self.recorder._gathering._taken)

    async def close(self):
        await self.recorder.stop()
        await self.task
        await self.log.close()

    async def judged_again(self, rules=RULES):
        """What differs when a fresh engine reads the whole log; every id that is named has to be there."""
        events, _ = await everything(self.log)
        ids = {event.id for event in events}
        for event in events:
            named = set(named_by(event)) if event.type.startswith("rule.") else set()
            assert named <= ids, f"{event.type} of {event.subject} names what is not there"
        fresh = Detection(rules, ())
        fresh.fold(events)
        assert fresh.recovered(LogEnd("0" * 16, self.log.next_offset)) == []
        return fresh.mismatches


@pytest.fixture
async def world(tmp_path):
    world = World(tmp_path / "events.db", ManualClock())
    await world.open()
    yield world
    if not world.task.done():
        await world.close()


async def fill(world, *, urgent=False):
    """Offer readings until some more of them are refused."""
    before = world.recorder.dropped_total
    for _ in range(2000):
        many = [reading(subject=f"water/{os.urandom(40).hex()}", urgent=urgent) for _ in range(40)]
        world.recorder.offer(many)
        await world.recorder.flush()
        if world.recorder.dropped_total > before:
            return
    raise AssertionError("the log takes all there is")


def full_once(append):
    """The log's own append, but the first time it is full."""
    full = iter([True])

    async def appended(events, riders=None, *, at=None):
        if next(full, False):
            raise LogFull("full")
        return await append(events, riders, at=at)

    return appended


def said(world):
    return [(event.type, event.subject) for event in world.committed if event.type in {"rule.raised", "rule.matched"}]


async def test_an_alarm_does_not_wait_for_the_commit_of_the_reading_that_it_follows_from(world):
    world.offer("air/x", 1.0)
    world.offer("air/t", 29.0)
    await world.detected()
    assert world.committed[-1].type == "rule.started", "neither is worth a commit of its own"
    world.offer("air/t", 31.0)
    await until(lambda: said(world) == [("rule.raised", "rule/hot")])
    await world.recorder.flush()
    reading, alarm = world.committed[-2:]
    assert alarm.cause == reading.id
    assert {event.recorded for event in world.committed[-4:]} == {alarm.recorded}, "one commit, with all that waited"
    assert await world.judged_again() == 0


async def test_what_nobody_selects_wakes_nobody(world):
    world.offer("water/x", 1.0)
    assert not world.recorder._wake.is_set()
    world.offer("air/t", 1.0)
    assert world.recorder._wake.is_set(), "and what a rule selects does"


async def test_an_alarm_that_is_due_does_not_wait_either_and_a_window_does(world):
    await world.close()
    rules = (
        rule("long", hold={"channel": "air/t", "above": 30, "for": "10s"}),
        rule("ten", window={"channel": "air/t", "tumbling": "10s", "of": {"n": "count"}}),
    )
    await world.open(rules)
    world.committed.clear()
    world.offer("air/t", 31.0)
    await world.detected()
    world.clock.pass_s(10)
    world.recorder._wake.set()  # the loop's clock is not the gateway's here: its timer is
    await until(lambda: world.recorder.pending == 0)
    kinds = [event.type for event in world.committed if event.subject.startswith("rule/")]
    assert sorted(kinds) == ["rule.raised", "rule.window"]
    world.committed.clear()
    world.offer("air/t", 1.0)
    world.offer("air/t", 1.0)
    await world.recorder.flush()
    world.committed.clear()
    world.clock.pass_s(10)
    world.recorder._wake.set()
    await until(lambda: world.recorder.pending)
    assert world.committed == [], "a window tells of the past"
    await world.recorder.flush()
    assert [event.type for event in world.committed] == ["rule.window"]
    assert await world.judged_again(rules) == 0


@pytest.mark.parametrize("reached", [False, True], ids=["nothing reached the disk", "everything reached the disk"])
async def test_after_a_failed_flush_events_name_what_is_in_the_log(world, reached):
    world.offer("air/a", 1.0)
    await world.detected()
    world.log._head.store._writer = Faulty(world.log._head.store._writer, after=reached)
    world.offer("air/t", 31.0)
    world.offer("air/b", 1.0)
    await until(lambda: not world.recorder.pending and len(said(world)) == 2)
    world.offer("air/t", 1.0)
    world.offer("air/t", 31.0)
    await until(lambda: len(said(world)) == 4)
    assert said(world).count(("rule.matched", "rule/hot-often")) == 1
    assert await world.judged_again() == 0


async def test_while_events_are_held_in_memory_they_name_each_other_and_when_they_are_home(world, monkeypatch):
    monkeypatch.setattr(outage, "HOLD_AFTER_S", 0.02)
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.005)
    monkeypatch.setattr(outage, "RETRY_MAX_S", 0.02)
    disk = Disk(world.log, monkeypatch)
    world.offer("air/a", 1.0)
    await world.detected()
    disk.refuses = True
    world.offer("air/t", 31.0)
    await until(lambda: world.log.held)
    world.offer("air/t", 1.0)
    world.offer("air/b", 1.0)
    world.offer("air/t", 32.0)
    await until(lambda: len(said(world)) == 4)
    told = {event.id: event for event in world.committed}
    for event in world.committed:
        assert not event.cause or event.cause in told, "while they are held"
    disk.refuses = False
    await until(lambda: not world.log.held)
    world.offer("air/a", 1.0)
    world.offer("air/b", 1.0)
    await until(lambda: len(said(world)) == 5)
    await world.recorder.flush()
    assert {event.id for event in (await everything(world.log))[0]} == {event.id for event in world.committed}
    assert await world.judged_again() == 0


async def test_a_word_of_the_log_between_detection_and_commit_moves_no_name(world):
    """A purge tells its gap at once; what waits for its commit was made for another place."""
    world.offer("air/a", 1.0)
    await world.detected()
    await world.log.append([Event("reading", "air/y", 1, 1, 1.0)])
    world.offer("air/b", 1.0)
    await until(lambda: said(world) == [("rule.matched", "rule/pair")])
    await world.recorder.flush()
    assert await world.judged_again() == 0


async def test_what_a_full_log_refuses_was_never_seen_by_the_rules(tmp_path):
    world = World(tmp_path / "events.db", ManualClock())
    await world.open(size_bytes_max=MB, when_full="refuse")
    world.recorder.ride("far", Cursor(1), 10_000)
    await fill(world)
    for _ in range(4):
        world.offer("air/a", 1.0)
        world.offer("air/b", 1.0)
        await world.recorder.flush()
    assert not [event for event in world.committed if event.type == "rule.matched"], "their readings are not in the log"
    world.offer("air/a", 1.0, urgent=True)
    world.offer("air/b", 1.0, urgent=True)
    await until(lambda: ("rule.matched", "rule/pair") in said(world))
    await world.recorder.flush()
    assert await world.judged_again() == 0
    await world.close()


async def test_a_log_that_is_found_full_only_when_it_is_written_takes_back_what_rules_had_seen(world, monkeypatch):
    monkeypatch.setattr(world.log, "append", full_once(world.log.append))
    world.offer("air/a", 1.0)
    await world.detected()
    world.offer("air/b", 1.0)
    await world.recorder.flush()
    assert said(world) == [], "both readings were refused, so nothing follows from them"
    world.offer("air/b", 1.0)
    await world.recorder.flush()
    assert said(world) == [], "nor is one of them remembered"
    assert await world.judged_again() == 0


@pytest.mark.parametrize("trouble", ["moved", "full"])
async def test_as_long_as_the_log_cannot_be_read_again_nothing_is_recorded_that_names_what_is_not_there(
    world, monkeypatch, trouble
):
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.001)
    checkpoints, refusals = world.log.checkpoints, iter(range(3))

    async def unreadable():
        if next(refusals, None) is not None:
            raise StoreUnavailable("disk I/O error")
        return await checkpoints()

    monkeypatch.setattr(world.log, "checkpoints", unreadable)
    world.offer("air/a", 1.0)
    await world.detected()
    if trouble == "moved":
        world.log._head.store._writer = Faulty(world.log._head.store._writer, after=False)
    else:
        monkeypatch.setattr(world.log, "append", full_once(world.log.append))
    world.offer("air/t", 31.0, urgent=True)
    await until(lambda: world.committed[-1].type == "store.recovered")
    world.offer("air/b", 1.0)
    await world.recorder.flush()
    kinds = {"moved": ["rule.raised", "rule.matched"], "full": ["rule.raised"]}
    assert [kind for kind, _ in said(world)] == kinds[trouble]
    assert await world.judged_again() == 0


async def test_what_can_neither_be_appended_nor_detected_again_is_held_under_the_names_that_it_has(world, monkeypatch):
    monkeypatch.setattr(outage, "HOLD_AFTER_S", 0.02)
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.005)
    readable, checkpoints = asyncio.Event(), world.log.checkpoints

    async def unreadable():
        if not readable.is_set():
            raise StoreUnavailable("disk I/O error")
        return await checkpoints()

    monkeypatch.setattr(world.log, "checkpoints", unreadable)
    world.log._head.store._writer = Faulty(world.log._head.store._writer, after=False)
    world.offer("air/t", 31.0)
    await until(lambda: said(world))
    readable.set()
    world.offer("air/t", 1.0)
    world.offer("air/t", 31.0)
    await until(lambda: len(said(world)) == 3 and not world.log.held)
    await world.recorder.flush()
    assert await world.judged_again() == 0


@pytest.mark.parametrize("batch", [2, 100])
async def test_silence_is_not_said_of_events_that_still_wait_for_their_batch(tmp_path, monkeypatch, batch):
    """After a stall of the disk more may be pending than one batch takes; time has not come further than the first."""
    monkeypatch.setattr(gathering, "MAX_BATCH_EVENTS", batch)
    clock = ManualClock()
    log = await EventLog.open(tmp_path / "x.db", clock)
    detection = Detection([rule("quiet", absent={"channel": "a/x", "for": "3s"})], [])
    detection.recovered(log.end)
    recorder = Recorder(log, clock, commit_within_s=0.01, protected=lambda: log.next_offset, detection=detection)
    recorder.note("gateway.started", {"gap_ns": None})
    for told in detection.announcements():
        recorder.note(told.type, told.data, about=f"rule/{told.rule}")
    for _ in range(9):
        clock.pass_s(1)
        recorder.offer([Event("reading", "a/x", clock.wall_ns(), clock.mono_ns(), 1.0, None, "good")])
    clock.pass_s(4)
    running = asyncio.create_task(recorder.run())
    await recorder.flush()
    await recorder.stop()
    await running
    events, _ = await everything(log)
    await log.close()
    said = [event for event in events if event.subject == "rule/quiet" and event.type != "rule.started"]
    assert [(event.type, clock.mono_ns() - event.mono) for event in said] == [("rule.raised", NS_PER_S)]
    assert [event.type for event in events].count("reading") == 9
    assert said[0].data["gap_s"] == 3.0


async def test_what_comes_while_the_fate_of_a_batch_is_unknown_is_held_behind_it(world, monkeypatch):
    monkeypatch.setattr(outage, "HOLD_AFTER_S", 0.02)
    monkeypatch.setattr(outage, "RETRY_FIRST_S", 0.01)
    disk = Disk(world.log, monkeypatch)
    refuse = partial(setattr, disk, "refuses", True)
    world.log._head.store._writer = Faulty(world.log._head.store._writer, after=True, then=refuse)
    world.offer("air/t", 31.0)
    await until(lambda: disk.refuses)
    world.offer("air/a", 1.0)
    world.offer("air/b", 1.0)
    await until(lambda: len(said(world)) == 2)
    disk.refuses = False
    await until(lambda: not world.log.held)
    await world.recorder.flush()
    events, gaps = await everything(world.log)
    assert gaps == []
    assert [event.id for event in events] == [event.id for event in world.committed]
    assert [event.subject for event in events if event.type == "reading"] == ["air/t", "air/a", "air/b"]
    assert await world.judged_again() == 0


async def test_what_the_log_has_to_say_is_said_between_batches_also_when_nothing_else_happens(world, monkeypatch):
    monkeypatch.setattr("gateway.record.LOOK_EVERY_S", 0.001)
    await world.close()
    gap_rule = rule("gap", event={"type": "log.gap"})
    await world.open((*RULES, gap_rule), size_bytes_max=MB)
    world.recorder.ride("far", Cursor(1), 10_000)
    world.offer("air/a", 1.0)
    while world.log.events_trimmed_unread < 200:
        world.recorder.offer([reading(subject=f"water/{os.urandom(40).hex()}") for _ in range(40)])
        await world.recorder.flush()
    assert ("rule.matched", "rule/gap") in said(world), "the first is told at once, inside a batch"
    world.committed.clear()
    watching = asyncio.create_task(world.recorder.watch_clock())
    while not world.log._retention._loss:
        world.recorder.offer([reading(subject=f"water/{os.urandom(40).hex()}") for _ in range(40)])
        await world.recorder.flush()
    world.clock.pass_s(TELL_EVERY_S)
    await until(lambda: ("rule.matched", "rule/gap") in said(world))
    gap, matched = [event for event in world.committed if event.type in {"log.gap", "rule.matched"}][-2:]
    assert (gap.type, matched.cause) == ("log.gap", gap.id)
    await world.close()
    await watching


def test_a_rule_that_was_announced_a_moment_ago_is_stopped_too():
    """A reload may come before what the start, or the reload before it, announced is recorded."""
    detection = Detection(RULES[:2], [])
    assert [told.type for told in detection.announcements()] == ["rule.started"] * 2
    detection.configure(RULES[1:2], [])
    assert [(told.type, told.rule) for told in detection.announcements()] == [
        ("rule.stopped", "hot"),
        ("rule.started", "hot-often"),
    ]
    detection.configure([], [])
    assert [(told.type, told.rule) for told in detection.announcements()] == [("rule.stopped", "hot-often")]


async def test_what_is_due_while_the_log_is_full_for_urgent_events_too_is_said_when_there_is_room(tmp_path):
    world = World(tmp_path / "events.db", ManualClock())
    rules = (rule("long", hold={"channel": "air/t", "above": 30, "for": "10s"}),)
    await world.open(rules, size_bytes_max=MB, when_full="refuse")
    world.recorder.ride("far", Cursor(1), 10_000)
    world.offer("air/t", 31.0)
    await world.recorder.flush()
    await fill(world, urgent=True)
    world.clock.pass_s(10)
    await world.recorder._next_turn()
    await world.recorder._next_turn()
    assert said(world) == []
    assert world.recorder.trouble is None, "a full log is no broken disk"
    world.recorder.ride("far", Cursor(world.log.next_offset, 1), 10_000)
    await until(lambda: world.log.cursors["far"].next_offset > 1)
    world.offer("air/t", 31.0)
    await world.recorder.flush()
    assert said(world) == [("rule.raised", "rule/long")]
    await world.close()
    await world.open(rules)
    gaps = [event.data["subjects"] for event in world.committed if event.type == "log.gap"]
    assert gaps
    assert not any("rule/long" in subjects for subjects in gaps), "what rules say later is not lost"
    assert world.detection.mismatches == 0
    await world.close()
