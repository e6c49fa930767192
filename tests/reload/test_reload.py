"""A running gateway takes over a new configuration: real log, real threads, real order."""

import asyncio
import sqlite3
import threading

import pytest

from gateway.errors import ConfigError, ControlError
from gateway.eventlog import Cursor
from gateway.ledger import Ledger
from tests.reload.world import World, committed, kept, logged, lost, until

AIR = "id: air, driver: counter, pin: 1, note: air, channels: {count: {urgent: false}}"
DOOR = "id: door, driver: counter, pin: 17, note: door, channels: {count: {urgent: false}}"
GATE = "id: gate, driver: counter, pin: 27, note: gate, channels: {count: {urgent: false}}"
HOME = "id: home, sink: memory, to: home"
FAR = "id: far, sink: memory, to: far"


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def types(events, subject):
    return [event.type for event in events if event.subject == subject]


async def all_available(gateway):
    await until(lambda: all(state.available for state in gateway.acquirer.states()), "devices answer")


async def test_what_is_the_same_does_not_notice(world):
    world.write(AIR, DOOR, HOME)
    async with world.gateway() as gateway:
        await all_available(gateway)
        await until(lambda: world.bench.sessions, "the sink connects")
        serial = world.bench.serial_of("air")
        forwarder, states = gateway.forwarders["home"], gateway.acquirer.states()
        world.write(DOOR.replace("17", "18"), GATE, AIR, HOME, FAR)  # another order, too
        plan = await gateway.reloads.ask()
        await all_available(gateway)
        assert plan.devices.untouched == ("air",)
        assert plan.sinks.untouched == ("home",)
        assert [state.id for state in gateway.acquirer.states()] == ["door", "gate", "air"]
        assert gateway.acquirer.states()[2].since_ns == states[0].since_ns
        assert gateway.forwarders["home"] is forwarder
        assert [session.ended for session in world.bench.sessions if session.to == "home"] == [""]
        assert world.bench.serial_of("air") == serial, "the same driver object"
        await committed(gateway)
        events = await logged(gateway.log)
    assert types(events, "air") == ["device.available"]
    assert types(events, "door") == ["device.available"] * 2


async def test_nothing_that_a_driver_said_is_lost_on_the_way(world):
    fast = [entry.replace("note", "per_s: 500, note") for entry in (AIR, DOOR, GATE)]
    world.write(*fast, HOME)
    async with world.gateway() as gateway:
        await all_available(gateway)
        for turn in range(8):
            world.write(fast[0], fast[1].replace("17", str(10 + turn)), *(fast[2:] if turn % 2 else ()), HOME)
            await gateway.reloads.ask()
            await all_available(gateway)
    assert lost(world.bench, await kept(world)) == ({}, {})
    assert len(world.bench.emitted) >= 1 + 8 + 4


async def test_pins_may_swap(world):
    world.write(DOOR, GATE)
    async with world.gateway() as gateway:
        await all_available(gateway)
        world.write(DOOR.replace("17", "27"), GATE.replace("27", "17"))
        plan = await gateway.reloads.ask()
        await all_available(gateway)
        await committed(gateway)
        events = await logged(gateway.log)
    assert plan.devices.changed == {"door": ("pin 17 -> 27",), "gate": ("pin 27 -> 17",)}
    assert "device.unavailable" not in {event.type for event in events}
    assert world.bench.held == set()


async def test_a_removed_device_says_goodbye_and_is_present_no_more(world):
    gauge = "id: tank, driver: gauge"
    world.write(AIR, gauge, HOME)
    async with world.gateway() as gateway:
        await until(lambda: len(list(gateway.latest.values())) == 2, "values")
        world.write(AIR, HOME)
        await gateway.reloads.ask()
        await committed(gateway)
        events = await logged(gateway.log)
        assert dict(gateway.latest.availability()) == {"air": True}
        assert list(gateway.latest.values()) == []
        assert [state.id for state in gateway.acquirer.states()] == ["air"]
    (gone,) = [event for event in events if event.type == "device.unavailable"]
    assert (gone.subject, gone.reason) == ("tank", "removed from the configuration")
    loaded = [event for event in events if event.type == "config.loaded"]
    assert gone.offset < loaded[-1].offset
    assert not [event for event in events if event.subject.startswith("tank") and event.offset > gone.offset]


async def test_a_new_configuration_is_an_event_and_a_new_birth(world):
    world.write(AIR, HOME)
    async with world.gateway() as gateway:
        await until(lambda: world.bench.sessions, "the sink connects")
        old = gateway.config.hash
        world.write(AIR, DOOR, GATE, HOME, head="gateway: {id: pi, labels: {site: north}}")
        plan = await gateway.reloads.ask()
        await committed(gateway)
        (session,) = world.bench.sessions
        await until(lambda: len(session.births) > 1 and session.births[-1]["labels"], "a new birth")
        events = await logged(gateway.log)
        assert plan.gateway == ("labels.site nothing -> north",)
        assert session.births[-1]["config"] == gateway.config.hash != old
        assert set(session.births[-1]["devices"]) == {"air", "door", "gate"}
    loaded = [event.data for event in events if event.type == "config.loaded"]
    assert loaded[0] == {"hash": old, "devices": 1, "sinks": 1}
    counts = {"added": 2, "removed": 0, "changed": 0}
    assert loaded[1] == {"hash": gateway.config.hash, "devices": 3, "sinks": 1, "reload": counts}


@pytest.mark.parametrize(
    ("head", "entries", "path"),
    [
        ("gateway: {id: pi}", [AIR, AIR.replace("air", "door")], "devices[1].pin"),
        ("gateway: {id: pi}", [AIR, "id: door, driver: counter, pin: 99"], "devices[1].pin"),
        ("gateway: {id: other}", [AIR, GATE], "gateway.id"),
    ],
)
async def test_a_configuration_with_problems_changes_nothing(world, head, entries, path):
    world.write(AIR, DOOR, HOME)
    async with world.gateway() as gateway:
        await all_available(gateway)
        config, made = gateway.config, dict(world.bench.made)
        world.write(*entries, head=head)
        with pytest.raises(ConfigError) as caught:
            await gateway.reloads.ask()
        assert [problem.path for problem in caught.value.problems] == [path]
        assert gateway.config is config
        assert world.bench.made == made
        assert list(gateway.forwarders) == ["home"]
        await committed(gateway)
        assert [event.type for event in await logged(gateway.log)].count("config.loaded") == 1


async def test_another_log_needs_a_restart(world):
    world.write(AIR)
    async with world.gateway() as gateway:
        world.write(AIR, buffer="commit_within: 1s")
        world.file.write_text(world.file.read_text().replace("events.db", "other.db"))
        with pytest.raises(ConfigError, match=r"buffer\.path: found .*other\.db"):
            await gateway.reloads.ask()
        assert gateway.recorder.commit_within_s == 0.02


async def test_the_other_settings_of_the_buffer_apply_at_once(world):
    world.write(AIR)
    async with world.gateway() as gateway:
        world.write(AIR, buffer="commit_within: 500ms, keep: {for: 1d, size: 2MB}")
        plan = await gateway.reloads.ask()
        assert plan.buffer == ("keep.for 30d -> 1d", "keep.size 512MB -> 2MB", "commit_within 20ms -> 500ms")
        assert gateway.recorder.commit_within_s == 0.5
        assert (await gateway.log.bounds()).bytes_max == 2_000_000


# -- sinks ------------------------------------------------------------------------------------------------------------


async def caught_up(world, gateway, to="far"):
    """The sink has everything up to now."""
    end = gateway.log.next_offset
    await until(lambda: world.bench.arrived.get(to, []) and world.bench.arrived[to][-1].offset >= end - 1, "delivery")


async def test_a_sink_that_returns_goes_on_where_it_was(world):
    world.write(AIR, HOME, FAR)
    async with world.gateway() as gateway:
        await all_available(gateway)
        await until(lambda: len(world.bench.arrived.get("far", [])) > 20, "delivery")
        world.write(AIR, HOME)
        await gateway.reloads.ask()
        assert list(gateway.forwarders) == ["home"]
        before = world.bench.arrived["far"][-1].offset
        await until(lambda: gateway.log.next_offset > before + 30, "events that the sink misses")
        assert gateway.forwarders.protected() == before + 1, "the log keeps what it may come back for"
        world.write(AIR, HOME, FAR)
        await gateway.reloads.ask()
        await caught_up(world, gateway)
        offsets = [event.offset for event in world.bench.arrived["far"]]
    assert offsets == list(range(1, len(offsets) + 1)), "each once, in order"
    assert world.bench.sessions[1].ended == "closed"


async def test_a_changed_sink_goes_on_without_repeats(world):
    world.write(AIR, FAR)
    async with world.gateway() as gateway:
        await until(lambda: len(world.bench.arrived.get("far", [])) > 20, "delivery")
        world.write(AIR, FAR.replace("to: far", "to: near"))
        plan = await gateway.reloads.ask()
        await caught_up(world, gateway, "near")
    assert plan.sinks.changed == {"far": ("to far -> near",)}
    offsets = [event.offset for to in ("far", "near") for event in world.bench.arrived[to]]
    assert offsets == list(range(1, len(offsets) + 1))


async def test_a_new_sink_begins_at_the_end_of_the_log_and_misses_nothing_from_there(world):
    world.write(AIR, HOME)
    async with world.gateway() as gateway:
        await until(lambda: gateway.log.next_offset > 20, "events")
        end = gateway.log.next_offset
        world.write(AIR, HOME, FAR)
        await gateway.reloads.ask()
        await committed(gateway)
        await caught_up(world, gateway)
        offsets = [event.offset for event in world.bench.arrived["far"]]
        loaded = [event.offset for event in await logged(gateway.log) if event.type == "config.loaded"]
    assert end <= offsets[0] <= loaded[-1], "its first events are those of its own reload"
    assert offsets == list(range(offsets[0], offsets[0] + len(offsets)))
    assert world.bench.arrived["home"][0].offset == 1, "in a fresh log that is everything"


async def test_where_a_new_sink_begins_is_committed_with_the_next_event(world):
    """Else a power cut before its first acknowledgement would take from it all that happened meanwhile."""
    world.bench.down = {"home", "far"}
    world.write(AIR, HOME)
    async with world.gateway() as gateway:
        await until(lambda: gateway.log.next_offset > 1, "the first commit")
        assert stored_cursors(world) == {"home": 1}
        world.write(AIR, HOME, FAR)
        await gateway.reloads.ask()
        await committed(gateway)
        begun = gateway.forwarders["far"].cursor.next_offset
        assert stored_cursors(world) == {"home": 1, "far": begun}
        assert begun > 1


def stored_cursors(world):
    raw = sqlite3.connect(world.folder / "events.db")
    found = dict(raw.execute("SELECT name, next_offset FROM cursor"))
    raw.close()
    return found


async def test_a_sink_whose_link_is_down_ends_at_once(world):
    world.bench.down = {"far"}
    world.write(AIR, FAR)
    async with world.gateway() as gateway:
        await until(lambda: gateway.forwarders["far"].delivery.last_error, "the link is down")
        world.write(AIR)
        begun = asyncio.get_running_loop().time()
        await gateway.reloads.ask()
        assert asyncio.get_running_loop().time() - begun < 1.0
        assert gateway.log.cursors["far"] == Cursor(1, None, Ledger(1))
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "deliver far"]


# -- filters ----------------------------------------------------------------------------------------------------------


async def read_across_a_reload(world, before, after):
    """(what was reloaded, all events) of one device that is read more than ten times under each configuration."""
    world.write(before)
    async with world.gateway() as gateway:
        await until(lambda: gateway.acquirer.states()[0].readings > 10, "readings")
        world.write(after)
        plan = await gateway.reloads.ask()
        await until(lambda: gateway.acquirer.states()[0].readings > 10, "readings of the new one")
        await committed(gateway)
        return plan, await logged(gateway.log)


async def test_filters_of_unchanged_channels_go_on(world):
    tank = "id: tank, driver: gauge, channels: {one: {deadband: 1}, two: {deadband: 1}}"
    plan, events = await read_across_a_reload(world, tank, tank.replace("two: {deadband: 1}", "two: {deadband: 2}"))
    assert plan.devices.changed == {"tank": ("channels.two.deadband 1.0 -> 2.0",)}
    assert types(events, "tank/one") == ["reading"], "it has not moved since"
    assert types(events, "tank/two") == ["reading"] * 2


async def test_a_median_does_not_fill_anew(world):
    tank = "id: tank, driver: gauge, channels: {one: {filter: {median: 5}}, two: {}}"
    _, events = await read_across_a_reload(world, tank, tank.replace("two: {}", "two: {urgent: true}"))
    reasons = [event.reason for event in events if event.subject == "tank/one"]
    assert reasons[:4] == ["initial"] * 4
    assert set(reasons[4:]) == {""}


async def test_filters_begin_anew_where_the_source_is_another(world):
    tank = "id: tank, driver: gauge, level: 20.0, channels: {one: {deadband: 1}, two: {deadband: 1}}"
    _, events = await read_across_a_reload(world, tank, tank.replace("20.0", "20.5"))
    assert [event.value for event in events if event.subject == "tank/one"] == [20.0, 20.5]


# -- one at a time ----------------------------------------------------------------------------------------------------


async def test_who_asks_during_a_reload_shares_the_next(world):
    world.write(AIR)
    async with world.gateway() as gateway:
        await all_available(gateway)
        loads = []

        def load():
            loads.append(world.file.read_text())
            return world.load()

        gateway.reloads._load = load
        world.write(AIR, DOOR)
        first = asyncio.ensure_future(gateway.reloads.ask())
        await until(lambda: loads, "the first has read the file")
        world.write(AIR, GATE)
        others = [asyncio.ensure_future(gateway.reloads.ask()) for _ in range(20)]
        plans = await asyncio.gather(first, *others)
        assert len(loads) == 2
        assert plans[0].devices.added == ("door",)
        assert all(plan is plans[1] for plan in plans[1:])
        assert (plans[1].devices.added, plans[1].devices.removed) == (("gate",), ("door",))


async def test_a_client_that_hangs_up_tears_nothing(world):
    world.write(AIR, DOOR)
    async with world.gateway() as gateway:
        await all_available(gateway)
        world.write(AIR, DOOR.replace("17", "18"))
        asking = asyncio.ensure_future(gateway.reloads.ask())
        await until(lambda: gateway.reloads._loading is not None, "it has begun")
        asking.cancel()
        await until(lambda: 18 in world.bench.held, "it ends all the same")
        await all_available(gateway)


async def test_systemd_hears_of_it(world):
    world.write(AIR)
    async with world.gateway() as gateway:
        await gateway.reloads.ask()
        world.file.write_text("nonsense: true")
        with pytest.raises(ConfigError):
            await gateway.reloads.ask()
    assert [state.split("=")[0] for state in world.told] == ["RELOADING", "READY"] * 2
    assert world.told[0].splitlines()[1].startswith("MONOTONIC_USEC=")


async def test_while_the_gateway_stops_it_is_refused(world):
    world.write(AIR)
    async with world.gateway() as gateway:
        pass
    with pytest.raises(ControlError, match="is stopping: nothing was reloaded"):
        await gateway.reloads.ask()


async def test_a_stop_waits_for_no_disk_that_hangs(world):
    world.write(AIR)
    disk = threading.Event()
    async with world.gateway(load=lambda: disk.wait(30) and world.load()) as gateway:
        asking = asyncio.ensure_future(gateway.reloads.ask())
        await until(lambda: gateway.reloads._loading is not None, "it reads")
        begun = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - begun < 2.0
    with pytest.raises(ControlError, match="is stopping"):
        await asking
    disk.set()
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name == "reload"], "its thread ends")


async def test_a_reload_that_is_asked_for_during_the_start_waits_for_its_end(world):
    world.write(AIR)
    gateway = world.gateway()
    world.write(AIR, DOOR)
    asking = gateway.reloads.soon()
    async with gateway:
        plan = await asking
    assert plan.devices.added == ("door",)


async def test_a_device_that_hangs_while_it_closes_holds_up_nobody_for_long(world):
    world.write(AIR, DOOR)
    async with world.gateway() as gateway:
        await all_available(gateway)
        world.bench.hang = threading.Event()
        world.write(AIR, DOOR.replace("17", "18"))
        begun = asyncio.get_running_loop().time()
        await gateway.reloads.ask()
        assert 2.5 < asyncio.get_running_loop().time() - begun < 4.0
        await all_available(gateway)
        assert 18 in world.bench.held
        world.bench.hang.set()
        world.bench.hang = None
        await until(lambda: 17 not in world.bench.held, "the old one ends at last")


async def test_without_a_file_there_is_nothing_to_reload(world):
    world.write(AIR)
    async with world.gateway(load=None) as gateway:
        with pytest.raises(ControlError, match="without a configuration file"):
            await gateway.reloads.ask()


async def test_a_simulation_keeps_its_console(world, capfd):
    world.write(AIR, HOME)
    async with world.gateway(simulate=True) as gateway:
        assert list(gateway.forwarders) == ["console"]
        world.write(AIR, DOOR, FAR)
        plan = await gateway.reloads.ask()
        assert list(gateway.forwarders) == ["console"]
        assert plan.sinks.untouched == ("console",)
    assert "config.loaded" in capfd.readouterr().out
