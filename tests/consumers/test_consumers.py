"""What named consumers promise, over a real log."""

import asyncio
import sqlite3

import pytest

from gateway.consumers import ConsumerError, SessionTaken, TooManyConsumers
from gateway.consumers.register import CONSUMERS_MAX, GRACE_S
from gateway.errors import StoreUnavailable
from gateway.event import Event
from gateway.eventlog import ConsumerSpec
from gateway.position import parse_position
from tests.consumers.conftest import World, reading
from tests.spine.conftest import until

EACH = ConsumerSpec(ack="each", backoff_s=(1.0, 5.0), deliveries_max=3)
DAY_S = 86400.0


class Reader:
    """One program that reads as a named consumer."""

    def __init__(self, world, name):
        self.world, self.name = world, name

    async def begin(self, start="earliest", spec=None):
        self.begun = await self.world.consumers.begin(self.name, parse_position(start), spec)
        return self

    async def fetch(self, limit=100, wait_s=0.0):
        self.fetched = await self.world.consumers.fetch(self.name, self.begun.session, limit, wait_s)
        return [handed.event.offset for handed in self.fetched.events]

    def ack(self, offset):
        return self.world.consumers.ack(self.name, self.begun.session, offset)

    def nak(self, offset, wait_s=None):
        return self.world.consumers.nak(self.name, self.begun.session, offset, wait_s)

    async def reject(self, offset, reason="no use"):
        return await self.world.consumers.reject(self.name, self.begun.session, offset, reason)


@pytest.fixture
def mine(world):
    return Reader(world, "mine")


async def reopened(world, *, crash=False):
    await (world.crash() if crash else world.stop())
    return await world.open()


# -- where it begins
# ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "offsets"),
    [("earliest", [1, 2, 3, 4, 5]), ("latest", []), ("offset:4", [4, 5]), ("3", [3, 4, 5]), ("offset:9", [])],
)
async def test_it_begins_where_it_is_told(world, mine, start, offsets):
    await world.fill(5)
    await mine.begin(start)
    assert await mine.fetch() == offsets


async def test_it_begins_at_a_time(world, mine, clock):
    for _ in range(5):
        await world.fill(1)
        clock.pass_s(60)
    at = (await world.log.read(3, 1)).events[0].recorded
    await mine.begin(f"time:{_rfc3339(at)}")
    assert await mine.fetch() == [3, 4, 5]


async def test_it_begins_with_the_last_value_of_each_subject_and_then_follows(world, mine):
    await world.append(reading(1.0, "a/x"), reading(2.0, "b/x"), reading(3.0, "a/x"), Event("input", "c/key", 1, 1))
    await world.append(reading(None, "b/y"), reading(4.0, "a/x"), reading("up", "door/contact", "state"))
    await mine.begin("last")
    assert await mine.fetch() == [2, 5, 6, 7]
    assert mine.ack(7) == 4
    await world.fill(1)
    assert await mine.fetch() == [8]


async def test_the_last_values_are_found_behind_much_else_and_no_further_than_needed(world, mine, monkeypatch):
    monkeypatch.setattr("gateway.consumers.last.LAST_STEP_EVENTS", 10)
    await world.fill(3, subject="slow/x")
    for _ in range(10):
        await world.fill(10, subject="fast/x")
    await Reader(world, "all").begin("last")
    assert await Reader(world, "all").begin("last")
    mine_all = Reader(world, "all")
    await mine_all.begin()
    assert await mine_all.fetch() == [3, 103]
    world.subjects = ["fast/x"]
    read = []
    original = world.log.read

    async def counted(offset, *args, **more):
        read.append(offset)
        return await original(offset, *args, **more)

    monkeypatch.setattr(world.log, "read", counted)
    await mine.begin("last")
    assert len(read) == 1, "everything that is known to have a value was found in the first step"


async def test_a_consumer_that_exists_goes_on_where_it_was_whatever_start_says(world, mine):
    await world.fill(5)
    await mine.begin("earliest")
    await mine.fetch(2)
    mine.ack(2)
    await mine.begin("latest")
    assert not mine.begun.created
    assert mine.begun.next_offset == 3
    assert await mine.fetch() == [3, 4, 5]


# -- what it gets
# -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "offsets"),
    [
        (ConsumerSpec(types=("state",)), [3]),
        (ConsumerSpec(types=("device.*", "input")), [4, 5]),
        (ConsumerSpec(subjects=("air/*",)), [1, 2]),
        (ConsumerSpec(subjects=("*/temperature",), quality=("good",)), [1]),
        (ConsumerSpec(), [1, 2, 3, 4, 5]),
    ],
)
async def test_it_gets_what_its_filter_wants(world, mine, spec, offsets):
    await world.append(
        reading(),
        reading(quality="bad"),
        reading(True, "door/contact", "state"),
        Event("input", "pad/key", 1, 1, "7"),
        Event("device.available", "pad", 1, 1),
    )
    await mine.begin("earliest", spec)
    assert await mine.fetch() == offsets


async def test_what_tells_of_missing_events_passes_every_filter(world, mine):
    await world.append(reading(), Event("log.gap", "gateway", 1, 1))
    await mine.begin("earliest", ConsumerSpec(types=("state",)))
    assert await mine.fetch() == [2]


async def test_the_chain_of_previous_follows_the_filter_and_is_equal_at_every_delivery(world, mine):
    await world.append(*(reading(float(n), "ab"[n % 2] + "/x") for n in range(6)))
    await mine.begin("earliest", ConsumerSpec(subjects=("a/*",), ack="each"))
    await mine.fetch()
    chain = [handed.given.previous for handed in mine.fetched.events]
    assert chain == [None, 1, 3]
    await mine.begin()
    await mine.fetch()
    assert [handed.given.previous for handed in mine.fetched.events] == chain


async def test_a_filter_may_change_and_the_place_stays(world, mine):
    await world.append(*(reading(float(n), "ab"[n % 2] + "/x") for n in range(6)))
    await mine.begin("earliest", ConsumerSpec(subjects=("a/*",)))
    assert await mine.fetch(1) == [1]
    mine.ack(1)
    await mine.begin("earliest", ConsumerSpec(subjects=("b/*",)))
    assert await mine.fetch() == [2, 4, 6]
    await mine.begin()
    assert mine.begun.spec == ConsumerSpec(subjects=("b/*",)), "no word about it leaves it as it is"


async def test_a_fetch_waits_for_what_is_committed(world, mine):
    await mine.begin()
    fetching = asyncio.create_task(mine.fetch(wait_s=10))
    await world.fill(1)
    assert await asyncio.wait_for(fetching, 5) == [1]


async def test_a_fetch_without_events_ends_with_its_time(world, mine):
    await mine.begin()
    assert await asyncio.wait_for(mine.fetch(wait_s=0.02), 5) == []


async def test_a_long_way_without_a_wanted_event_is_remembered(world, mine, monkeypatch):
    monkeypatch.setattr("gateway.consumers.register.PASSED_OVER_NOTED", 50)
    await mine.begin("earliest", ConsumerSpec(types=("state",)))
    await world.fill(100)
    assert await mine.fetch() == []
    await reopened(world)
    assert [s.next_offset for s in world.consumers.standings()] == [101]


# -- acknowledging
# ------------------------------------------------------------------------------------------------------


async def test_an_acknowledged_event_never_comes_again_and_the_others_do(world, mine):
    await world.fill(5)
    await mine.begin()
    assert await mine.fetch() == [1, 2, 3, 4, 5]
    assert mine.ack(2) == 2
    await reopened(world)
    await mine.begin()
    assert await mine.fetch() == [3, 4, 5]


async def test_acknowledging_each_keeps_the_holes_across_a_stop(world, mine):
    await world.fill(5)
    await mine.begin("earliest", EACH)
    await mine.fetch()
    for offset in (1, 3, 5):
        assert mine.ack(offset) == 1
    await reopened(world)
    await mine.begin()
    assert await mine.fetch() == [2, 4]
    assert [handed.given.deliveries for handed in mine.fetched.events] == [2, 2]


async def test_a_crash_repeats_and_never_skips(world, mine):
    await world.fill(50)
    await mine.begin("earliest", EACH)
    seen, acked = set(), set()
    for step in range(12):
        offsets = await mine.fetch(7)
        seen |= set(offsets)
        for offset in offsets:
            if offset % 5:
                mine.ack(offset)
                acked.add(offset)
        if step == 3:
            await world.recorder.written("mine")
        if step % 4 == 3:
            await reopened(world, crash=True)
            await mine.begin()
    while offsets := await mine.fetch():
        seen |= set(offsets)
        for offset in offsets:
            mine.ack(offset)
    assert seen == set(range(1, 51))


async def test_where_it_begins_is_committed_before_it_is_told(world, mine):
    await world.fill(3)
    await mine.begin("latest")
    await world.fill(2)
    await reopened(world, crash=True)
    await mine.begin("latest")
    assert not mine.begun.created
    assert await mine.fetch() == [4, 5]


async def test_silence_is_answered_with_the_event_again_and_then_with_a_dead_letter(world, mine, clock):
    await world.fill(2)
    await mine.begin("earliest", EACH)
    assert await mine.fetch() == [1, 2]
    mine.ack(2)
    for delivery in (2, 3):
        clock.pass_s(30)
        assert await mine.fetch() == [1]
        assert mine.fetched.events[0].given.deliveries == delivery
    clock.pass_s(30)
    assert await mine.fetch() == []
    await world.recorder.flush()
    assert await world.log.dead_letters("consumer/mine") == 1
    refused = (await world.log.read(3)).events[0]
    assert (refused.type, refused.subject) == ("event.refused", "consumer/mine")
    assert refused.reason == "not acknowledged in 3 deliveries"
    assert refused.cause == (await world.log.read(1, 1)).events[0].id


async def test_a_nak_waits_for_its_back_off_while_others_go_on(world, mine, clock):
    await world.fill(3)
    await mine.begin("earliest", EACH)
    await mine.fetch(1)
    assert mine.nak(1) == 1
    assert await mine.fetch(1) == [2]
    clock.pass_s(1)
    assert await mine.fetch() == [1, 3]
    mine.nak(1)
    clock.pass_s(4.9)
    assert await mine.fetch() == []
    clock.pass_s(0.1)
    assert await mine.fetch() == [1]


async def test_a_fetch_wakes_when_something_is_due_again(world, mine):
    await world.fill(1)
    await mine.begin("earliest", EACH)
    await mine.fetch()
    mine.nak(1, wait_s=5)
    fetching = asyncio.create_task(mine.fetch(wait_s=20))
    await asyncio.sleep(0)
    mine.world.clock.pass_s(5)
    mine.nak(1)  # nothing: it rests. The waiting fetch must see the time by itself, or by what is settled beside it
    mine.world.consumers._register._known["mine"].wake()
    assert await asyncio.wait_for(fetching, 5) == [1]


async def test_a_rejected_event_is_a_dead_letter_at_once(world, mine):
    await world.fill(2)
    await mine.begin("earliest", EACH)
    await mine.fetch()
    assert await mine.reject(1, "not a number") == 1
    assert await mine.reject(1, "again") == 0
    await world.recorder.flush()
    assert await world.log.dead_letters("consumer/mine") == 1
    assert mine.ack(2) == 1
    await reopened(world)
    await mine.begin()
    assert await mine.fetch() == [3], "the event.refused; nothing else is open"


async def test_one_event_at_a_time_keeps_the_order_while_one_rests(world, mine, clock):
    await world.fill(3)
    await mine.begin("earliest", ConsumerSpec(ack="each", in_flight_max=1, backoff_s=(1.0,)))
    assert await mine.fetch() == [1]
    mine.nak(1)
    assert await mine.fetch() == []
    clock.pass_s(1)
    assert await mine.fetch() == [1]
    mine.ack(1)
    assert await mine.fetch() == [2]


async def test_no_more_is_open_than_may_be(world, mine):
    await world.fill(20)
    await mine.begin("earliest", ConsumerSpec(in_flight_max=5))
    assert await mine.fetch() == [1, 2, 3, 4, 5]
    assert await mine.fetch() == []
    assert mine.fetched.full
    fetching = asyncio.create_task(mine.fetch(wait_s=10))
    await asyncio.sleep(0)
    mine.ack(3)
    assert await asyncio.wait_for(fetching, 5) == [6, 7, 8]


async def test_who_acknowledges_by_cursor_gives_nothing_back(world, mine):
    await world.fill(1)
    await mine.begin()
    await mine.fetch()
    with pytest.raises(ConsumerError, match="acknowledges by cursor"):
        mine.nak(1)


async def test_waits_survive_a_restart_and_a_wrong_clock_makes_none_longer(world, mine, clock):
    await world.fill(1)
    await mine.begin("earliest", EACH)
    await mine.fetch()
    mine.nak(1, wait_s=20)
    await world.stop()
    clock.reboot(off_s=1)
    clock.step_wall_s(-10 * DAY_S)
    await world.open()
    await mine.begin()
    assert await mine.fetch() == []
    clock.pass_s(30)
    assert await mine.fetch() == [1]


# -- one reader
# ---------------------------------------------------------------------------------------------------------


async def test_a_second_reader_takes_over_and_gets_what_the_first_left_open(world, mine):
    await world.fill(3)
    await mine.begin("earliest", EACH)
    await mine.fetch(2)
    mine.ack(1)
    second = Reader(world, "mine")
    await second.begin()
    with pytest.raises(SessionTaken, match="another reader"):
        mine.ack(2)
    with pytest.raises(SessionTaken):
        await mine.fetch()
    assert await second.fetch() == [2, 3]


async def test_a_reader_that_waits_is_told_at_once_that_another_took_over(world, mine):
    await mine.begin()
    fetching = asyncio.create_task(mine.fetch(wait_s=20))
    await asyncio.sleep(0)
    await Reader(world, "mine").begin()
    with pytest.raises(SessionTaken):
        await asyncio.wait_for(fetching, 5)


# -- what was trimmed
# ---------------------------------------------------------------------------------------------------


async def trim_to(world, upto):
    async with world.log._turn:
        await world.log._retention.cut(upto)


async def test_who_asks_for_what_was_trimmed_gets_an_explicit_gap(world, mine):
    for _ in range(10):
        await world.fill(1)
    await trim_to(world, 5)
    await mine.begin("offset:2")
    assert await mine.fetch() == []
    assert mine.fetched.gaps == [(2, 4)]
    assert await mine.fetch() == [5, 6, 7, 8, 9, 10]
    assert mine.fetched.gaps == []


async def test_open_events_that_were_trimmed_are_a_gap_too(world, mine, clock):
    for _ in range(6):
        await world.fill(1)
    await mine.begin("earliest", EACH)
    await mine.fetch()
    for offset in (3, 6):
        mine.ack(offset)
    await trim_to(world, 6)
    clock.pass_s(30)
    assert await mine.fetch() == []
    assert mine.fetched.gaps == [(1, 2), (4, 5)]
    await reopened(world)
    await mine.begin()
    assert (await mine.fetch(), mine.fetched.gaps) == ([], [])


async def test_only_a_protected_consumer_makes_the_log_wait(world):
    await world.fill(10)
    kept, loose = Reader(world, "kept"), Reader(world, "loose")
    await kept.begin("earliest", ConsumerSpec(protect=True))
    await loose.begin("earliest")
    assert world._protected() == 1
    await kept.fetch()
    kept.ack(6)
    assert world._protected() == 7
    await reopened(world)
    assert world._protected() == 7, "also after a restart"
    await kept.begin("earliest", ConsumerSpec(protect=False))
    assert world._protected() == 11


async def test_what_a_protected_consumer_has_not_read_becomes_a_gap_event(tmp_path, clock):
    world = await World(tmp_path / "small.db", clock, size_bytes_max=1_000_000).open()
    try:
        await Reader(world, "kept").begin("earliest", ConsumerSpec(protect=True))
        await Reader(world, "loose").begin("earliest")
        n = 0
        while world.log.first_offset == 1:
            await world.append(*(reading(f"{n * 7919 % 1_000_003}-{k * 104729}", f"s{k}/x") for k in range(1000)))
            n += 1
            await world.log.trim(world._protected())
        gaps = [event async for event in everything(world.log) if event.type == "log.gap"]
        assert sum(gap.data["count"] for gap in gaps) == world.log.first_offset - 1
    finally:
        await world.stop()


async def everything(log):
    offset = log.first_offset
    while offset < log.next_offset:
        page = await log.read(offset)
        for event in page.events:
            yield event
        offset = page.next_offset


# -- bounds and ends
# ----------------------------------------------------------------------------------------------------


async def test_there_are_only_so_many_and_the_next_is_told(world):
    for n in range(CONSUMERS_MAX):
        await Reader(world, f"c{n}").begin()
    with pytest.raises(TooManyConsumers, match="--forget"):
        await Reader(world, "more").begin()
    await world.consumers.forget("c3")
    await Reader(world, "more").begin()


@pytest.mark.parametrize("name", ["", "Mine", "a/b", "-x", "x" * 65, "ü"])
async def test_a_name_is_an_identifier(world, name):
    with pytest.raises(ConsumerError, match="expected the name of a consumer"):
        await Reader(world, name).begin()


@pytest.mark.parametrize(
    "spec", [ConsumerSpec(types=("readings",)), ConsumerSpec(subjects=("air//x",)), ConsumerSpec(subjects=("A",))]
)
async def test_a_pattern_that_fits_nothing_is_told_and_nothing_is_made(world, mine, spec):
    with pytest.raises(ConsumerError):
        await mine.begin("earliest", spec)
    assert world.consumers.standings() == []


async def test_a_forgotten_consumer_is_gone_with_all_it_had(world, mine):
    await world.fill(2)
    await mine.begin("earliest", ConsumerSpec(ack="each", protect=True))
    await mine.fetch()
    await mine.reject(1)
    await world.recorder.flush()
    await world.consumers.forget("mine")
    assert await world.log.dead_letters("consumer/mine") == 0
    assert world._protected() == world.log.next_offset
    with pytest.raises(ConsumerError, match="knows no consumer 'mine'"):
        mine.ack(2)
    await reopened(world)
    assert world.consumers.standings() == []


def while_it_reads(world, monkeypatch, act):
    """Call `act` once, after the next read of the log and before whoever asked has its answer."""
    read, acts = world.log.read, [act]

    async def reading_on(*args, **more):
        page = await read(*args, **more)
        if acts:
            acts.pop()()
        return page

    monkeypatch.setattr(world.log, "read", reading_on)


async def test_forgotten_while_it_is_given_something_it_holds_nothing_and_does_not_return(world, mine, monkeypatch):
    await world.fill(3)
    await mine.begin("earliest", ConsumerSpec(ack="each", protect=True))
    while_it_reads(world, monkeypatch, lambda: world.consumers._register.drop(world.consumers._register.named("mine")))
    await mine.fetch()
    assert world._protected() == world.log.next_offset, "the log waits for nobody"
    await reopened(world)
    assert world.consumers.standings() == []


async def test_what_is_settled_while_it_is_read_again_is_not_given_again(world, mine, clock, monkeypatch):
    await world.fill(2)
    await mine.begin("earliest", EACH)
    assert await mine.fetch() == [1, 2]
    clock.pass_s(EACH.ack_within_s)
    acked = []
    while_it_reads(world, monkeypatch, lambda: acked.append(mine.ack(1)))
    assert await mine.fetch() == [2]
    assert acked == [1]
    assert mine.ack(1) == 0, "once is enough"


async def test_what_is_given_back_while_it_is_read_again_waits_for_its_back_off(world, mine, clock, monkeypatch):
    await world.fill(1)
    await mine.begin("earliest", EACH)
    await mine.fetch()
    clock.pass_s(EACH.ack_within_s)
    while_it_reads(world, monkeypatch, lambda: mine.nak(1, 60.0))
    assert await mine.fetch() == []
    clock.pass_s(60)
    assert await mine.fetch() == [1]


async def test_what_is_settled_while_another_is_given_up_is_not_buried(world, mine, clock, monkeypatch):
    await world.fill(2)
    await mine.begin("earliest", EACH)
    for _ in range(EACH.deliveries_max):
        assert await mine.fetch() == [1, 2]
        clock.pass_s(EACH.ack_within_s)
    while_it_reads(world, monkeypatch, lambda: mine.ack(2))
    assert await mine.fetch() == []
    await world.recorder.flush()
    assert await world.log.dead_letters("consumer/mine") == 1


async def test_forgotten_and_made_again_at_once_it_is_new(world, mine):
    await world.fill(3)
    await mine.begin("earliest")
    await mine.fetch()
    mine.ack(3)
    await asyncio.gather(world.consumers.forget("mine"), mine.begin("earliest"))
    await reopened(world)
    assert [s.next_offset for s in world.consumers.standings()] == [1]


async def test_an_idle_unprotected_consumer_is_forgotten_after_7_days(world, clock, monkeypatch):
    monkeypatch.setattr("gateway.consumers.register.GRACE_S", 0.0)
    await Reader(world, "idle").begin()
    await Reader(world, "kept").begin("earliest", ConsumerSpec(protect=True))
    busy = await Reader(world, "busy").begin()
    clock.pass_s(6.9 * DAY_S)
    await busy.fetch()
    world.consumers.expire()
    assert {s.name for s in world.consumers.standings()} == {"idle", "kept", "busy"}
    clock.pass_s(0.2 * DAY_S)
    world.consumers.expire()
    await world.recorder.written("idle")
    await reopened(world)
    assert {s.name for s in world.consumers.standings()} == {"kept", "busy"}


async def test_a_gateway_that_was_off_for_weeks_forgets_nobody_before_they_can_ask(world, clock):
    await Reader(world, "mine").begin()
    await world.stop()
    clock.pass_s(30 * DAY_S)
    await world.open()
    world.consumers.expire()
    assert [s.name for s in world.consumers.standings()] == ["mine"], f"not within {GRACE_S} s"


async def test_a_clock_that_is_wrong_forgets_nobody(world, clock, monkeypatch):
    monkeypatch.setattr("gateway.consumers.register.GRACE_S", 0.0)
    await Reader(world, "mine").begin()
    clock.is_synced = False
    clock.step_wall_s(300 * DAY_S)
    world.consumers.expire()
    assert len(world.consumers.standings()) == 1


async def test_a_consumer_made_without_a_right_clock_is_given_its_days_from_the_first_right_one(
    world, clock, monkeypatch
):
    monkeypatch.setattr("gateway.consumers.register.GRACE_S", 0.0)
    clock.is_synced = False
    await Reader(world, "mine").begin()
    clock.step_wall_s(300 * DAY_S)
    clock.is_synced = True
    world.consumers.expire()
    clock.pass_s(6.9 * DAY_S)
    world.consumers.expire()
    assert len(world.consumers.standings()) == 1
    clock.pass_s(0.2 * DAY_S)
    world.consumers.expire()
    assert world.consumers.standings() == []


# -- what it costs, and when the disk refuses
# ---------------------------------------------------------------------------


async def test_acknowledgements_ride_and_cost_no_commit_of_their_own(world, mine):
    await world.fill(10)
    await mine.begin()
    await mine.fetch()
    before = _data_version(world)
    mine.ack(5)
    await asyncio.sleep(0)
    assert _data_version(world) == before
    world.recorder.offer([reading()])
    for offset in range(6, 11):
        mine.ack(offset)
    await world.recorder.flush()
    await world.stop()
    with sqlite3.connect(world.path) as raw:
        assert raw.execute("SELECT next_offset FROM consumer").fetchone() == (11,)
    raw.close()


async def test_what_a_consumer_may_be_given_again_is_in_its_hands(world, mine):
    """And so is not thinned, until it is settled and that is on the disk."""
    await world.fill(300)
    await mine.begin("earliest", ConsumerSpec(in_flight_max=50))
    await mine.fetch()
    mine.ack(40)
    assert list(world.consumers._register._held()) == [(1, 51)]
    for offset in (45, 50):
        mine.ack(offset)
        await world.recorder.written("mine")
    ((begin, end),) = world.consumers._register._held()
    assert (begin, end) == (46, 96)
    await reopened(world, crash=True)
    assert list(world.consumers._register._held()) == [(51, 101)], "which ones were on their way nobody knows"


async def test_what_is_settled_while_a_commit_runs_rides_with_the_next(world, mine, monkeypatch):
    await world.fill(4)
    await mine.begin()
    await mine.fetch()
    append = world.log.append

    async def slow(*args, **at):
        stamped = await append(*args, **at)
        if world.recorder._riding:
            mine.ack(4)  # after the snapshot of this commit was taken
            monkeypatch.setattr(world.log, "append", append)
        return stamped

    monkeypatch.setattr(world.log, "append", slow)
    mine.ack(2)
    await world.recorder.written("mine")
    await world.recorder.written("mine")
    await world.crash()
    await world.open()
    assert [s.next_offset for s in world.consumers.standings()] == [5]


async def test_a_disk_that_refuses_is_told_and_what_is_settled_rides_later(world, mine, monkeypatch):
    await world.fill(3)
    await mine.begin()
    await mine.fetch()

    async def refuse(*args, **at):
        raise StoreUnavailable("database or disk is full (SQLITE_FULL)")

    with monkeypatch.context() as broken:
        broken.setattr(world.log, "append", refuse)
        mine.ack(2)
        world.recorder.offer([reading(urgent=True)])
        await until(lambda: world.recorder.trouble is not None)
        with pytest.raises(StoreUnavailable, match="disk is full"):
            await Reader(world, "other").begin()
    await until(lambda: world.recorder.trouble is None)
    await reopened(world)
    assert {s.name: s.next_offset for s in world.consumers.standings()}["mine"] == 3


def _data_version(world):
    with sqlite3.connect(world.path) as raw:
        found = raw.execute("SELECT next_offset FROM consumer WHERE name = 'mine'").fetchone()
    raw.close()
    return found


def _rfc3339(time_ns):
    from gateway.event import rfc3339

    return rfc3339(time_ns)
