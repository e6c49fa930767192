"""Places in the log, and events that come back from outside."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.event import EVENT_TYPES, THINNED, CloudEventEncoder, Event
from gateway.foreign import NotOurs, from_builtins, parse_event
from gateway.position import Position, parse_position


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", Position("earliest")),
        ("latest", Position("latest")),
        ("last", Position("last")),
        ("17", Position("offset", 17)),
        ("offset:17", Position("offset", 17)),
        ("time:1970-01-01T00:00:01Z", Position("time", 10**9)),
        ("time:1970-01-01T01:00:01.000001+01:00", Position("time", 10**9 + 1000)),
    ],
)
def test_a_place_is_what_it_says(text, position):
    assert parse_position(text) == position


@pytest.mark.parametrize(
    "text",
    ["", "first", "0", "offset:", "offset:0", "offset:-1", "offset:1.5", "earliest:1", "²", "time:", "time:noon",
     "time:2026-11-23T06:00:00", f"offset:{2**63}"],
)  # fmt: skip
def test_what_is_no_place_is_told(text):
    with pytest.raises(ValueError, match="expected"):
        parse_position(text)


def _events():
    plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=9)
    micro = st.integers(0, 4 * 10**15).map(lambda us: us * 1000)
    data = st.dictionaries(
        st.text(min_size=1, max_size=5).filter(lambda key: key not in {"value", "unit", "quality", "reason"}),
        st.integers(0, 99) | st.text(max_size=4), max_size=3,
    )  # fmt: skip
    kinds = st.sampled_from(sorted(EVENT_TYPES))
    # a summary of readings says how many it stands for, in its data and in its id

    @st.composite
    def made(draw):
        kind, time = draw(kinds), draw(micro)
        return Event(
            kind, draw(st.sampled_from(["a/b", "gateway"])), time, time,
            draw(plain.filter(lambda v: v != float("inf") and v != float("-inf"))),
            draw(st.none() | st.sampled_from(["Cel", "%RH"])), draw(st.none() | st.sampled_from(["good", "bad"])),
            draw(st.sampled_from(["", "range"])), draw(st.sampled_from(["", "x-1"])),
            draw(data) | ({"count": draw(st.integers(2, 999))} if kind == THINNED else {}), draw(st.booleans()),
            draw(st.booleans()), offset=draw(st.integers(1, 10**18)), recorded=draw(micro), run="0123456789abcdef",
        )  # fmt: skip

    return made()


@given(_events())
def test_an_event_that_left_comes_back_as_it_was(event):
    line = CloudEventEncoder("g").encode(event, None)
    assert parse_event(line) == event
    assert from_builtins(msgspec.json.decode(line)) == event


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "x-1"}, "id: found 'x-1'"),
        ({"id": "0123456789abcdef-0"}, "id: found"),
        ({"type": "com.example.reading"}, "type: found 'com.example.reading'"),
        ({"time": "noon"}, "time: found 'noon'"),
        ({"data": {"value": [1]}}, "data: found"),
        ({"data": {"value": 1, "quality": "fine"}}, "quality: found 'fine'"),
        ({"id": "0123456789abcdef-1~60"}, "expected 0123456789abcdef-1"),
        ({"data": 1}, "Expected `object`"),
    ],
)
def test_what_is_none_of_ours_is_told(change, words):
    event = Event("reading", "a/b", 0, 0, 1.0, offset=1, run="0123456789abcdef")
    cloudevent = msgspec.json.decode(CloudEventEncoder("g").encode(event, None)) | change
    with pytest.raises(NotOurs, match=words.replace("(", r"\(")):
        from_builtins(cloudevent)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_line_is_an_event_or_told(line):
    with pytest.raises(NotOurs):
        parse_event(line)
