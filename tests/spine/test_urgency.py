"""Storms lose their urgency, and nothing else does."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway import riding, urgency
from gateway.clock import NS_PER_S
from gateway.eventlog import Cursor
from gateway.riding import CURSOR_AFTER_S
from gateway.urgency import PER_S_MAX, QUIET_S, STORM_S, SUBJECTS_MAX, Urgency
from tests.clocks import ManualClock
from tests.spine.conftest import until
from tests.spine.test_record import Watched, event, opened


def storm(judge, per_s, seconds, *, name="door/pressed", start_s=0):
    """Evenly spaced events; the verdicts, one a second."""
    return [{judge(name, round((start_s + s + n / per_s) * NS_PER_S)) for n in range(per_s)} for s in range(seconds)]


def test_more_than_20_a_second_for_10_seconds_lose_their_urgency_in_the_tenth():
    it = Urgency()
    seconds = storm(it.judge, 21, 12)
    assert seconds[:9] == [{"urgent"}] * 9
    assert seconds[9] == {"urgent", "storm"}
    assert seconds[10:] == [{"demoted"}] * 2
    assert (it.storms, it.demoted) == (1, ["door/pressed"])


def test_20_a_second_are_urgent_for_ever():
    assert storm(Urgency().judge, 20, 100) == [{"urgent"}] * 100


def test_a_burst_is_no_storm():
    it = Urgency()
    for start in range(0, 100, 10):
        assert storm(it.judge, 500, 9, start_s=start) == [{"urgent"}] * 9


def test_it_is_urgent_again_after_ten_quiet_seconds_and_slow_events_do_not_disturb_the_quiet():
    it = Urgency()
    storm(it.judge, 200, 10)
    assert storm(it.judge, 5, 10, start_s=10) == [{"demoted"}] * 10
    assert it.judge("door/pressed", 20 * NS_PER_S) == "quiet"
    assert it.judge("door/pressed", 20 * NS_PER_S) == "urgent"
    assert it.demoted == []


def test_a_storm_that_comes_back_must_last_again():
    it = Urgency()
    storm(it.judge, 200, 10)
    seconds = storm(it.judge, 200, 10, start_s=60)
    assert seconds[0] == {"quiet", "urgent"}
    assert seconds[8] == {"urgent"}
    assert seconds[9] == {"urgent", "storm", "demoted"}
    assert it.storms == 2


def test_one_storm_leaves_other_subjects_alone():
    it = Urgency()
    for second in range(30):
        for n in range(200):
            it.judge("door/pressed", second * NS_PER_S + n)
        assert it.judge("bell/pressed", second * NS_PER_S + 500) == "urgent"


def test_what_is_remembered_is_bounded():
    it = Urgency()
    for n in range(3 * SUBJECTS_MAX):
        it.judge(f"d{n}/x", n)
    assert len(it._subjects) == SUBJECTS_MAX


@given(st.lists(st.integers(min_value=0, max_value=60), min_size=1, max_size=60))
def test_the_state_machine_agrees_with_the_words_it_is_described_in(counts):
    """Against the definition, spelled out over whole histories: `counts[s]` events in second `s`."""
    it, verdicts = Urgency(), []
    demoted = False
    for second, count in enumerate(counts):
        for n in range(count):
            loud = [c > PER_S_MAX for c in counts[:second]]
            if demoted and not any(loud[max(0, second - QUIET_S) :]):
                demoted = False
            now_loud = n + 1 > PER_S_MAX
            on_end = now_loud and second + 1 >= STORM_S and all(loud[second + 1 - STORM_S :])
            if not demoted and n == PER_S_MAX and on_end:
                demoted = True
            verdicts.append((it.judge("a/b", second * NS_PER_S + n) in {"demoted", "storm"}, demoted))
    assert [found for found, _ in verdicts] == [expected for _, expected in verdicts]


async def test_a_storm_waits_for_company_and_is_said_once(tmp_path, caplog):
    clock = ManualClock()
    log = await opened(tmp_path, clock)
    it = Watched(log, clock, commit_within_s=3600)
    offered = 0
    for _ in range(40 * STORM_S):
        it.recorder.offer([event(urgent=True)])
        offered += 1
        clock.pass_s(1 / 40)
    await it.recorder.flush()
    stored, commits = sum(map(len, it.batches)), len(it.batches)
    assert stored == offered
    for _ in range(400):
        it.recorder.offer([event(urgent=True)])
        clock.pass_s(1 / 400)
    it.recorder.offer([event(urgent=True, subject="bell/pressed")])  # an innocent one takes all of them along
    await until(lambda: len(it.batches) > commits)
    assert [len(batch) for batch in it.batches[commits:]] == [401]
    assert caplog.text.count("more than 20 urgent events a second for 10 s") == 1
    assert it.recorder.urgency.storms == 1
    await it.stop()
    await log.close()


async def test_an_urgent_event_and_a_demoted_one_together_go_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(urgency.Urgency, "judge", lambda self, name, now: "urgent" if name == "a/b" else "demoted")
    log = await opened(tmp_path)
    it = Watched(log, ManualClock(), commit_within_s=3600)
    it.recorder.offer([event(urgent=True, subject="x/y")])
    assert not it.batches
    it.recorder.offer([event(urgent=True), event(urgent=True, subject="x/y")])
    await until(lambda: it.batches)
    assert len(it.batches[0]) == 3
    await it.stop()
    await log.close()


async def test_trims_lie_ten_minutes_apart(tmp_path):
    clock = ManualClock()
    log = await opened(tmp_path, clock)
    it, trims = Watched(log, clock, commit_within_s=3600), []

    async def counted(protected):
        trims.append(clock.mono_ns())

    log.trim = counted
    for n in range(1, 200):
        it.recorder.offer([event(urgent=True)])
        await until(lambda n=n: len(it.batches) == n)
        clock.pass_s(20)
    await until(lambda: len(trims) >= 6)
    gaps = [(later - earlier) / NS_PER_S for earlier, later in itertools.pairwise(trims)]
    assert len(trims) == 6
    assert min(gaps) >= 600
    await it.stop()
    await log.close()


async def test_acknowledgements_that_come_while_a_commit_runs_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(riding, "CURSOR_AFTER_S", 3600.0)
    log = await opened(tmp_path)
    it = Watched(log, ManualClock(), commit_within_s=3600)
    append, late = log.append, [Cursor(20_000)]

    async def slow(events, riders=None, *, at=None):
        if late:
            it.recorder.ride("home", late.pop(), riding.CURSOR_ALONE_ACKS)
        return await append(events, riders, at=at)

    log.append = slow
    it.recorder.ride("home", Cursor(10_000), riding.CURSOR_ALONE_ACKS)
    await until(lambda: log.cursors.get("home") == Cursor(20_000))
    await it.stop()
    await log.close()


async def test_cursors_go_alone_after_their_time_or_many_acknowledgements(tmp_path, monkeypatch):
    monkeypatch.setattr(riding, "CURSOR_AFTER_S", 0.05)
    assert CURSOR_AFTER_S == 5.0
    log = await opened(tmp_path)
    clock = ManualClock()
    it = Watched(log, clock, commit_within_s=0.01)
    it.recorder.ride("home", Cursor(3), 1)
    clock.pass_s(0.05)
    await until(lambda: log.cursors.get("home") == Cursor(3))
    monkeypatch.setattr(riding, "CURSOR_AFTER_S", 3600.0)
    it.recorder.ride("home", Cursor(9000), riding.CURSOR_ALONE_ACKS - 1)
    it.recorder.ride("home", Cursor(9001), 1)
    await until(lambda: log.cursors.get("home") == Cursor(9001))
    assert log.next_offset == 1, "no event was needed for it"
    await it.stop()
    await log.close()
