"""Filters: what a sink does not want is passed over, and its chain stays whole."""

import asyncio
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.clock import SystemClock
from gateway.config.model import EventsConfig
from gateway.event import Event
from gateway.eventlog import EventLog
from gateway.present import Chosen, Latest
from gateway.selection import ALWAYS, Selection, check_subject
from tests.spine.conftest import PlayedSink, Spine, until


def event(type_="reading", subject="air/temperature", quality="good", value=1.0):
    return Event(type_, subject, 1, 1, value, "Cel", quality if type_ == "reading" else None)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("air/*", ["air/temperature", "air/x"], ["air", "air/x/y", "airs/x", "gateway"]),
        ("*/temperature", ["air/temperature"], ["temperature", "a/b/temperature", "air/temperatures"]),
        ("air/**", ["air", "air/x", "air/x/y"], ["airs", "gateway"]),
        ("**", ["gateway", "air/x", "a/b/c"], []),
        ("**/x", ["air/x", "a/b/x"], ["x", "air/y"]),
        ("gateway", ["gateway"], ["gateway/x"]),
        ("d?/c*", ["d1/c", "d2/c12"], ["d/c", "d12/c"]),
        ("*", ["gateway", "air"], ["air/x"]),
    ],
)
def test_patterns_of_subjects(pattern, yes, no):
    wanted = Selection(subjects=[check_subject(pattern)])
    assert [s for s in yes + no if wanted.selects(event(subject=s))] == yes


def test_types_subjects_and_quality_must_all_fit():
    wanted = Selection(["reading", "device.*"], ["air/**"], ["good", "uncertain"])
    assert wanted.selects(event())
    assert wanted.selects(event("device.unavailable", "air"))
    assert not wanted.selects(event(quality="bad"))
    assert not wanted.selects(event("state", "air/open"))
    assert not wanted.selects(event(subject="door/x"))


@pytest.mark.parametrize("always", sorted(ALWAYS))
def test_what_tells_of_missing_events_passes_every_filter(always):
    nothing = Selection(["input"], ["no/where"], ["bad"])
    assert nothing.selects(event(always, "gateway"))


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ({"types": ["readng"]}, "no event has the type 'readng'"),
        ({"types": ["sensor.*"]}, "no event has the type"),
        ({"types": []}, "at least 1 item"),
        ({"subjects": ["Air/*"]}, "a pattern of subjects such as"),
        ({"subjects": ["/air"]}, "a pattern of subjects such as"),
        ({"subjects": ["air/x**"]}, "stands alone in its level"),
        ({"subjects": ["a" * 200]}, "a pattern of subjects"),
        ({"quality": ["perfect"]}, "Input should be 'good'"),
        ({"subject": ["air/*"]}, "Extra inputs"),
    ],
)
def test_a_wrong_filter_is_explained(events, sentence):
    with pytest.raises(ValidationError, match=sentence):
        EventsConfig.model_validate(events)


@given(st.from_regex(re.compile(r"[a-z*?/]{1,8}"), fullmatch=True), st.from_regex(r"[a-z]{1,3}(/[a-z]{1,3}){0,2}", fullmatch=True))  # fmt: skip  # noqa: E501 - a pattern and a subject
def test_any_pattern_that_is_taken_can_be_asked(pattern, subject):
    try:
        check_subject(pattern)
    except ValueError:
        return
    assert Selection(subjects=[pattern]).selects(event(subject=subject)) in {True, False}


def test_a_storm_of_subjects_does_not_fill_the_memory():
    wanted = Selection(subjects=["a/*"])
    for n in range(10_000):
        wanted.selects(event(subject=f"a/{n}"))
    assert len(wanted._known) <= 4096


subjects = st.sampled_from(["air/t", "air/h", "door/open"])
offered = st.lists(
    st.tuples(st.sampled_from(["reading", "state", "log.gap"]), subjects, st.sampled_from(["good", "bad"])), max_size=60
)
filters = st.builds(
    Selection,
    types=st.one_of(st.none(), st.lists(st.sampled_from(["reading", "state"]), min_size=1)),
    subjects=st.one_of(st.none(), st.lists(st.sampled_from(["air/*", "*/t", "door/**"]), min_size=1)),
    qualities=st.one_of(st.none(), st.just(["good"])),
)


@settings(max_examples=8, deadline=None)
@given(batches=st.lists(offered, min_size=1, max_size=4), wanted=filters, cut=st.booleans(), crash=st.booleans())
def test_previous_chains_exactly_over_the_selection_whatever_happens_to_the_link(batches, wanted, cut, crash):
    """A cut, a restart or a crash in the middle: each event names the one before it in selection and log."""
    asyncio.run(chained(batches, wanted, cut=cut, crash=crash))


async def chained(batches, wanted, *, cut, crash):
    with tempfile.TemporaryDirectory() as folder:
        clock, path, previous = SystemClock(), Path(folder) / "x.db", {}
        for number, batch in enumerate(batches):
            sink = PlayedSink()
            spine = Spine(await EventLog.open(path, clock), clock, sink, selection=wanted)
            spine.recorder.offer([event(*one) for one in batch])
            await spine.recorder.flush()
            if cut and sink.sessions:
                sink.cut()
            await until(lambda spine=spine: spine.forwarder.cursor.next_offset == spine.log.next_offset)
            for offset, before in sink.previous.items():
                assert previous.setdefault(offset, before) == before, "another chain on resend"
            await (spine.kill() if crash and number % 2 else spine.stop())
        log = await EventLog.open(path, clock)
        selected = [one.offset for one in (await log.read(1, 10_000)).events if wanted.selects(one)]
        await log.close()
        assert previous == dict(zip(selected, [None, *selected], strict=False))


async def test_the_cursor_moves_over_what_is_not_wanted_without_a_send(tmp_path):
    clock, sink = SystemClock(), PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, sink, selection=Selection(["input"]))
    spine.offer(*range(5000))
    await until(lambda: spine.forwarder.cursor.next_offset == 5001)
    assert not sink.arrived
    assert not sink.sessions[0].unsettled_max
    await spine.stop()
    again = PlayedSink()
    spine = Spine(await EventLog.open(tmp_path / "x.db", clock), clock, again, selection=Selection(["input"]))
    assert spine.forwarder.cursor.next_offset == 5001, "the cursor was not kept"
    await spine.stop()


def test_a_sink_shows_only_the_state_that_it_selects_and_knows_of_the_rest():
    latest = Latest(dict)
    latest.configure({"air": ["t", "h"], "door": ["open"]})
    part, heard = Chosen(latest, Selection(subjects=["air/t"], qualities=["good"])), []
    end = part.watch(heard.append)
    latest.apply([event(subject="air/t"), event(subject="air/h"), event("state", "door/open")])
    latest.apply([event("device.unavailable", "air"), event("device.unavailable", "door")])
    assert [(e.subject, e.value) for e in part.values()] == [("air/t", None)], (
        "a bad value is shown: better than a stale one"
    )
    assert list(part.availability()) == [("air", False)]
    assert [e.subject for e in heard] == ["air/t", "air", "air/t"]
    assert set(part.configured()) == {"air", "door"}, "what others show is nobody's to clear"
    end()
    latest.apply([event(subject="air/t")])
    assert len(heard) == 3
