"""The decisions of supervision, in virtual time: no thread, no loop, no driver."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import NS_PER_S
from gateway.supervise import (
    BACKOFF_NS_MIN,
    CONFIRM_NS,
    GAP_NS_MIN,
    SPREAD_NS_MAX,
    Fact,
    Gap,
    Moment,
    Phase,
    Plan,
    State,
    Step,
    Task,
    backoff_ns,
    begin,
    decide,
    next_slot_ns,
    spread_ns,
)

S = NS_PER_S
POLLED = Plan(origin_ns=100 * S, every_ns=10 * S, timeout_ns=5 * S)
PUSHING = replace(POLLED, every_ns=None)
SHARED = replace(POLLED, shared=True)


@dataclass
class Story:
    """A device in virtual time: `happens` feeds facts, and keeps what was announced and asked of the thread."""

    plan: Plan = POLLED
    now_ns: int = 100 * S
    jitter: float = 1.0
    state: State = field(init=False)
    announced: list[bool] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = begin(self.plan)

    def happens(self, *facts: Fact, reason: str = "no acknowledge") -> Step:
        for fact in facts:
            if fact is Fact.DUE and self.state.due_ns is not None:
                self.now_ns = max(self.now_ns, self.state.due_ns)
            step = decide(self.plan, self.state, fact, Moment(self.now_ns, reason, self.jitter))
            self.state = step.state
            self.tasks += [step.task] if step.task else []
            self.announced += [] if step.announce is None else [step.announce]
        return step

    def running(self) -> Story:
        """A device that was opened and read once."""
        turn = [Fact.ENTERED] if self.plan.shared else []
        self.happens(Fact.DUE, *turn, Fact.OPENED)
        if self.plan.every_ns is not None:
            self.happens(*turn, Fact.ANSWERED)
        return self

    def wait_s(self) -> float:
        assert self.state.due_ns is not None
        return (self.state.due_ns - self.now_ns) / S


def test_a_device_is_opened_read_and_available_with_its_first_answer() -> None:
    story = Story().running()
    assert story.tasks == [Task.OPEN, Task.READ]
    assert story.announced == [True]
    assert story.state.phase is Phase.IDLE


def test_a_device_that_pushes_is_available_once_it_is_open() -> None:
    story = Story(PUSHING).running()
    assert story.tasks == [Task.OPEN]
    assert story.announced == [True]
    assert story.state.due_ns is None


def test_a_timer_that_goes_off_early_changes_nothing() -> None:
    story = Story().running()
    assert decide(POLLED, story.state, Fact.DUE, Moment(story.now_ns)) == Step(story.state)


def test_reads_lie_on_the_grid_and_missed_slots_are_skipped() -> None:
    story = Story().running()
    story.happens(Fact.DUE)
    assert story.now_ns == 110 * S
    story.now_ns = 114 * S
    story.happens(Fact.ANSWERED)
    assert story.state.due_ns == 120 * S
    story.happens(Fact.DUE)
    story.now_ns = 143 * S  # 5 s are the limit, but the timer may itself be late
    story.happens(Fact.ANSWERED)
    assert story.state.due_ns == 150 * S


@given(after=st.integers(0, 10**15), every=st.integers(1, 10**12), origin=st.integers(0, 10**14))
def test_the_next_slot_is_the_first_one_after_now(after: int, every: int, origin: int) -> None:
    slot = next_slot_ns(Plan(origin, every, S), after)
    assert slot is not None
    assert slot > after
    assert (slot - origin) % every == 0
    assert slot >= origin
    assert slot - every <= after or slot == origin


def test_the_first_failure_begins_an_outage_and_two_good_reads_end_it() -> None:
    story = Story().running()
    story.happens(Fact.DUE, Fact.FAILED, Fact.DUE, Fact.FAILED)
    assert story.announced == [True, False]
    assert story.state.reason == "no acknowledge"
    story.happens(Fact.DUE, Fact.ANSWERED)
    assert story.announced == [True, False]
    story.happens(Fact.DUE, Fact.ANSWERED)
    assert story.announced == [True, False, True]
    assert (story.state.reason, story.state.failures) == ("", 0)


def test_one_good_read_between_failures_ends_nothing() -> None:
    story = Story().running()
    for _ in range(10):
        story.happens(Fact.DUE, Fact.FAILED, Fact.DUE, Fact.ANSWERED)
    assert story.announced == [True, False]
    assert Task.CLOSE not in story.tasks, "and it need not be made anew"


def test_the_read_that_confirms_a_return_does_not_wait_for_a_long_schedule() -> None:
    story = Story().running()
    story.happens(Fact.DUE, Fact.FAILED, Fact.DUE, Fact.ANSWERED)
    assert story.wait_s() == CONFIRM_NS / S


def test_a_device_that_fails_at_once_was_never_available() -> None:
    story = Story()
    story.happens(Fact.DUE, Fact.FAILED)
    assert story.announced == [False]
    assert story.tasks == [Task.OPEN, Task.CLOSE]
    story.happens(Fact.CLOSED)
    assert story.wait_s() == 1.0


def test_the_third_failed_read_in_a_row_replaces_the_driver_object() -> None:
    story = Story().running()
    story.happens(Fact.DUE, Fact.FAILED, Fact.DUE, Fact.FAILED)
    assert Task.CLOSE not in story.tasks
    story.happens(Fact.DUE, Fact.FAILED)
    assert story.tasks[-1] is Task.CLOSE
    story.happens(Fact.CLOSED, Fact.DUE)
    assert story.tasks[-1] is Task.OPEN


def test_a_bug_replaces_the_driver_object_at_once() -> None:
    story = Story().running()
    story.happens(Fact.DUE, Fact.BROKEN)
    assert story.tasks[-1] is Task.CLOSE
    assert story.announced == [True, False]


def test_the_back_off_doubles_up_to_a_minute() -> None:
    story, waits = Story(), []
    for _ in range(9):
        story.happens(Fact.DUE, Fact.FAILED, Fact.CLOSED)
        waits.append(story.wait_s())
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(failures=st.integers(0, 10**9), jitter=st.floats(0, 1))
def test_the_back_off_never_spins_and_never_exceeds_its_ceiling(failures: int, jitter: float) -> None:
    assert BACKOFF_NS_MIN <= backoff_ns(failures, jitter) <= 60 * S


def test_a_hung_read_is_left_alone_until_it_returns() -> None:
    story = Story().running()
    story.happens(Fact.DUE, Fact.DUE)
    assert story.now_ns == 115 * S
    assert story.announced == [True, False]
    assert story.state.reason == "no answer for 5 s"
    asked = len(story.tasks)
    story.now_ns += 3600 * S
    story.happens(Fact.DUE, Fact.ASKED, Fact.DUE)
    assert len(story.tasks) == asked, "its thread is not entered while it hangs"


def test_what_a_hung_read_brings_is_too_late_and_its_object_is_replaced() -> None:
    story = Story().running()
    story.happens(Fact.DUE, Fact.DUE, Fact.ANSWERED)
    assert story.tasks[-1] is Task.CLOSE
    assert story.state.available is False
    story.happens(Fact.CLOSED, Fact.DUE, Fact.OPENED, Fact.ANSWERED, Fact.DUE, Fact.ANSWERED)
    assert story.tasks[-3:] == [Task.OPEN, Task.READ, Task.READ]
    assert story.announced == [True, False, True]


def test_a_hung_open_of_a_device_that_pushes_is_told_and_replaced() -> None:
    story = Story(PUSHING)
    story.happens(Fact.DUE, Fact.DUE)
    assert (story.announced, story.state.reason) == ([False], "no answer for 5 s")
    story.happens(Fact.OPENED)
    assert story.tasks[-1] is Task.CLOSE
    story.happens(Fact.CLOSED, Fact.DUE, Fact.OPENED)
    assert story.announced == [False, True]


def test_a_question_between_two_reads_leaves_the_grid_as_it_is() -> None:
    story = Story().running()
    story.now_ns = 107 * S
    story.happens(Fact.ASKED)
    assert story.tasks[-1] is Task.READ
    story.happens(Fact.ANSWERED)
    assert story.state.due_ns == 110 * S


# Devices that share a bus


def test_a_device_that_shares_its_bus_asks_for_a_turn_before_each_open_and_read() -> None:
    story = Story(SHARED).running()
    assert story.tasks == [Task.ENTER, Task.OPEN, Task.ENTER, Task.READ]
    assert story.announced == [True]


def test_waiting_for_a_turn_does_not_count_against_the_time_limit() -> None:
    story = Story(SHARED).running()
    story.happens(Fact.DUE)
    assert story.state.due_ns is None
    story.now_ns += 3600 * S
    story.happens(Fact.DUE, Fact.ASKED)
    assert story.state.phase is Phase.READING
    story.happens(Fact.ENTERED)
    assert story.wait_s() == 5.0
    story.happens(Fact.DUE)
    assert (story.state.phase, story.state.reason) == (Phase.HUNG, "no answer for 5 s")


def test_a_device_on_a_blocked_bus_is_told_of_once_and_not_entered() -> None:
    story = Story(SHARED).running()
    story.happens(Fact.BLOCKED, reason="bus blocked by a")
    assert (story.announced, story.state.reason) == ([True, False], "bus blocked by a")
    story.happens(Fact.DUE)
    assert story.tasks[-1] is Task.ENTER, "in line, and its thread is asked nothing"
    story.happens(Fact.BLOCKED, Fact.DUE, Fact.ASKED, reason="bus blocked by c")
    assert (story.announced, story.tasks[-1]) == ([True, False], Task.ENTER)
    assert story.state.failures == 0, "that is no failure of its own"


def test_a_device_returns_with_two_good_reads_soon_after_its_bus_is_free_again() -> None:
    story = Story(replace(SHARED, every_ns=3600 * S)).running()
    story.happens(Fact.BLOCKED)
    story.now_ns += 60 * S
    story.happens(Fact.FREED)
    assert story.wait_s() == 0.0
    story.happens(Fact.DUE, Fact.ENTERED, Fact.ANSWERED)
    assert (story.announced, story.wait_s()) == ([True, False], 1.0)
    story.happens(Fact.DUE, Fact.ENTERED, Fact.ANSWERED)
    assert story.announced == [True, False, True]


def test_a_blocked_bus_leaves_the_back_off_of_a_sick_device_as_it_is() -> None:
    story = Story(SHARED)
    story.happens(Fact.DUE, Fact.ENTERED, Fact.FAILED, Fact.CLOSED, Fact.BLOCKED)
    assert (story.announced, story.wait_s()) == ([False], 1.0)
    story.happens(Fact.FREED)
    assert story.wait_s() == 1.0


def test_a_pushing_device_that_is_open_does_not_mind_a_blocked_bus() -> None:
    story = Story(replace(PUSHING, shared=True)).running()
    story.happens(Fact.BLOCKED, Fact.FREED)
    assert (story.announced, story.state.available) == ([True], True)


def test_a_pushing_device_that_could_not_open_returns_once_it_can() -> None:
    story = Story(replace(PUSHING, shared=True))
    story.happens(Fact.DUE, Fact.BLOCKED, Fact.FREED, Fact.ENTERED, Fact.OPENED)
    assert story.announced == [False, True]


@given(jitters=st.lists(st.floats(0.2, 1), min_size=2, max_size=10, unique=True))
def test_devices_that_failed_together_do_not_return_together(jitters: list[float]) -> None:
    waits = []
    for jitter in jitters:
        story = Story(jitter=jitter)
        story.happens(Fact.DUE, Fact.FAILED, Fact.CLOSED)
        waits.append(story.state.due_ns)
    ranked = sorted(zip(jitters, waits, strict=True))
    assert [wait for _, wait in ranked] == sorted(waits)
    assert waits == [100 * S + backoff_ns(1, jitter) for jitter in jitters]


def test_after_stop_nothing_happens_any_more() -> None:
    for phase_facts in ((), (Fact.DUE,), (Fact.DUE, Fact.OPENED), (Fact.DUE, Fact.OPENED, Fact.DUE)):
        story = Story()
        story.happens(*phase_facts, Fact.STOP)
        assert story.tasks[-1] is Task.END
        said, asked = len(story.announced), len(story.tasks)
        story.happens(*Fact)
        assert (len(story.announced), len(story.tasks)) == (said, asked)


@given(
    facts=st.lists(st.sampled_from([f for f in Fact if f is not Fact.STOP]), max_size=80),
    plan=st.sampled_from([POLLED, PUSHING, SHARED]),
)
def test_whatever_happens_outages_begin_and_end_in_turn(facts: list[Fact], plan: Plan) -> None:
    story = Story(plan)
    for fact in facts:
        story.happens(fact)
        assert story.state.available == (story.announced[-1] if story.announced else None)
        assert story.state.available is not False or story.state.reason
    assert all(before != after for before, after in pairwise(story.announced))


class Thread:
    """A device's thread in virtual time: does one task, then says what came of it."""

    def __init__(self, story: Story) -> None:
        self.story, self.done = story, 0

    def outcome(self, fate: str) -> Fact | None:
        """What the task under way comes to; None while there is none, or it still hangs."""
        if self.done == len(self.story.tasks) or fate == "hangs":
            return None
        task = self.story.tasks[self.done]
        self.done += 1
        if task in {Task.CLOSE, Task.END}:
            return Fact.CLOSED
        return {"works": Fact.OPENED if task is Task.OPEN else Fact.ANSWERED, "fails": Fact.FAILED}.get(
            fate, Fact.BROKEN
        )


@given(
    fates=st.lists(st.tuples(st.sampled_from(["works", "fails", "breaks", "hangs"]), st.floats(0, 1)), max_size=60),
    pushes=st.booleans(),
)
def test_a_device_that_works_again_is_available_again_after_any_past(
    fates: list[tuple[str, float]], pushes: bool
) -> None:
    story = Story(PUSHING if pushes else POLLED)
    thread = Thread(story)
    for fate, jitter in [*fates, *[("works", 1.0)] * 12]:
        story.jitter = jitter
        fact = thread.outcome(fate)
        assert len(story.tasks) - thread.done <= 1, "one task at a time"
        story.happens(fact or Fact.DUE)
        while story.state.phase in {Phase.WAITING, Phase.IDLE} and story.state.due_ns is not None:
            story.happens(Fact.DUE)
    assert story.state.available is True
    assert all(before != after for before, after in pairwise(story.announced))


@pytest.mark.parametrize("count", [2, 10, 100])
def test_many_devices_do_not_begin_in_the_same_instant(count: int) -> None:
    starts = sorted(spread_ns(index, 10 * S) for index in range(count))
    assert starts[0] == 0
    assert starts[-1] < SPREAD_NS_MAX
    assert min(after - before for before, after in pairwise(starts)) >= SPREAD_NS_MAX // (3 * count)


def test_the_spread_stays_within_a_short_interval() -> None:
    assert all(spread_ns(index, S // 10) < S // 10 for index in range(100))
    assert spread_ns(7, None) == 0


@given(steps=st.lists(st.tuples(st.integers(0, 5 * S), st.integers(0, 100)), max_size=60))
def test_every_lost_reading_is_told_of_once_and_not_too_often(steps: list[tuple[int, int]]) -> None:
    gap, now_ns, told = Gap(), 1000 * S, []
    for passed_ns, lost in steps:
        now_ns += passed_ns
        gap.add(lost)
        count = gap.take(now_ns)
        told += [(now_ns, count)] if count else []
    rest = gap.take(now_ns, last=True)
    assert sum(count for _, count in told) + rest == sum(lost for _, lost in steps)
    assert all(after - before >= GAP_NS_MIN for (before, _), (after, _) in pairwise(told))
    assert gap.due_ns is None


def test_an_output_applies_what_it_is_told_and_is_idle_again() -> None:
    story = Story(PUSHING).running()
    story.happens(Fact.COMMANDED)
    assert (story.tasks[-1], story.state.phase, story.wait_s()) == (Task.APPLY, Phase.APPLYING, 5.0)
    story.happens(Fact.APPLIED)
    assert (story.state.phase, story.state.due_ns, story.announced) == (Phase.IDLE, None, [True])


def test_an_output_that_fails_once_is_closed_and_opened_anew() -> None:
    story = Story(PUSHING).running()
    story.happens(Fact.COMMANDED, Fact.FAILED)
    assert (story.tasks[-1], story.announced) == (Task.CLOSE, [True, False])
    story.happens(Fact.CLOSED, Fact.DUE, Fact.OPENED)
    assert story.announced == [True, False, True]


def test_an_output_that_hangs_is_closed_once_it_returns() -> None:
    story = Story(PUSHING).running()
    story.happens(Fact.COMMANDED, Fact.DUE)
    assert (story.state.phase, story.announced) == (Phase.HUNG, [True, False])
    story.happens(Fact.APPLIED)
    assert story.tasks[-1] is Task.CLOSE


def test_an_output_waits_for_its_bus_without_a_time_limit_and_stays_available() -> None:
    story = Story(replace(PUSHING, shared=True)).running()
    story.happens(Fact.COMMANDED, Fact.BLOCKED)
    assert (story.tasks[-1], story.state.due_ns, story.announced) == (Task.ENTER, None, [True])
    story.happens(Fact.FREED, Fact.ENTERED)
    assert (story.tasks[-1], story.wait_s()) == (Task.APPLY, 5.0)


def test_a_turn_that_nobody_wants_any_more_changes_nothing() -> None:
    story = Story(replace(PUSHING, shared=True)).running()
    story.happens(Fact.COMMANDED, Fact.ENTERED, Fact.WITHDRAWN)
    assert (story.state.phase, story.state.due_ns, story.announced) == (Phase.IDLE, None, [True])
