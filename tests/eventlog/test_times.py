"""Wrong clocks: what readers see, what a time finds, and what age may delete."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.event import Event
from gateway.eventlog import EventLog
from gateway.eventlog.anchors import BootAnchor, after, corrected, dated
from tests.clocks import ManualClock

YEAR_S = 365 * 86400
DAY_S = 86400


def told(event_type, clock):
    """A record of the gateway itself, as the recorder notes it."""
    return Event(event_type, "gateway", clock.wall_ns(), clock.mono_ns(), synced=clock.synced())


def reading(clock, value=1.0):
    return Event("reading", "a/b", clock.wall_ns(), clock.mono_ns(), value, "Cel", "good", synced=clock.synced())


async def started(path, clock, **bounds):
    log = await EventLog.open(path, clock, **bounds)
    await log.append([told("gateway.started", clock)])
    return log


async def all_of(log, **how):
    return (await log.read(log.first_offset, 100_000, **how)).events


class TrueClock(ManualClock):
    """A clock that can be wrong, and what time it really is."""

    def __init__(self):
        super().__init__()
        self.true_s = self._wall_ns / NS_PER_S

    def pass_s(self, seconds):
        super().pass_s(seconds)
        self.true_s += seconds

    def true_ns(self):
        return round(self.true_s * NS_PER_S)

    def be_wrong_by_s(self, seconds):
        self._wall_ns = self.true_ns() + round(seconds * NS_PER_S)


# -- corrected times --------------------------------------------------------------------------------


async def test_an_unsynchronised_stretch_is_read_at_its_corrected_time_and_stays_marked(tmp_path):
    clock = TrueClock()
    clock.be_wrong_by_s(-50 * YEAR_S)
    clock.is_synced = False
    log = await started(tmp_path / "events.db", clock)
    true = [clock.true_ns()]
    for _ in range(3):
        clock.pass_s(60)
        true.append(clock.true_ns())
        await log.append([reading(clock)])
    before = await all_of(log)
    assert all(event.time < true[0] - 49 * YEAR_S * NS_PER_S for event in before), "nobody knows yet"
    clock.be_wrong_by_s(0)
    clock.is_synced = True
    await log.append([told("clock.step", clock)])
    events = await all_of(log)
    assert [event.time for event in events[:4]] == true
    assert [event.synced for event in events] == [False] * 4 + [True]
    assert (await all_of(log, as_told=True))[:4] == before, "rows are never rewritten"
    await log.close()


async def test_the_correction_is_remembered_by_the_next_run_and_boot(tmp_path):
    clock = TrueClock()
    clock.is_synced = False
    clock.be_wrong_by_s(3600)
    log = await started(tmp_path / "events.db", clock)
    clock.pass_s(5)
    wanted = clock.true_ns()
    await log.append([reading(clock)])
    clock.be_wrong_by_s(0)
    clock.is_synced = True
    await log.append([told("clock.step", clock)])
    await log.close()
    for _ in range(2):
        log = await started(tmp_path / "events.db", clock)
        assert (await all_of(log))[1].time == wanted
        await log.close()
        clock.reboot()


async def test_a_boot_that_never_knew_the_time_stays_as_it_was_told(tmp_path):
    clock = TrueClock()
    clock.is_synced = False
    log = await started(tmp_path / "events.db", clock)
    await log.append([reading(clock)])
    await log.close()
    clock.reboot()
    clock.is_synced = True
    log = await started(tmp_path / "events.db", clock)
    assert await all_of(log) == await all_of(log, as_told=True)
    await log.close()


def test_the_newest_record_of_a_believed_clock_corrects_the_boot():
    known = after(None, 100, synced=False)
    assert corrected({"b": known}, "b", 7) is None
    known = after(known, 300, synced=True)
    known = after(known, 200, synced=True)
    known = after(known, 999, synced=False)
    assert known == BootAnchor(latest=999, synced=200, least=200)
    assert corrected({"b": known}, "b", 7) == 207
    assert corrected({"b": known}, "other", 7) is None


def test_correct_events_are_passed_on_as_they_are():
    events = [Event("reading", "a/b", 5, 1, boot="b")]
    assert dated({"b": BootAnchor(0, 0, 0)}, events) is events


# -- looking up a time --------------------------------------------------------------------------------


async def test_a_time_is_found_in_a_stretch_that_had_a_wrong_clock(tmp_path):
    for wrong_s in (-50 * YEAR_S, 50 * YEAR_S, -3600, 3600, 0.3):
        clock = TrueClock()
        log = await started(tmp_path / f"{wrong_s}.db", clock)
        moments = []
        for n in range(30):
            if n == 10:
                clock.be_wrong_by_s(wrong_s)
                clock.is_synced = False
                await log.append([told("clock.step", clock)])
            if n == 20:
                clock.be_wrong_by_s(0)
                clock.is_synced = True
                await log.append([told("clock.step", clock)])
            clock.pass_s(10)
            moments.append((clock.true_ns(), log.next_offset))
            await log.append([reading(clock)] * 3)
        for true_ns, offset in moments:
            assert await log.offset_at(true_ns - NS_PER_S) == offset
        assert await log.offset_at(clock.true_ns() + NS_PER_S) == log.next_offset
        await log.close()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["step", "boot", "pass"]), st.integers(min_value=-100_000, max_value=100_000), st.booleans()
        ),
        max_size=12,
    )
)
async def test_whatever_the_wall_clock_did_a_known_time_finds_its_event(tmp_path_factory, history):
    clock = TrueClock()
    path = tmp_path_factory.mktemp("times") / "events.db"
    log = await started(path, clock)
    moments = []
    for what, seconds, record in history:
        clock.pass_s(50)
        if what == "step":
            clock.be_wrong_by_s(seconds)
            clock.is_synced = False
            if record:
                await log.append([told("clock.step", clock)])
        elif what == "boot":
            clock.be_wrong_by_s(0)
            clock.is_synced = True
            await log.append([told("clock.step", clock)])
            await log.close()
            clock.reboot()
            clock.true_s += 30
            log = await started(path, clock)
        clock.pass_s(50)
        moments.append((clock.true_ns(), log.next_offset))
        await log.append([reading(clock)])
    clock.be_wrong_by_s(0)
    clock.is_synced = True
    await log.append([told("clock.step", clock)])
    events = {event.offset: event for event in await all_of(log)}
    for true_ns, offset in moments:
        assert abs(events[offset].time - true_ns) <= 1000
        assert await log.offset_at(true_ns - NS_PER_S) == offset
    await log.close()


# -- age --------------------------------------------------------------------------------


async def test_a_step_into_the_future_deletes_nothing(tmp_path):
    for synced in (True, False):
        clock = TrueClock()
        log = await started(tmp_path / f"{synced}.db", clock, keep_for_s=30 * DAY_S)
        await log.append([reading(clock)] * 5)
        clock.pass_s(DAY_S)
        await log.close()
        clock.reboot()
        log = await started(tmp_path / f"{synced}.db", clock, keep_for_s=30 * DAY_S)
        clock.pass_s(60)
        clock.be_wrong_by_s(50 * YEAR_S)
        clock.is_synced = synced
        await log.append([told("clock.step", clock), reading(clock)])
        await log.trim(protected=log.next_offset)
        assert log.first_offset == 1
        await log.close()


async def test_a_start_with_a_clock_that_is_not_believed_deletes_nothing_of_earlier_boots(tmp_path):
    clock = TrueClock()
    log = await started(tmp_path / "events.db", clock, keep_for_s=30 * DAY_S)
    await log.append([reading(clock)])
    await log.close()
    clock.reboot()
    clock.step_wall_s(50 * YEAR_S)
    clock.is_synced = False
    log = await started(tmp_path / "events.db", clock, keep_for_s=30 * DAY_S)
    await log.trim(protected=log.next_offset)
    assert log.first_offset == 1
    await log.close()


async def test_age_within_a_boot_needs_no_wall_clock(tmp_path):
    clock = TrueClock()
    clock.is_synced = False
    clock.be_wrong_by_s(-50 * YEAR_S)
    log = await started(tmp_path / "events.db", clock, keep_for_s=30 * DAY_S)
    clock.pass_s(29 * DAY_S)
    young = log.next_offset
    await log.append([reading(clock)])
    clock.pass_s(2 * DAY_S)
    await log.append([reading(clock)])
    await log.trim(protected=log.next_offset)
    assert log.first_offset == young
    await log.close()


async def test_a_boot_without_a_time_goes_with_the_first_that_is_too_old_behind_it(tmp_path):
    clock = TrueClock()
    clock.is_synced = False
    clock.be_wrong_by_s(-50 * YEAR_S)
    path = tmp_path / "events.db"
    log = await started(path, clock, keep_for_s=30 * DAY_S)
    await log.append([reading(clock)])
    await log.close()
    clock.reboot()
    clock.be_wrong_by_s(0)
    clock.is_synced = True
    log = await started(path, clock, keep_for_s=30 * DAY_S)
    dated_from = log.next_offset
    await log.append([reading(clock)])
    await log.trim(protected=log.next_offset)
    assert log.first_offset == 1, "fifty years old by its own word, a minute in truth"
    clock.pass_s(20 * DAY_S)
    await log.append([reading(clock)])
    await log.trim(protected=log.next_offset)
    assert log.first_offset == 1
    clock.pass_s(11 * DAY_S)
    await log.trim(protected=log.next_offset)
    assert log.first_offset == dated_from + 1
    assert set(await boots_known(log)) == {clock.boot_id}, "what was known of a boot goes with it"
    await log.close()


async def boots_known(log):
    return [boot for boot, _ in await log._head.store.anchors()]


async def test_one_trim_by_age_is_bounded_and_the_next_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("gateway.eventlog.retention.TRIM_BATCHES_MAX", 10)
    clock = TrueClock()
    log = await started(tmp_path / "events.db", clock, keep_for_s=60)
    for _ in range(24):
        await log.append([reading(clock)])
    clock.pass_s(120)
    firsts = []
    for _ in range(3):
        await log.trim(protected=log.next_offset)
        firsts.append(log.first_offset)
    assert firsts == [11, 21, 26]
    await log.close()


async def test_the_newest_known_time_is_told_at_the_next_opening(tmp_path):
    clock = TrueClock()
    log = await started(tmp_path / "events.db", clock)
    assert log.newest_ns is None
    clock.pass_s(100)
    await log.append([reading(clock)])
    newest = clock.wall_ns()
    await log.close()
    clock.reboot()
    clock.is_synced = False
    clock.be_wrong_by_s(50 * YEAR_S)
    log = await started(tmp_path / "events.db", clock)
    assert log.newest_ns == newest
    await log.close()
    clock.reboot()
    log = await EventLog.open(tmp_path / "events.db", clock)
    assert log.newest_ns == newest, "a boot that did not know the time says nothing"
    await log.close()
