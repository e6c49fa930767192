"""A subscriber that follows `previous` knows of every event that it missed before the last one it got."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.chain import Chain, Missing, Span, missing
from gateway.event import TYPE_PREFIX, TYPE_SUFFIX, sequence


def told(offset, previous, kind="reading", run="5f", **data):
    event = {"id": f"{run}-{offset}", "sequence": sequence(offset), "type": f"{TYPE_PREFIX}{kind}{TYPE_SUFFIX}"}
    return {**event, "subject": "a/b", "data": data} | ({} if previous is None else {"previous": sequence(previous)})


def heard(*events):
    chain = Chain()
    for event in events:
        chain.hear(event)
    return chain


def test_a_whole_chain_has_no_hole_whatever_the_sink_does_not_select():
    chain = heard(told(3, 1), told(7, 3), told(8, 7))
    assert chain.holes(3, 9) == []
    assert missing([3, 7, 8], chain, 9) == []


def test_a_hole_is_known_by_the_event_behind_it_and_filled_by_what_follows():
    chain = heard(told(3, 1), told(9, 8))
    assert chain.holes(3, 10) == [Span(4, 8)]
    chain.hear(told(8, 5))
    assert chain.holes(3, 10) == [Span(4, 5)]
    chain.hear(told(5, 3))
    assert chain.holes(3, 10) == []


def test_a_hole_that_an_event_names_is_closed():
    gap = told(20, 12, "log.gap", first=sequence(4), last=sequence(12), reason="size")
    refused = told(21, 20, "event.refused", refused={"sequence": sequence(14)}, reason="too large")
    chain = heard(told(3, 1), gap, refused, told(15, 14))
    assert chain.holes(3, 22) == []
    assert missing([3, 5, 7, 12, 14, 15, 16, 17, 20, 21], chain, 17) == [
        Missing(5, 12, 3, "evicted (size)"),
        Missing(14, 14, 1, "dead letter (too large)"),
        Missing(16, 16, 1, "lost"),
        Missing(17, 17, 1, "pending"),
    ]


def test_a_repeat_is_normal_and_another_event_with_that_offset_is_not():
    chain = heard(told(3, 1), told(3, 1), told(3, 1, run="aa"))
    assert (chain.repeats, chain.altered) == (1, 1)


@given(
    selected=st.lists(st.booleans(), min_size=1, max_size=40),
    fates=st.lists(st.sampled_from(["heard", "heard", "lost", "twice"]), min_size=40, max_size=40),
    order=st.randoms(use_true_random=False),
)
def test_exactly_what_was_lost_is_named(selected, fates, order):
    wanted = [n + 1 for n, yes in enumerate(selected) if yes]
    chain, arrivals = Chain(), []
    for at, offset in enumerate(wanted):
        event = told(offset, wanted[at - 1] if at else None)
        arrivals += [event] * {"heard": 1, "lost": 0, "twice": 2}[fates[offset - 1]]
    order.shuffle(arrivals)
    for event in arrivals:
        chain.hear(event)
    lost = [offset for offset in wanted if fates[offset - 1] == "lost"]
    named = missing(wanted, chain, len(selected) + 1)
    assert sum(one.events for one in named) == len(lost)
    assert {o for one in named for o in wanted if one.first <= o <= one.last and o not in chain} == set(lost)
    last_heard = max((offset for offset in wanted if offset in chain), default=0)
    proven = {offset for hole in chain.holes(1, len(selected) + 1) for offset in range(hole.first, hole.last + 1)}
    assert {offset for offset in lost if offset < last_heard} <= proven, "the chain alone proves these"
    assert not any(offset in chain for offset in proven)
