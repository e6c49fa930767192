"""Supervision with real threads: sick, slow, loud and lying drivers beside healthy ones."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from itertools import pairwise

import pytest

from gateway.acquire.worker import READINGS_MAX, Emission
from gateway.clock import NS_PER_S, SystemClock
from gateway.config.model import ChannelConfig
from gateway.driver import Emit
from gateway.errors import DeviceError, PluginError
from gateway.event import Reading
from gateway.supervise import STRIKES_MAX

WARM = [Reading("temperature", 21.5)]


def warm() -> list[Reading]:
    return WARM


class Sick:
    """A `read` that raises while `error` is set."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def __call__(self) -> list[Reading]:
        if self.error:
            raise self.error
        return WARM


class Hanging:
    """A `read` that works until `hang` is set, and returns from a hang when `free` is set."""

    def __init__(self) -> None:
        self.hang, self.free = threading.Event(), threading.Event()

    def __call__(self) -> list[Reading]:
        if self.hang.is_set():
            assert self.free.wait(20)
            return [Reading("temperature", 99.0)]
        return WARM


def device_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("device ")]


# Polled devices


async def test_a_device_is_available_before_its_first_reading_and_is_read_on(kit):
    async with kit.running(kit.device("air", kit.driver_of(warm))) as rig:
        await kit.until(lambda: len(rig.of("air")) >= 4)
    assert rig.types("air")[:3] == ["device.available", "reading", "reading"]
    reading = rig.of("air", "reading")[0]
    assert (reading.subject, reading.value, reading.unit) == ("air/temperature", 21.5, "Cel")
    assert [event.mono for event in rig.of("air")] == sorted(event.mono for event in rig.of("air"))


async def test_open_read_and_close_run_on_one_named_thread_of_the_device(kit):
    bench = kit.bench()
    async with kit.running(kit.device("air", kit.driver_of(warm, bench=bench))):
        await kit.until(lambda: bench.count("read") >= 2)
        assert device_threads() == ["device air"]
    assert {thread for _, _, thread in bench.calls} != {threading.get_ident()}
    assert len({thread for _, _, thread in bench.calls}) == 1
    assert bench.calls[-1][0] == "close"


async def test_an_outage_is_announced_and_logged_once_and_so_is_its_end(kit, caplog):
    caplog.set_level(logging.INFO, "gateway.acquire")
    read = Sick()
    async with kit.running(kit.device("air", kit.driver_of(read))) as rig:
        await kit.until(lambda: rig.of("air", "reading"))
        read.error = OSError(121, "Remote I/O error")
        await kit.until(lambda: rig.acquirer.states()[0].failures >= STRIKES_MAX + 1, "several failures")
        assert rig.acquirer.states()[0].available is False
        assert "Remote I/O error" in rig.acquirer.states()[0].reason
        read.error = None
        await kit.until(lambda: rig.availability("air") == [True, False, True])
    assert "Remote I/O error" in rig.of("air", "device.unavailable")[0].reason
    assert [record.getMessage() for record in caplog.records] == [
        "device air is available",
        "device air is unavailable: [Errno 121] Remote I/O error",
        "device air is available",
    ]


async def test_a_driver_that_failed_too_often_is_closed_and_made_anew(kit):
    bench, read = kit.bench(), Sick(DeviceError("no acknowledge"))
    async with kit.running(kit.device("air", kit.driver_of(read, bench=bench))) as rig:
        await kit.until(lambda: len(bench.made) == 2)
        read.error = None
        await kit.until(lambda: rig.availability("air") == [False, True])
    first = [call for call, driver, _ in bench.calls if driver is bench.made[0]]
    assert first == ["open", *["read"] * STRIKES_MAX, "close"]


@pytest.mark.parametrize("bug", [ZeroDivisionError("division by zero"), SystemExit(1)])
async def test_a_bug_in_a_driver_is_logged_once_per_outage_with_its_traceback(kit, caplog, bug):
    read = Sick(bug)
    async with kit.running(kit.device("air", kit.driver_of(read))) as rig:
        await kit.until(lambda: rig.acquirer.states()[0].failures >= 3)
        read.error = None
        await kit.until(lambda: rig.availability("air") == [False, True])
    assert f"the driver has a bug: {type(bug).__name__}" in rig.of("air", "device.unavailable")[0].reason
    traces = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in traces] == ["device air: driver rig has a bug"]


async def test_a_bug_that_comes_back_is_logged_again(kit, caplog):
    read = Sick()
    async with kit.running(kit.device("air", kit.driver_of(read))) as rig:
        for outage in (1, 2):
            await kit.until(lambda: rig.acquirer.states()[0].available)
            read.error = KeyError("lost")
            await kit.until(lambda: rig.acquirer.states()[0].available is False)
            read.error = None
            await kit.until(lambda outage=outage: rig.availability("air") == [True, *[False, True] * outage])
    assert len([record for record in caplog.records if record.exc_info]) == 2


@pytest.mark.parametrize("junk", [None, [21.5], [Reading(5, 1.0)], [Reading("temperature", 1.0, unit=7)]])
async def test_a_driver_that_returns_junk_is_unavailable_and_harms_nobody(kit, junk):
    sick = kit.device("sick", kit.driver_of(lambda: junk))
    async with kit.running(sick, kit.device("air", kit.driver_of(warm))) as rig:
        await kit.until(lambda: rig.availability("sick") == [False] and len(rig.of("air")) > 3)
    assert "TypeError" in rig.of("sick")[0].reason


async def test_a_read_beyond_the_bound_keeps_the_newest_and_counts_the_rest(kit):
    many = [Reading("click", n) for n in range(READINGS_MAX + 500)]
    async with kit.running(kit.device("air", kit.driver_of(lambda: many), every_s=3600.0)) as rig:
        await kit.until(lambda: rig.of("air", "input"))
    assert [event.value for event in rig.of("air", "input")] == list(range(500, READINGS_MAX + 500))
    assert [event.data for event in rig.of("gateway")] == [{"device": "air", "count": 500}]


async def test_a_missing_package_is_told_in_plain_words(kit, caplog):
    driver = kit.driver_of(warm)

    def create(options):
        raise PluginError("driver rig needs the package smbus3: pip install smbus3")

    driver.create = create
    async with kit.running(kit.device("air", driver)) as rig:
        await kit.until(lambda: rig.of("air"))
    assert rig.of("air")[0].reason == "driver rig needs the package smbus3: pip install smbus3"
    assert not any(record.exc_info for record in caplog.records)


async def test_a_hung_read_disturbs_nobody_and_its_late_result_is_thrown_away(kit):
    bench, read = kit.bench(), Hanging()
    sick = kit.device("sick", kit.driver_of(read, bench=bench), timeout_s=0.2)
    async with kit.running(sick, kit.device("air", kit.driver_of(warm))) as rig:
        await kit.until(lambda: rig.of("sick", "reading"))
        read.hang.set()
        await kit.until(lambda: rig.availability("sick") == [True, False])
        assert rig.of("sick")[-1].reason == "no answer for 0.2 s"
        asked, healthy = bench.count("read"), len(rig.of("air"))
        await kit.until(lambda: len(rig.of("air")) > healthy + 10, "its neighbour goes on")
        assert bench.count("read") == asked, "the hung thread is not entered"
        read.hang.clear()
        read.free.set()
        await kit.until(lambda: rig.availability("sick") == [True, False, True])
    assert 99.0 not in [event.value for event in rig.events]
    assert len(bench.made) == 2
    assert len({thread for _, _, thread in bench.calls}) == 1
    first = [call for call, driver, _ in bench.calls if driver is bench.made[0]]
    assert first[-2:] == ["read", "close"], "closed by its own thread, and not read again"


async def test_a_hung_read_that_ends_in_an_error_is_one_failure(kit):
    hang, free, bench = threading.Event(), threading.Event(), kit.bench()

    def read():
        if hang.is_set():
            assert free.wait(20)
            hang.clear()
            raise OSError("timed out at last")
        return WARM

    async with kit.running(kit.device("air", kit.driver_of(read, bench=bench), timeout_s=0.1)) as rig:
        await kit.until(lambda: rig.of("air", "reading"))
        hang.set()
        await kit.until(lambda: rig.availability("air") == [True, False])
        free.set()
        await kit.until(lambda: rig.availability("air") == [True, False, True])
        assert rig.acquirer.states()[0].failures == 1
    assert len(bench.made) == 2


async def test_the_first_value_after_an_outage_is_recorded_despite_the_deadband(kit):
    read = Sick()
    air = kit.device("air", kit.driver_of(read), temperature=ChannelConfig(deadband=5.0))
    async with kit.running(air) as rig:
        await kit.until(lambda: rig.acquirer.states()[0].readings >= 5)
        assert len(rig.of("air", "reading")) == 1
        read.error = OSError("gone")
        await kit.until(lambda: rig.availability("air") == [True, False])
        read.error = None
        await kit.until(lambda: rig.availability("air") == [True, False, True])
    assert len(rig.of("air", "reading")) == 2


async def test_a_channel_that_was_not_declared_is_left_out_and_said_once(kit, caplog):
    async with kit.running(kit.device("air", kit.driver_of(lambda: [Reading("fog", 1.0), *WARM]))) as rig:
        await kit.until(lambda: len(rig.of("air", "reading")) >= 3)
    assert {event.subject for event in rig.of("air", "reading")} == {"air/temperature"}
    assert len([record for record in caplog.records if "'fog'" in record.getMessage()]) == 1


async def test_a_step_of_the_wall_clock_does_not_disturb_the_schedule(kit):
    class Stepping(SystemClock):
        step_ns = 0

        def wall_ns(self) -> int:
            return super().wall_ns() + self.step_ns

    clock = Stepping()
    async with kit.running(kit.device("air", kit.driver_of(warm)), clock=clock) as rig:
        for step_s in (3600, -7200, 50 * 365 * 86400):
            before = len(rig.of("air", "reading"))
            clock.step_ns += step_s * NS_PER_S
            await kit.until(lambda before=before: len(rig.of("air", "reading")) > before + 5)
    assert rig.availability("air") == [True]
    gaps_ns = [after.mono - before.mono for before, after in pairwise(rig.of("air", "reading"))]
    assert max(gaps_ns) < 1 * NS_PER_S
    assert len(gaps_ns) < 200, "and nothing is read in a rush"


# Devices that push


async def test_a_pushing_device_is_available_before_the_level_it_reports_on_open(kit):
    door = kit.device("door", kit.driver_of(push=lambda emit: emit([Reading("open", True)])))
    async with kit.running(door) as rig:
        await kit.until(lambda: len(rig.of("door")) >= 2)
    assert rig.types("door") == ["device.available", "state"]
    assert rig.of("door")[1].urgent


async def test_readings_from_four_threads_all_arrive_in_the_order_of_each_thread(kit):
    def burst(emit):
        def speak(number):
            for n in range(200):
                emit([Reading("click", f"{number}:{n}")])

        threads = [threading.Thread(target=speak, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    async with kit.running(kit.device("keys", kit.driver_of(push=burst))) as rig:
        await kit.until(lambda: len(rig.of("keys", "input")) == 800)
    said = [event.value for event in rig.of("keys", "input")]
    for number in range(4):
        assert [v for v in said if v.startswith(f"{number}:")] == [f"{number}:{n}" for n in range(200)]


async def test_a_reading_bears_the_instant_it_was_emitted_not_the_one_it_was_heard(kit):
    emits, clock = [], SystemClock()
    async with kit.running(kit.device("keys", kit.driver_of(push=emits.append)), clock=clock) as rig:
        await kit.until(lambda: rig.availability("keys") == [True])
        emits[0]([Reading("click", "a")])
        emitted_ns = clock.mono_ns()
        while clock.mono_ns() < emitted_ns + 20_000_000:
            pass  # the loop is busy
        await kit.until(lambda: rig.of("keys", "input"))
    (event,) = rig.of("keys", "input")
    assert event.mono <= emitted_ns
    assert abs(event.time - clock.wall_ns() + clock.mono_ns() - event.mono) < 10_000_000


async def test_a_burst_beyond_the_bound_drops_the_oldest_and_counts_them_exactly(kit):
    emits = []
    async with kit.running(kit.device("keys", kit.driver_of(push=emits.append))) as rig:
        await kit.until(lambda: rig.availability("keys") == [True])
        emits[0]([Reading("click", n) for n in range(READINGS_MAX - 100)])  # the loop does not run in between
        for n in range(READINGS_MAX - 100, READINGS_MAX + 250):
            emits[0]([Reading("click", n)])
        await kit.until(lambda: len(rig.of("keys", "input")) == READINGS_MAX)
        emits[0]([Reading("click", n) for n in range(2 * READINGS_MAX)])
        await kit.until(lambda: len(rig.of("keys", "input")) == 2 * READINGS_MAX)
        assert len(rig.of("gateway")) == 1, "said at most every 10 s"
    assert [event.value for event in rig.of("keys", "input")][:READINGS_MAX] == list(range(250, READINGS_MAX + 250))
    gaps = rig.of("gateway")
    assert [(gap.type, gap.reason, gap.data) for gap in gaps] == [
        ("log.gap", "overload", {"device": "keys", "count": 250}),
        ("log.gap", "overload", {"device": "keys", "count": READINGS_MAX}),
    ]
    order = [event.type for event in rig.events]
    assert order.index("log.gap") < order.index("input"), "the gap stands where the lost readings would"


async def test_what_is_dropped_after_a_gap_was_told_is_told_when_it_is_time(kit, monkeypatch):
    monkeypatch.setattr("gateway.supervise.GAP_NS_MIN", NS_PER_S // 20)
    emits = []
    async with kit.running(kit.device("keys", kit.driver_of(push=emits.append))) as rig:
        await kit.until(lambda: rig.availability("keys") == [True])
        for dropped in (1, 2):
            emits[0]([Reading("click", n) for n in range(READINGS_MAX + dropped)])
            await kit.until(lambda dropped=dropped: len(rig.of("keys", "input")) == dropped * READINGS_MAX)
        await kit.until(lambda: [gap.data["count"] for gap in rig.of("gateway")] == [1, 2])


async def test_many_emissions_of_many_devices_wake_the_loop_once(kit, monkeypatch):
    emits = []
    devices = [kit.device(f"keys{n}", kit.driver_of(push=emits.append)) for n in range(10)]
    async with kit.running(*devices) as rig:
        await kit.until(lambda: all(state.available for state in rig.acquirer.states()))
        wakes, loop = [], asyncio.get_running_loop()
        wake = loop.call_soon_threadsafe
        monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: (wakes.append(args), wake(*args))[1])
        for n in range(50):
            for emit in emits:
                emit([Reading("click", n)])
        await kit.until(lambda: len([event for event in rig.events if event.type == "input"]) == 500)
        assert len(wakes) == 1
        assert len(rig.batches[-1]) == 500


def test_an_emission_asks_to_be_taken_once_and_again_when_it_was():
    wakes = []
    emission = Emission(SystemClock(), wake=lambda: wakes.append(1), broken=wakes.append)
    for _ in range(3):
        emission([Reading("click", 1)])
    assert len(wakes) == 1
    assert len(emission.take()[0]) == 3
    emission([Reading("click", 1)])
    emission([])
    assert len(wakes) == 2


async def test_what_is_emitted_after_close_is_not_heard(kit):
    emits = []
    async with kit.running(kit.device("keys", kit.driver_of(push=emits.append))) as rig:
        await kit.until(lambda: rig.availability("keys") == [True])
        emits[0]([Reading("click", "before")])
    emits[0]([Reading("click", "after")])
    emits[0](None)
    await asyncio.sleep(0)
    assert [event.value for event in rig.of("keys", "input")] == ["before"]


async def test_what_was_emitted_up_to_close_is_recorded(kit):
    emits = []
    keys = kit.driver_of(push=emits.append, close=lambda: emits[0]([Reading("click", "last")]))
    async with kit.running(kit.device("keys", keys)) as rig:
        await kit.until(lambda: rig.availability("keys") == [True])
        emits[0]([Reading("click", "first")])
    assert [event.value for event in rig.of("keys", "input")] == ["first", "last"]


async def test_emit_does_not_raise_and_a_driver_that_emits_junk_is_replaced(kit):
    emits, bench = [], kit.bench()
    async with kit.running(kit.device("keys", kit.driver_of(push=emits.append, bench=bench))) as rig:
        await kit.until(lambda: rig.availability("keys") == [True])
        emits[0]([Reading("click", "good")])
        for _ in range(1000):
            emits[0](Reading("click", "not in a sequence"))
        await kit.until(lambda: rig.availability("keys") == [True, False, True])
        emits[1]([Reading("click", "anew")])
        await kit.until(lambda: len(rig.of("keys", "input")) == 2)
        assert rig.acquirer.states()[0].failures == 1
    assert [event.value for event in rig.of("keys", "input")] == ["good", "anew"]
    assert rig.types("keys")[:3] == ["device.available", "input", "device.unavailable"]


async def test_an_open_that_hangs_is_told_and_what_it_emits_is_not_heard(kit):
    free, emits = threading.Event(), []

    def push(emit):
        emits.append(emit)
        emit([Reading("open", len(emits) > 1)])
        if len(emits) == 1:
            assert free.wait(20)

    async with kit.running(kit.device("door", kit.driver_of(push=push), timeout_s=0.1)) as rig:
        await kit.until(lambda: rig.availability("door") == [False])
        emits[0]([Reading("open", False)])
        free.set()
        await kit.until(lambda: rig.of("door", "state"))
    assert rig.types("door") == ["device.unavailable", "device.available", "state"]
    assert rig.of("door", "state")[0].value is True


async def test_what_a_hung_device_says_is_not_recorded_at_the_end_either(kit):
    free, emits = threading.Event(), []

    def push(emit):
        emits.append(emit)
        assert free.wait(20)

    async with kit.running(kit.device("door", kit.driver_of(push=push), timeout_s=0.1)) as rig:
        await kit.until(lambda: rig.availability("door") == [False])
        await rig.acquirer.stop(1.0)
        emits[0]([Reading("open", False)])
        free.set()
        await kit.until_gone("device ")
    assert rig.types("door") == ["device.unavailable"]


async def test_a_level_is_recorded_anew_when_its_heartbeat_is_over(kit):
    door = kit.driver_of(push=lambda emit: emit([Reading("open", True)]))
    async with kit.running(kit.device("door", door, open=ChannelConfig(heartbeat_s="50ms"))) as rig:
        await kit.until(lambda: len(rig.of("door", "state")) >= 3)
    assert {event.value for event in rig.of("door", "state")} == {True}
    assert rig.acquirer.states()[0].readings == 1


async def test_a_change_that_came_too_soon_is_recorded_when_its_time_has_come(kit):
    door = kit.driver_of(push=lambda emit: [emit([Reading("open", level)]) for level in (True, False, True, False)])
    async with kit.running(kit.device("door", door, open=ChannelConfig(min_interval_s="100ms"))) as rig:
        await kit.until(lambda: len(rig.of("door", "state")) == 2)
    assert [event.value for event in rig.of("door", "state")] == [True, False]


async def test_occurrences_beyond_their_rate_are_counted_in_a_gap(kit):
    keys = kit.driver_of(push=lambda emit: emit([Reading("click", number) for number in range(7)]))
    limit = ChannelConfig(rate_limit={"events": 2, "per": "1h"})
    async with kit.running(kit.device("keys", keys, click=limit)) as rig:
        await kit.until(lambda: any(event.type == "log.gap" for event in rig.events))
    assert [event.value for event in rig.of("keys", "input")] == [0, 1]
    (gap,) = [event for event in rig.events if event.type == "log.gap"]
    assert gap.data == {"device": "keys", "count": 5}


async def test_who_asks_is_answered_at_once_though_the_record_is_an_average(kit):
    air = kit.device("air", kit.driver_of(warm), temperature=ChannelConfig(average_s="1h", spike={"jump": 1}))
    async with kit.running(air) as rig:
        await kit.until(lambda: rig.acquirer.states()[0].readings)
        ((_, event),) = await rig.acquirer.read_once("air", 5.0)
    assert (event.value, event.quality) == (WARM[0].value, "good")
    assert rig.of("air", "reading") == []


# Simulation


async def test_simulated_devices_follow_their_signals_and_rest_where_none_is_given(kit):
    bench = kit.bench()
    air = kit.device("air", kit.driver_of(warm, bench=bench), simulate={"temperature": lambda s: 100.0 + s})
    real = kit.device("real", kit.driver_of(warm))
    async with kit.running(air, real, simulate=True) as rig:
        await kit.until(lambda: rig.of("air", "reading") and rig.of("real", "reading"))
        assert [state.simulated for state in rig.acquirer.states()] == [True, False]
    (world,) = bench.worlds
    assert world.signals["temperature"](5.0) == 105.0
    assert world.signals["open"](5.0) is False
    assert 0 <= world.now_s() < 60
    assert all(event.simulated for event in rig.of("air"))
    assert not any(event.simulated for event in rig.of("real"))


async def test_a_device_without_hardware_is_always_simulated(kit):
    bench = kit.bench()
    signal = kit.device("signal", kit.driver_of(warm, bench=bench, is_synthetic=True))
    async with kit.running(signal) as rig:
        await kit.until(lambda: rig.of("signal", "reading"))
    assert bench.worlds
    assert rig.of("signal")[-1].simulated


async def test_signals_are_ignored_without_simulation(kit):
    bench = kit.bench()
    air = kit.device("air", kit.driver_of(warm, bench=bench), simulate={"temperature": lambda s: s})
    async with kit.running(air) as rig:
        await kit.until(lambda: rig.of("air", "reading"))
    assert bench.worlds == []
    assert not rig.of("air")[-1].simulated


# Questions


async def test_a_question_gets_raw_and_normalised_readings_and_records_nothing(kit):
    bench = kit.bench()
    read = [Reading("temperature", 68.0, "degF"), Reading("fog", 1.0)]
    slow = kit.device("air", kit.driver_of(lambda: read, bench=bench), every_s=3600.0)
    async with kit.running(slow) as rig:
        await kit.until(lambda: rig.of("air", "reading"))
        recorded = len(rig.events)
        answer = await rig.acquirer.read_once("air", 5.0)
        assert bench.count("read") == 2
        assert len(rig.events) == recorded
    (raw, event), (_, nothing) = answer
    assert (raw.value, raw.unit, event.value, event.unit) == (68.0, "degF", pytest.approx(20.0), "Cel")
    assert nothing is None


async def test_a_question_at_once_after_the_start_waits_for_the_first_read(kit):
    async with kit.running(kit.device("air", kit.driver_of(warm))) as rig:
        ((_, event),) = await rig.acquirer.read_once("air", 5.0)
    assert event.value == 21.5


async def test_many_questions_at_once_are_all_answered(kit):
    async with kit.running(kit.device("air", kit.driver_of(warm), every_s=3600.0)) as rig:
        answers = await asyncio.gather(*(rig.acquirer.read_once("air", 5.0) for _ in range(20)))
    assert len(answers) == 20


async def test_a_question_to_a_pushing_device_gets_the_level_known_since_open(kit):
    door = kit.device("door", kit.driver_of(push=lambda emit: emit([Reading("open", True)])))
    async with kit.running(door) as rig:
        await kit.until(lambda: rig.of("door", "state"))
        ((raw, event),) = await rig.acquirer.read_once("door", 5.0)
    assert (raw.value, event.subject, event.mono) == (True, "door/open", rig.of("door", "state")[0].mono)


async def test_a_question_to_a_device_without_levels_gets_what_it_says_next(kit):
    emits = []
    async with kit.running(kit.device("keys", kit.driver_of(push=emits.append))) as rig:
        await kit.until(lambda: rig.availability("keys") == [True])
        asking = asyncio.create_task(rig.acquirer.read_once("keys", 5.0))
        await asyncio.sleep(0)
        emits[0]([Reading("click", "a")])
        ((raw, _),) = await asking
    assert raw.value == "a"


async def test_a_level_from_before_an_outage_answers_no_question(kit):
    emits = []
    async with kit.running(kit.device("door", kit.driver_of(push=emits.append))) as rig:
        await kit.until(lambda: rig.availability("door") == [True])
        emits[0]([Reading("open", True)])
        emits[0]("junk")
        await kit.until(lambda: rig.availability("door") == [True, False, True])
        with pytest.raises(DeviceError, match="said nothing"):
            await rig.acquirer.read_once("door", 0.02)


async def test_questions_that_cannot_be_answered_end_in_a_sentence(kit):
    read, hang = Sick(DeviceError("no acknowledge on 0x76")), Hanging()
    hang.hang.set()
    devices = (
        kit.device("air", kit.driver_of(read)),
        kit.device("keys", kit.driver_of(push=lambda emit: None)),
        kit.device("sick", kit.driver_of(hang), timeout_s=0.1),
    )
    async with kit.running(*devices) as rig:
        await kit.until(lambda: len(rig.of("sick")) == len(rig.of("air")) == 1)
        with pytest.raises(DeviceError, match="no device 'fog': expected one of air, keys, sick"):
            await rig.acquirer.read_once("fog", 1.0)
        with pytest.raises(DeviceError, match=r"device keys said nothing within 0\.05 s"):
            await rig.acquirer.read_once("keys", 0.05)
        with pytest.raises(DeviceError, match=r"device sick is unavailable: no answer for 0\.1 s"):
            await rig.acquirer.read_once("sick", 1.0)
        with pytest.raises(DeviceError, match="no acknowledge on 0x76"):
            await rig.acquirer.read_once("air", 1.0)
        hang.free.set()


# The end


async def test_stop_leaves_no_thread_no_task_and_no_timer(kit):
    devices = [kit.device(f"air{n}", kit.driver_of(warm)) for n in range(20)]
    tasks = asyncio.all_tasks()
    async with kit.running(*devices, kit.device("keys", kit.driver_of(push=lambda emit: None))) as rig:
        await kit.until(lambda: all(state.available for state in rig.acquirer.states()))
    await kit.until_gone("device ")
    recorded = len(rig.events)
    assert asyncio.all_tasks() == tasks
    timers = [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]
    assert not [handle for handle in timers if "Device" in repr(handle)]
    assert len(rig.events) == recorded
    with pytest.raises(DeviceError, match="device keys is stopped"):
        await rig.acquirer.read_once("keys", 1.0)


async def test_stop_closes_all_devices_side_by_side(kit):
    together = threading.Barrier(8)
    devices = [kit.device(f"air{n}", kit.driver_of(warm, close=lambda: together.wait(5) and None)) for n in range(8)]
    async with kit.running(*devices, stop_within_s=5.0) as rig:
        await kit.until(lambda: all(state.available for state in rig.acquirer.states()))
    assert not together.broken


async def test_stop_waits_for_no_hung_read(kit):
    read = Hanging()
    read.hang.set()
    clock = SystemClock()
    async with kit.running(kit.device("sick", kit.driver_of(read), timeout_s=0.05), stop_within_s=60.0) as rig:
        await kit.until(lambda: rig.availability("sick") == [False])
        began_ns = clock.mono_ns()
    assert clock.mono_ns() - began_ns < 1 * NS_PER_S
    read.free.set()
    await kit.until_gone("device ")  # it closes and ends when it returns


async def test_stop_waits_for_a_slow_close_no_longer_than_it_may(kit):
    free, clock = threading.Event(), SystemClock()
    async with kit.running(
        kit.device("air", kit.driver_of(warm, close=lambda: free.wait(20))), stop_within_s=0.1
    ) as rig:
        await kit.until(lambda: rig.availability("air") == [True])
        began_ns = clock.mono_ns()
    assert 0.1 <= (clock.mono_ns() - began_ns) / NS_PER_S < 2
    free.set()
    await kit.until_gone("device ")


def test_a_read_that_outlives_the_loop_ends_quietly(kit):
    read, unraised = Hanging(), []
    read.hang.set()

    async def live():
        async with kit.running(kit.device("sick", kit.driver_of(read), timeout_s=0.05)) as rig:
            await kit.until(lambda: rig.availability("sick") == [False])

    hook, threading.excepthook = threading.excepthook, unraised.append
    try:
        asyncio.run(live())
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "device sick"]
        read.free.set()
        thread.join(5)
        assert not thread.is_alive()
    finally:
        threading.excepthook = hook
    assert unraised == []


# All together


async def test_sick_devices_do_not_delay_the_healthy_ones(kit, capsys):
    free = threading.Event()
    hanging = [kit.device(f"hung{n}", kit.driver_of(lambda: free.wait(20) and WARM), 0.2, 0.5) for n in range(5)]
    raising = [kit.device(f"bad{n}", kit.driver_of(Sick(OSError("gone"))), 0.2, 0.5) for n in range(5)]
    healthy = [kit.device(f"air{n}", kit.driver_of(warm), 0.2) for n in range(90)]
    async with kit.running(*hanging, *healthy, *raising) as rig:
        await kit.until(lambda: len(rig.acquirer.latenesses_ns()) == 1000, within_s=20)
        states = rig.acquirer.states()
        free.set()
    late_ms = sorted(late_ns / 1e6 for late_ns in rig.acquirer.latenesses_ns())
    with capsys.disabled():
        sys.stdout.write(f"\n100 devices every 200 ms, 5 hang, 5 raise: late p50 {late_ms[499]:.1f} ms, ")
        sys.stdout.write(f"p99 {late_ms[989]:.1f} ms, most {late_ms[-1]:.1f} ms\n")
    assert late_ms[989] < 1000, "a device that waited for a sick one would wait for ever"
    assert [state.available for state in states] == [False] * 5 + [True] * 90 + [False] * 5
    assert all(rig.availability(state.id) == [state.available] for state in states)


async def test_what_a_device_says_until_it_is_closed_is_recorded(kit) -> None:
    emits: list[Emit] = []
    driver = kit.driver_of(push=emits.append, close=lambda: emits[0]([Reading("click", 7)]))
    async with kit.running(kit.device("keys", driver)) as rig:
        await kit.until(lambda: rig.acquirer.states()[0].available)
    assert [event.value for event in rig.of("keys", "input")] == [7]


async def test_what_a_device_says_after_nobody_waited_any_longer_is_not(kit) -> None:
    """Another device may have its name by then."""
    emits: list[Emit] = []
    release = threading.Event()
    driver = kit.driver_of(push=emits.append, close=lambda: release.wait(5) and emits[0]([Reading("click", 8)]))
    async with kit.running(kit.device("keys", driver), stop_within_s=0.05) as rig:
        await kit.until(lambda: rig.acquirer.states()[0].available)
    release.set()
    await kit.until_gone("device keys")
    assert rig.of("keys", "input") == []
