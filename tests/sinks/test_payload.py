"""What leaves is CloudEvents 1.0, whatever the event holds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import datetime

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.event import EVENT_TYPES, THINNED, CloudEventEncoder, Event

ENCODER = CloudEventEncoder("greenhouse-pi")

times = st.integers(0, 4_000_000_000_000_000_000)
words = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,10}", fullmatch=True)
values = st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text())

anything = st.builds(
    Event,
    type=st.sampled_from(sorted(EVENT_TYPES)),
    subject=st.lists(words, min_size=1, max_size=3).map("/".join),
    time=times,
    mono=times,
    value=values,
    unit=st.one_of(st.none(), st.sampled_from(["Cel", "%RH", "Pa"])),
    quality=st.sampled_from([None, "good", "uncertain", "bad"]),
    reason=st.text(max_size=20),
    cause=st.one_of(st.just(""), st.just("5f0c9a31d2e47b88-7")),
    data=st.dictionaries(st.sampled_from(["count", "first", "last"]), st.integers(0, 2**53), max_size=3),
    synced=st.booleans(),
    simulated=st.booleans(),
    offset=st.integers(1, 2**53),
    recorded=times,
    run=st.just("5f0c9a31d2e47b88"),
)
COUNTED = st.integers(2, 10**6)


def _whole(event: Event, count: int) -> Event:
    """What stands for several readings always says for how many."""
    return msgspec.structs.replace(event, data={**event.data, "count": count}) if event.type == THINNED else event


events = st.builds(_whole, anything, COUNTED)

ATTRIBUTE_NAME = re.compile(r"[a-z0-9]{1,20}")
"""CloudEvents 1.0, "Naming conventions": lower-case letters and digits, at most 20 where it can be helped."""


def reread(text: bytes) -> dict[str, object]:
    """The event's fields, read back from the wire by other means than those that wrote them."""
    found = json.loads(text)
    assert found["specversion"] == "1.0"
    for name in ("id", "source", "type", "subject", "time", "recordedtime", "sequence"):
        assert isinstance(found[name], str), name
        assert found[name], name
    assert found["datacontenttype"] == "application/json"
    assert isinstance(found["data"], dict)
    for name, value in found.items():
        assert ATTRIBUTE_NAME.fullmatch(name), name
        if type(value) is int:
            assert -(2**31) <= value < 2**31, f"{name}: an Integer of CloudEvents has 32 bits"
        else:
            assert name == "data" or value is None or isinstance(value, (str, bool)), name
    assert "data_base64" not in found
    return found


@given(events, st.one_of(st.none(), st.integers(1, 2**53)))
def test_every_event_is_a_valid_cloudevent_that_says_the_same(event: Event, previous: int | None) -> None:
    found = reread(ENCODER.encode(event, previous))
    run, _, offset = str(found["id"]).partition("-")
    offset, _, stands_for = offset.partition("~")
    assert (run, int(offset)) == (event.run, event.offset)
    assert stands_for == (str(event.data["count"]) if event.type == THINNED else "")
    assert found.get("sampledrate", 1) == event.stands_for
    assert found["source"] == "//gateway/greenhouse-pi"
    assert found["type"] == f"io.sensor-event-gateway.{event.type}.v1"
    assert found["subject"] == event.subject
    assert int(str(found["sequence"])) == event.offset
    assert found.get("previous") == (None if previous is None else f"{previous:020d}")
    for name, time_ns in (("time", event.time), ("recordedtime", event.recorded)):
        moment = datetime.strptime(str(found[name]), "%Y-%m-%dT%H:%M:%S.%f%z")
        assert round(moment.timestamp() * 10**6) == time_ns // 1000
    data = found["data"]
    assert isinstance(data, dict)
    if event.type in {"reading", "state", "input"}:
        infinite = isinstance(event.value, float) and event.value in {float("inf"), float("-inf")}
        assert data["value"] == (None if infinite else event.value)
        assert type(data["value"]) is (type(None) if infinite else type(event.value))
    for name, value in event.data.items():
        assert data[name] == value
    assert found.get("clocksync", True) == event.synced
    assert found.get("simulated", False) == event.simulated
    assert found.get("causationid", "") == event.cause


def test_what_only_a_connection_needs_is_imported_by_a_connection_only() -> None:
    """`gateway check` reads the options of a sink and pays for no network."""
    program = (
        "import sys; from gateway.plugins import Plugins; from gateway.sink import Identity\n"
        "sink = Plugins().sink('mqtt'); sink.create(sink.Options(url='mqtts://b', ca='/x'), Identity('g', 'r', None))\n"
        "print([name for name in sys.modules if name.startswith('paho') or name in {'asyncio', 'ssl'}])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
