"""The estimate of `gateway budget`: its arithmetic by hand, and its constants against a log on a real disk."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import riding
from gateway.budget import (
    COMMIT_BYTES,
    CURSOR_ACKS,
    CURSOR_BYTES,
    CURSOR_EVERY_S,
    EVENT_BYTES,
    STORED_COMMIT_BYTES,
    STORED_EVENT_BYTES,
    Assumptions,
    Traffic,
    commits_per_s,
    cost,
    device_rate,
    stored_bytes_per_day,
    wait_s,
    written_bytes,
    written_bytes_per_day,
)
from gateway.clock import NS_PER_S, SystemClock
from gateway.config import parse_config
from gateway.event import Event
from gateway.eventlog import Cursor, EventLog, Riders
from gateway.plugins import Plugins
from gateway.wear import DAY_S, WAIT_S_MAX
from gateway.wearing import written_bytes as counted_bytes

HOURLY = Assumptions(changes_per_hour=36.0)
CARD = 32_000_000_000
SHAPES = {"temperature": "constant: 1", "contact": "constant: true"}


def devices(text, **sections):
    more = "".join(f"{name}: {value}\n" for name, value in sections.items())
    return parse_config(f"devices:\n{text}\n{more}", "gateway.yaml", Plugins())


def signal(channels="", every="10s", quantity="temperature"):
    entry = f"  - {{id: a, driver: signal, every: {every}, signals: {{t: {{quantity: {quantity}, {SHAPES[quantity]}}}}}"
    return f"{entry}{', channels: {t: {' + channels + '}}' if channels else ''}}}"


def rates(text):
    (device,) = devices(text).devices
    return device_rate(device, "quiet", HOURLY), device_rate(device, "busy", HOURLY)


@pytest.mark.parametrize(
    ("entry", "quiet", "busy"),
    [
        (signal(), 0.1, 0.1),
        (signal("deadband: 1"), 1 / 300, 0.1),
        (signal("deadband: 1, heartbeat: 1m"), 1 / 60, 0.1),
        (signal("heartbeat: 1m"), 1 / 60, 0.1),
        (signal("average: 1m"), 1 / 60, 1 / 60),
        (signal("deadband: 1, min_interval: 50s"), 1 / 300, 1 / 50),
        (signal("rate_limit: {events: 2, per: 1m}"), 1 / 30, 1 / 30),
        (signal("deadband: 1, heartbeat: 1m", every="2m"), 1 / 120, 1 / 120),
        (signal(quantity="contact"), 0.0, 0.01),
        (signal("heartbeat: 20s", quantity="contact"), 0.05, 0.05),
        (
            "  - {id: d, driver: button, pin: 17, channels: {click: {rate_limit: {events: 1, per: 5m}}}}",
            0.0,
            0.01 + 1 / 300,
        ),
        ("  - {id: d, driver: button, pin: 17}", 0.0, 0.02),
    ],
)
def test_events_per_second_follow_from_the_yaml(entry, quiet, busy):
    found = rates(entry)
    assert [rate.events for rate in found] == pytest.approx([quiet, busy])


def test_channels_of_one_read_share_a_commit_and_levels_make_their_own():
    load, contact = "{quantity: load, constant: 1}", "{quantity: contact, constant: true}"
    two = f"signals: {{t: {load}, u: {load}, c: {contact}}}"
    _, busy = rates(f"  - {{id: a, driver: signal, every: 10s, {two}}}")
    assert busy == pytest.approx((0.21, 0.1, 0.01))
    _, marked = rates(f"  - {{id: a, driver: signal, every: 10s, {two}, channels: {{t: {{urgent: true}}}}}}")
    assert marked == pytest.approx((0.21, 0.1, 0.1)), "one read, one commit"
    _, storming = rates(signal("urgent: true", every="20ms"))
    assert storming == pytest.approx((50, 50, 0)), "over 20 a second nothing is urgent"


def test_commits_are_bounded_by_reads_and_by_the_time_that_readings_wait():
    assert commits_per_s(Traffic(5, 0.1, 0.0, 1), 1.0) == 0.1
    assert commits_per_s(Traffic(500, 100, 0.0, 1), 2.0) == 0.5
    assert commits_per_s(Traffic(500, 100, 3.0, 1), 2.0) == 3.5


def test_bytes_a_day_by_hand():
    assert written_bytes(10, 200, 3) == 10 * COMMIT_BYTES + 200 * EVENT_BYTES + 3 * CURSOR_BYTES
    alone = written_bytes_per_day(Traffic(1, 1, 0, 0), 1.0)
    assert alone == pytest.approx(86400 * (5450 + 45 + 40))
    assert written_bytes_per_day(Traffic(1, 1, 0, 1), 1.0) == pytest.approx(alone + 86400 / 5 * 1050)
    rare = written_bytes_per_day(Traffic(0.01, 0.01, 0, 1), 1.0)
    assert rare == pytest.approx(864 * (2 * 5450 + 85 + 1050)), "each commit is followed by one for the cursor"
    assert stored_bytes_per_day(Traffic(20, 1, 0, 1), 1.0) == pytest.approx(86400 * (57 + 20 * 23))


def test_cursors_ride_as_the_recorder_lets_them():
    assert (CURSOR_EVERY_S, CURSOR_ACKS) == (riding.CURSOR_AFTER_S, riding.CURSOR_AFTER_ACKS)


def test_a_whole_configuration_by_hand():
    config = devices(signal(every="1s"), buffer="{keep: {size: 100MB, for: 10d}}")
    found = cost(config, "busy", Assumptions(overwrites=100, amplification=5), CARD)
    written, stored = 86400 * 5535.0, 86400 * 80.0
    assert (found.events_per_s, found.commits_per_s, found.commit_within_s, found.met) == (1, 1, 1, True)
    assert (found.written_bytes_per_day, found.stored_bytes_per_day) == pytest.approx((written, stored))
    assert found.outage_s == pytest.approx(0.95 * 100e6 / stored * DAY_S)
    assert found.history_s == 10 * DAY_S
    assert found.card_s == pytest.approx(CARD * 100 / 5 / written * DAY_S)


def test_a_bound_on_the_count_shortens_history_and_not_what_an_outage_may_fill():
    config = devices(signal(every="1s"), buffer="{keep: {count: 86400}}")
    found = cost(config, "busy", HOURLY, CARD)
    assert found.history_s == pytest.approx(DAY_S)
    assert found.outage_s > 30 * DAY_S


def test_nothing_to_record_lasts_for_ever():
    found = cost(parse_config("{}", "gateway.yaml", Plugins()), "busy", HOURLY, CARD)
    assert (found.events_per_s, found.written_bytes_per_day) == (0, 0)
    assert found.outage_s == found.card_s == math.inf
    assert found.history_s == 30 * DAY_S


def test_with_wear_readings_wait_as_long_as_the_limit_wants():
    config = devices(signal(every="1s"), buffer="{wear: 100MB/day}")
    found = cost(config, "busy", HOURLY, CARD)
    assert found.met
    assert 4.5 < found.commit_within_s < 6
    assert found.written_bytes_per_day == pytest.approx(100e6, rel=0.01)
    assert found.written_bytes_per_day <= 100e6
    hopeless = cost(devices(signal("urgent: true", every="1s"), buffer="{wear: 100MB/day}"), "busy", HOURLY, CARD)
    assert (hopeless.met, hopeless.commit_within_s) == (False, WAIT_S_MAX)


@given(
    events=st.floats(0, 1000), share=st.floats(0, 1), urgent=st.floats(0, 100), sinks=st.integers(0, 5),
    configured_s=st.floats(0.01, 60), limit=st.floats(1e7, 1e12),
)  # fmt: skip
def test_the_wait_is_bounded_and_keeps_the_limit_where_it_says_so(events, share, urgent, sinks, configured_s, limit):
    load = Traffic(events + urgent, events * share, urgent, sinks)
    waits_s, met = wait_s(load, configured_s, limit)
    assert configured_s <= waits_s <= WAIT_S_MAX
    assert met == (written_bytes_per_day(load, waits_s) <= limit)


# -- against a real log ---------------------------------------------------------------------------------------------


class Running(SystemClock):
    """A second passes from one commit to the next, without anybody waiting for it."""

    passed_ns = 0

    def wall_ns(self):
        return super().wall_ns() + self.passed_ns

    def mono_ns(self):
        return super().mono_ns() + self.passed_ns


async def filled(folder: Path, per_commit, commits, cursor_every):
    """(bytes written, bytes by which the file grew) of so many commits."""
    clock = Running()
    log = await EventLog.open(folder / f"{per_commit}-{cursor_every}.db", clock)
    try:
        for n in range(-10, commits):
            if n == 0:
                written, size = counted_bytes(), (await log.bounds()).bytes
            clock.passed_ns += NS_PER_S
            wall, mono = clock.wall_ns(), clock.mono_ns()
            batch = [
                Event("reading", f"d0/c{i % 20}", wall - i * 10**7, mono - i * 10**7, math.sin(n + i), "1", "good")
                for i in range(per_commit)
            ]
            cursors = {"home": Cursor(log.next_offset)} if cursor_every and n % cursor_every == 0 else {}
            await log.append(batch, Riders(cursors, ()))
        return counted_bytes() - written, (await log.bounds()).bytes - size
    finally:
        await log.close()


@pytest.mark.parametrize(("per_commit", "commits", "cursor_every"), [(1, 600, 5), (20, 200, 1), (100, 60, 1)])
async def test_the_model_is_what_a_real_log_writes_and_keeps(tmp_path, per_commit, commits, cursor_every):
    written, grown = await filled(tmp_path, per_commit, commits, cursor_every)
    if not written:
        pytest.skip("what is written here does not reach a disk, or nobody counts it")
    events, cursors = commits * per_commit, commits / cursor_every
    assert written_bytes(commits, events, cursors) == pytest.approx(written, rel=0.25)
    assert commits * STORED_COMMIT_BYTES + events * STORED_EVENT_BYTES == pytest.approx(grown, rel=0.35)


def test_more_in_a_commit_is_fewer_bytes_an_event():
    per_event = [written_bytes(1, n) / n for n in (1, 10, 100, 1000)]
    assert all(later < earlier for earlier, later in pairwise(per_event))
