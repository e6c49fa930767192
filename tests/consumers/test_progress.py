"""What a consumer was given, settled and is owed: the pure core against a simple model."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.consumer import Given, Progress, Terms

S = 1_000_000_000
EACH = Terms("each", ack_within_s=30, deliveries_max=3, backoff_s=(1.0, 5.0), in_flight_max=4)
CURSOR = Terms("cursor", in_flight_max=4)


def given(progress, *offsets, now_ns=0):
    return [progress.give(offset, now_ns).deliveries for offset in offsets]


# -- by cursor
# ----------------------------------------------------------------------------------------------------------


def test_an_ack_by_cursor_settles_everything_before_it_too():
    progress = Progress(CURSOR, 1)
    given(progress, 1, 2, 3)
    assert progress.ack(2) == 2
    assert (progress.floor, progress.read_from) == (3, 4)


def test_a_new_reader_gets_what_the_former_one_did_not_acknowledge_in_order():
    progress = Progress(CURSOR, 1)
    given(progress, 1, 2, 5)
    progress.ack(1)
    progress.begin(0)
    assert (progress.read_from, progress.previous) == (2, 1)
    assert given(progress, 2, 5) == [1, 1]
    assert progress.given[5].previous == 2


def test_what_is_stored_lies_at_the_first_open_event():
    progress = Progress(CURSOR, 1)
    given(progress, 1, 3)
    stored = progress.stored()
    assert (stored.read_from, stored.previous, stored.given) == (1, None, {})
    assert progress.read_from == 4, "storing changes nothing"


def test_silence_is_no_reason_to_repeat_by_cursor():
    progress = Progress(CURSOR, 1)
    given(progress, 1, 2)
    assert progress.due(10**18, 10) == []
    assert progress.spent(10**18) == []
    assert progress.next_due_ns() is None


# -- each
# ---------------------------------------------------------------------------------------------------------------


def test_an_ack_settles_one_event():
    progress = Progress(EACH, 1)
    given(progress, 1, 2, 3)
    assert progress.ack(2) == 1
    assert progress.ack(2) == 0
    assert sorted(progress.given) == [1, 3]
    assert progress.floor == 1


def test_a_silent_event_is_due_after_its_time_and_not_before():
    progress = Progress(EACH, 1)
    given(progress, 1)
    assert progress.due(30 * S - 1, 10) == []
    assert progress.next_due_ns() == 30 * S
    assert progress.due(30 * S, 10) == [1]
    assert given(progress, 1, now_ns=30 * S) == [2]


def test_naks_wait_longer_each_time_and_the_last_wait_stays():
    progress = Progress(EACH._replace(deliveries_max=9), 1)
    waits = []
    for _ in range(4):
        given(progress, 1)
        assert progress.nak(1, 0)
        waits.append(progress.given[1].due_ns // S)
    assert waits == [1, 5, 5, 5]


def test_a_nak_may_name_its_own_wait():
    progress = Progress(EACH, 1)
    given(progress, 1)
    progress.nak(1, 7, wait_s=0.5)
    assert progress.due(7 + S // 2, 10) == [1]


def test_only_what_is_in_somebodys_hands_can_be_given_back():
    progress = Progress(EACH, 1)
    assert not progress.nak(1, 0)
    given(progress, 1)
    assert progress.nak(1, 0)
    assert not progress.nak(1, 0), "it rests already"


def test_after_so_many_deliveries_it_is_given_up_and_not_delivered_again():
    progress = Progress(EACH, 1)
    for now_ns in (0, 30 * S, 60 * S):
        given(progress, 1, now_ns=now_ns)
    assert progress.spent(90 * S - 1) == []
    assert progress.due(90 * S, 10) == []
    assert progress.spent(90 * S) == [1]


def test_the_last_nak_does_not_wait():
    progress = Progress(EACH, 1)
    for _ in range(3):
        given(progress, 1)
    progress.nak(1, 5)
    assert progress.spent(5) == [1]


def test_a_new_reader_is_given_at_once_what_the_former_one_had_in_its_hands():
    progress = Progress(EACH, 1)
    given(progress, 1, 2)
    progress.nak(2, 0)
    progress.begin(10)
    assert progress.due(10, 10) == [1], "the nak's wait goes on"


def test_the_room_is_what_may_still_be_open():
    progress = Progress(EACH, 1)
    given(progress, 1, 2, 3)
    assert progress.room == 1
    given(progress, 4)
    assert progress.room == 0
    progress.nak(4, 0)
    assert progress.room == 0, "what rests is open too"
    progress.ack(1)
    assert progress.room == 1


# -- owed
# ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terms", [EACH, CURSOR])
def test_owed_events_come_first_and_within_the_room(terms):
    progress = Progress(terms, 10, given={n: Given(0, 0, owed=True) for n in (2, 3, 5, 7, 9)})
    assert progress.due(0, 10) == [2, 3, 5, 7]
    given(progress, 2, 3, 5, 7)
    assert progress.due(0, 10) == []
    progress.ack(7)
    assert progress.due(0, 1) == [9]


def test_owed_events_that_were_not_acknowledged_are_owed_again():
    progress = Progress(CURSOR, 10, given={n: Given(0, 0, owed=True) for n in (2, 3)})
    given(progress, 2, 3, 10, 11)
    progress.ack(2)
    progress.begin(0)
    assert (progress.due(0, 10), progress.read_from) == ([3], 10)


def test_an_ack_by_cursor_does_not_settle_what_is_still_owed():
    progress = Progress(CURSOR, 10, given={n: Given(0, 0, owed=True) for n in (2, 8)})
    given(progress, 2)
    assert progress.ack(9) == 1
    assert progress.due(0, 10) == [8]


# -- against a model
# ----------------------------------------------------------------------------------------------------


class AgainstAModel(RuleBasedStateMachine):
    """The model knows of each offset only whether it is new, open, settled or given up, and how often it was given."""

    END = 40

    @initialize(each=st.booleans(), in_flight=st.integers(1, 5), deliveries=st.integers(1, 4))
    def start(self, each, in_flight, deliveries):
        self.terms = Terms("each" if each else "cursor", 10.0, deliveries, (1.0, 3.0), in_flight)
        self.progress = Progress(self.terms, 1)
        self.now_ns = 0
        self.state = dict.fromkeys(range(1, self.END + 1), "new")
        self.count = dict.fromkeys(self.state, 0)
        self.due_ns = {}

    @property
    def each(self):
        return self.terms.ack == "each"

    @rule(limit=st.integers(1, 6), skip=st.booleans())
    def fetch(self, limit, skip):
        for offset in self.progress.spent(self.now_ns):
            assert self.state[offset] == "open"
            assert self.count[offset] == self.terms.deliveries_max
            self.progress.drop([offset])
            self.state[offset] = "given up"
        for offset in self.progress.due(self.now_ns, limit):
            assert self.state[offset] == "open"
            assert self.due_ns[offset] <= self.now_ns
            self._deliver(offset)
        while self.progress.room and limit and self.progress.read_from <= self.END:
            offset = self.progress.read_from
            if skip and offset % 3 == 0:
                self.progress.pass_over(offset + 1)
                self.state[offset] = "settled"
                continue
            self._deliver(offset)
            limit -= 1

    def _deliver(self, offset):
        assert self.state[offset] in {"new", "open"}
        self.progress.give(offset, self.now_ns)
        self.state[offset] = "open"
        self.count[offset] += 1
        self.due_ns[offset] = self.now_ns + 10 * S

    @rule(offset=st.integers(1, END + 1))
    def ack(self, offset):
        self.progress.ack(offset)
        for other, state in self.state.items():
            if state == "open" and (other == offset if self.each else other <= offset):
                self.state[other] = "settled"

    @precondition(lambda self: self.each)
    @rule(offset=st.integers(1, END))
    def nak(self, offset):
        if self.progress.nak(offset, self.now_ns):
            assert self.state[offset] == "open"
            wait_s = (1, 3)[min(self.count[offset], 2) - 1]
            self.due_ns[offset] = self.now_ns + (0 if self.count[offset] >= self.terms.deliveries_max else wait_s * S)

    @rule(seconds=st.sampled_from([0.5, 1, 3, 10]))
    def time_passes(self, seconds):
        self.now_ns += round(seconds * S)

    @rule()
    def a_new_reader(self):
        self.progress.begin(self.now_ns)
        self._readers_changed()

    @rule()
    def a_crash(self):
        """Only what was stored is left; the boot clock begins anew."""
        stored = self.progress.stored()
        self.progress = Progress(self.terms, stored.read_from, stored.previous, stored.given)
        self.progress.begin(self.now_ns)
        self._readers_changed()

    def _readers_changed(self):
        for offset, state in self.state.items():
            if state == "open":
                if not self.each:
                    self.state[offset], self.count[offset] = "new", 0
                elif not self.progress.given[offset].resting:
                    self.due_ns[offset] = min(self.due_ns[offset], self.now_ns)
        if not self.each:  # everything behind the first open event is new again, settled by passing over or not
            for offset in range(self.progress.read_from, self.END + 1):
                self.state[offset], self.count[offset] = "new", 0

    @invariant()
    def nothing_is_skipped_and_nothing_settled_comes_again(self):
        if not hasattr(self, "progress"):
            return
        open_ = {offset for offset, state in self.state.items() if state == "open"}
        assert set(self.progress.given) == open_
        new = {offset for offset, state in self.state.items() if state == "new"}
        assert new == set(range(self.progress.read_from, self.END + 1))
        assert len(open_) <= self.terms.in_flight_max
        assert all(self.count[offset] <= self.terms.deliveries_max for offset in open_ if self.each)
        stored = self.progress.stored()
        assert min(open_ | new, default=self.END + 1) >= stored.floor
        assert all(offset in stored.given or offset >= stored.read_from for offset in open_ | new)

    @invariant()
    def what_is_due_says_so(self):
        if not hasattr(self, "progress") or not self.each:
            return
        due = {offset for offset in self.progress.given if self.due_ns[offset] <= self.now_ns}
        assert {*self.progress.due(self.now_ns, 99), *self.progress.spent(self.now_ns)} == due


AgainstAModel.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestAgainstAModel = AgainstAModel.TestCase
