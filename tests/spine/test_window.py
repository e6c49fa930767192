"""What the window promises: the cursor never skips, and only what settled is left behind."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.event import Event
from gateway.eventlog import Cursor
from gateway.sink import Outgoing
from gateway.window import Window


def outgoing(offset, previous):
    return Outgoing(Event("reading", "a/b", 0, 0, offset=offset), previous)


def filled(offsets):
    window, previous = Window(Cursor(offsets[0])), None
    for offset in offsets:
        window.sent(outgoing(offset, previous))
        previous = offset
    return window


def test_the_cursor_is_the_first_event_that_is_not_settled():
    window = filled([1, 2, 3])
    window.settle(2)
    assert window.cursor == Cursor(1, None)
    window.settle(1)
    assert window.cursor == Cursor(3, 2)
    window.settle(3)
    assert window.cursor == Cursor(4, 3)
    assert len(window) == 0


def test_an_answer_for_an_unknown_event_changes_nothing():
    window = filled([1, 2])
    assert window.settle(9) is None
    assert window.settle(1) is not None
    assert window.settle(1) is None
    assert (len(window), window.cursor) == (1, Cursor(2, 1))


def test_held_events_are_offered_again_in_order_and_the_accepted_ones_are_not():
    window = filled([1, 2, 3, 4])
    window.hold(3)
    window.hold(1)
    window.settle(2)
    assert not window.all_held
    window.settle(4)
    assert window.all_held
    assert [o.event.offset for o in window.offer_again()] == [1, 3]
    assert not window.holding
    assert window.cursor == Cursor(1, None)


def test_only_refusals_between_which_others_passed_count_against_an_event():
    window = filled([1, 2, 3])
    assert [window.hold(1) for _ in range(3)] == [1, 1, 1], "nothing passes: the destination is the reason"
    window.settle(2)
    assert [window.hold(1) for _ in range(2)] == [2, 2]
    window.settle(3)
    assert window.hold(1) == 3
    assert window.hold(7) == 0


@given(st.lists(st.integers(1, 3), min_size=1, max_size=40), st.data())
def test_in_whatever_order_events_settle_the_cursor_names_the_first_unsettled_one(steps, data):
    offsets = [sum(steps[: n + 1]) for n in range(len(steps))]  # filters leave holes
    window = filled(offsets)
    unsettled = list(offsets)
    for offset in data.draw(st.permutations(offsets)):
        window.settle(offset)
        unsettled.remove(offset)
        before = [o for o in offsets if not unsettled or o < unsettled[0]]
        expected = unsettled[0] if unsettled else offsets[-1] + 1
        assert window.cursor == Cursor(expected, before[-1] if before else None)
        assert len(window) == len(unsettled)
