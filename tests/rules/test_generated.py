"""Any rules, any stream: a snapshot in the midst, a re-reading, and other batches change nothing of what is derived."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.event import Event
from gateway.rules.engine import Engine
from gateway.rules.operators import OPERATORS
from tests.rules import generated
from tests.rules.kit import Log, event, ns, rule

values = st.one_of(st.integers(0, 9), st.integers(0, 9).map(float), st.none())
happenings = st.lists(
    st.tuples(
        st.sampled_from(generated.SUBJECTS),
        values,
        st.sampled_from([0, 0, 1, 50, 200, 300, 700, 1000, 2500, 9000]),  # ms since the one before
        st.sampled_from(["good", "good", "uncertain"]),
        st.sampled_from([None, "red", "blue"]),
        st.sampled_from([0, 0, 0, 3, 400]),  # ms late
    ),
    max_size=60,
)  # fmt: skip
some = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def events(stream):
    """The events of a stream, and the boot time at which each was taken in."""
    at, told = ns(1_000), []
    for subject, value, pause_ms, quality, tag, late_ms in stream:
        at += pause_ms * 1_000_000
        mono, data = at - late_ms * 1_000_000, {} if tag is None else {"tag": tag}
        told.append((Event("reading", subject, mono, mono, value, None, quality if value is not None else "bad",
                           data=data), at))  # fmt: skip
    return told


def again(packed):
    return msgspec.msgpack.decode(msgspec.msgpack.encode(packed))


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_any_prefix_and_snapshot_and_restore_and_suffix_equals_the_whole(operator):
    @some
    @given(generated.rules(operator), happenings, st.data())
    def check(rules, stream, data):
        subjects = [("reading", subject) for subject in generated.SUBJECTS]
        whole, parts = Engine(rules, subjects), Engine(rules, subjects)
        for engine in (whole, parts):
            engine.begin_all(ns(999))
        stops = data.draw(st.sets(st.integers(0, len(stream)), max_size=3))
        for place, (one, at) in enumerate(events(stream)):
            if place in stops:
                kept = again(parts.snapshot())
                parts = Engine(rules, subjects)
                parts.restore(kept)
                parts.context.number = whole.context.number  # where the log goes on is not the engine's to know
            judged = max(one.mono, whole.now)
            assert parts.feed(one, judged) == whole.feed(one, judged)
            assert parts.advance(at) == whole.advance(at)
        assert parts.advance(ns(2_000)) == whole.advance(ns(2_000))

    check()


@pytest.mark.parametrize("operator", sorted(OPERATORS))
def test_any_log_with_checkpoints_restarts_and_kills_reads_as_it_was_written(operator):
    @some
    @given(generated.rules(operator), happenings, st.data())
    def check(rules, stream, data):
        undisturbed, log = Log(rules), Log(rules)
        for each in (undisturbed, log):
            each.open(ns(999), ns(999))
        stops = data.draw(st.sets(st.integers(0, len(stream)), max_size=3))
        for place, (one, at) in enumerate(events(stream)):
            if place in stops:
                checkpoint, after = log.detector.checkpoint(), len(log.records)
                assert log.reread(*data.draw(st.sampled_from([(), (checkpoint, after)]))).finish() == []
            undisturbed.record([one])
            before = len(log.records)
            log.record([one])
            if place in stops:  # the end of this batch is lost, and derived again
                whole = log.records[before:]
                del log.records[before + data.draw(st.integers(1, len(whole))) :]
                if one in map(bare, log.records[before:]):
                    fold = log.reread()
                    log.detector.begin_run(log.run, log.next_offset)
                    log._append(fold.finish())
                    assert fold.named == []
                else:  # with the event itself, which comes once more
                    assert log.reread().finish() == []
                    log.detector.begin_run(log.run, log.next_offset)
                    log.record([one])
            for each in (undisturbed, log):
                each.tick(at)
            assert log.records == undisturbed.records
        assert log.reread().named == []

    check()


def bare(recorded):
    return msgspec.structs.replace(recorded, offset=0, recorded=0, run="", boot="")


def test_a_snapshot_between_two_events_of_one_instant_doubles_no_rulekey():
    rules = [rule("r", event={"channel": "a/x"})]
    engine = Engine(rules)
    engine.begin_all()
    (first,) = engine.feed(event("a/x", 1, 5), ns(5))
    after = Engine(rules)
    after.restore(again(engine.snapshot()))
    (second,) = after.feed(event("a/x", 1, 5), ns(5))
    assert first.data["rulekey"] != second.data["rulekey"]
