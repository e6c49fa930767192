"""Topics and conflation, without a broker."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.sinks.mqtt_topics import Retained, Topics, birth, farewell, snapshot, state_bytes
from tests.sinks.parts import RUN, event, present

topics = st.sampled_from(["a", "b", "c"])


class Conflation(RuleBasedStateMachine):
    """Whatever happens, each topic ends with the newest content, and there is never more than one on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.retained = Retained()
        self.wanted: dict[str, bytes] = {}
        self.broker: dict[str, bytes] = {}
        self.flying: dict[str, bytes] = {}
        self.refused: set[str] = set()

    @rule(topic=topics, content=st.sampled_from([b"1", b"2", b"3"]))
    def want(self, topic: str, content: bytes) -> None:
        self.retained.want(topic, content)
        self.wanted[topic] = content
        self.refused.discard(topic)

    @rule()
    def take(self) -> None:
        taken = self.retained.take()
        if taken is not None:
            topic, content = taken
            assert topic not in self.flying, "two messages of one topic on the way"
            assert self.broker.get(topic) != content, "the broker has that already"
            self.flying[topic] = content

    @rule(topic=topics, accepted=st.booleans())
    def answer(self, topic: str, accepted: bool) -> None:
        if topic in self.flying:
            content = self.flying.pop(topic)
            self.retained.settle(topic, accepted=accepted)
            if accepted:
                self.broker[topic] = content
            elif self.wanted[topic] == content:
                self.refused.add(topic)

    @invariant()
    def nothing_is_forgotten(self) -> None:
        assert dict(self.retained.flying) == self.flying
        if not self.flying and not self.retained.ready:
            for topic, content in self.wanted.items():
                assert self.broker.get(topic) == content or topic in self.refused


Conflation.TestCase.settings = settings(max_examples=50, deadline=None)
TestConflation = Conflation.TestCase


def test_the_last_word_drops_what_was_still_to_be_said() -> None:
    retained = Retained()
    retained.want("a", b"1")
    assert retained.take() == ("a", b"1")
    retained.want("a", b"2")
    retained.want("b", b"1")
    retained.only("status", b"bye")
    retained.settle("a", accepted=True)
    assert retained.take() == ("status", b"bye")
    assert retained.take() is None


@given(st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), st.text()))
def test_a_state_is_compact_json_with_the_value_as_it_is(value: object) -> None:
    text = state_bytes(event("air/temperature", value))
    assert json.loads(text)["value"] == (None if value in {float("inf"), float("-inf")} else value)
    assert list(json.loads(text)) == ["value", "unit", "quality", "time"]
    assert b" " not in text.replace(json.dumps(value, ensure_ascii=False).encode(), b"")


def test_topics_lie_below_base_and_gateway() -> None:
    names = Topics("site/north", "pi")
    assert names.status == "site/north/pi/status"
    assert names.event(event("air/temperature")) == "site/north/pi/event/air/temperature"
    assert names.state("air/temperature") == "site/north/pi/state/air/temperature"
    assert names.availability("air") == "site/north/pi/availability/air"


def test_the_picture_begins_with_birth_and_leaves_inputs_out() -> None:
    picture = present(version="1", state="a word of the birth document never hides ours")
    picture.apply(
        [
            event("door/click", "single", type="input", offset=1),
            event("door/contact", False, type="state", offset=2),
            event("door", type="device.available", offset=3),
        ]
    )
    told = list(snapshot(Topics("gateway", "pi"), picture, RUN))
    assert [topic.removeprefix("gateway/pi/") for topic, _ in told] == [
        "status", "availability/door", "state/door/contact",
    ]  # fmt: skip
    assert json.loads(birth(picture, RUN)) == {"version": "1", "state": "online", "session": RUN}
    assert json.loads(farewell(RUN)) == {"state": "offline", "session": RUN}
