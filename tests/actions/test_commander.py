"""Outputs are told at most once, or follow their rule: kills at the worst moment, lateness, returns, keys."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from gateway.eventlog import Cursor
from tests.actions.conftest import World

NAME = "rule/hot/do/output"
ON = {"output": "fan", "set": "on"}


async def test_a_rule_tells_an_output_with_the_event_as_cause(world, eventually) -> None:
    await world.have({"do": [{"output": "lamp", "set": "30 %", "for": "2m"}], "on_cleared": [ON]})
    (event,) = await world.speak("raised")
    await eventually(lambda: world.devices.told)
    assert world.devices.told == [("lamp", "duty", 0.3, 120.0, event.id)]
    (cleared,) = await world.speak("cleared")
    await eventually(lambda: len(world.devices.told) == 2)
    assert world.devices.told[1] == ("fan", "on", True, None, cleared.id)


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ({"output": "fan", "toggle": True}, ("toggle", None)),
        ({"output": "fan", "pulse": "500ms"}, (True, 0.5)),
        ({"output": "fan/on", "set": "off"}, (False, None)),
    ],
)
async def test_what_it_is_told(world, eventually, action, told) -> None:
    await world.have({"do": [action]})
    await world.speak("matched")
    await eventually(lambda: world.devices.told)
    assert world.devices.told[0][2:4] == told


async def test_commands_come_in_the_order_of_the_log(world, eventually) -> None:
    await world.have({"do": [ON]})
    events = await world.speak(*["matched"] * 20)
    await eventually(lambda: len(world.devices.told) == 20)
    assert [told[4] for told in world.devices.told] == [event.id for event in events]


async def test_the_cursor_is_on_the_disk_before_the_output_is_told(world, eventually) -> None:
    seen: list[Cursor | None] = []
    world.devices.before = lambda: seen.append(world.log.cursors.get(NAME))
    await world.have({"do": [ON]})
    (event,) = await world.speak("raised")
    await eventually(lambda: world.devices.told)
    assert seen == [Cursor(event.offset + 1, event.offset)]


async def test_a_kill_between_cursor_and_act_loses_the_command_and_repeats_none(world, eventually) -> None:
    reached = asyncio.Event()

    async def never(*_: object, **__: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    world.devices.command = never  # type: ignore[method-assign]
    await world.kill()
    await world.open()
    await world.have({"do": [ON]})
    await world.speak("raised")
    await reached.wait()
    await world.kill()
    del world.devices.command
    await world.open()
    (later,) = await world.speak("raised")
    await eventually(lambda: world.devices.told)
    assert [told[4] for told in world.devices.told] == [later.id]


async def test_a_kill_before_the_cursor_moved_leaves_the_command_to_the_next_start(world, eventually) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    world.recorder.keep = never
    await world.have({"do": [ON]})
    (event,) = await world.speak("raised")
    await world.kill()
    await world.open()
    await eventually(lambda: world.devices.told)
    assert [told[4] for told in world.devices.told] == [event.id]


PROGRAM = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.clock import SystemClock
from tests.actions.conftest import World
from tests.spine.conftest import until

folder, moment = Path(sys.argv[1]), sys.argv[2]

def told(*_, **__):
    with (folder / "told").open("a") as file:
        file.write("told\\n")
        file.flush()
        os.fsync(file.fileno())

async def main():
    world = World(folder / "events.db", SystemClock())
    await world.open()
    async def command(*_, **__):
        if moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        told()
        if moment == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return True
    world.devices.command = command
    await world.stop()
    await world.open()
    await world.have({"do": [{"output": "fan", "set": "on", "max_age": "1m"}]})
    if moment != "restart":
        await world.speak("raised")
    if moment == "restart":  # everything in the log is behind the action, and was not acted upon
        await until(lambda: all(c.cursor.next_offset >= world.log.next_offset for c in world.actions.values()))
        await world.stop()
    else:
        await asyncio.Event().wait()  # for the kill

asyncio.run(main())
"""


@pytest.mark.parametrize(("moment", "count"), [("before", 0), ("after", 1)])
def test_kill_9_of_a_real_process_at_the_act_never_acts_twice(tmp_path: Path, moment: str, count: int) -> None:
    root = Path(__file__).parents[2]

    def run(when: str) -> int:
        command = [sys.executable, "-c", dedent(PROGRAM), str(tmp_path), when]
        return subprocess.run(command, cwd=root, timeout=60, stdin=subprocess.DEVNULL).returncode

    assert run(moment) == -9
    assert run("restart") == 0
    told = tmp_path / "told"
    assert (told.read_text().count("told") if told.exists() else 0) == count


async def test_what_is_older_than_max_age_is_not_done_and_said(world, eventually) -> None:
    await world.have({"do": [{**ON, "max_age": "2s"}]})
    (old,) = await world.speak("raised", age_s=3)
    (new,) = await world.speak("raised", age_s=1)
    await eventually(lambda: world.devices.told and world.of("command.failed"))
    assert [told[4] for told in world.devices.told] == [new.id]
    failed = world.of("command.failed")[0]
    assert (failed.subject, failed.cause, failed.data) == ("rule/hot", old.id, {"output": "fan/on", "value": True})
    assert "max_age is 2 s" in failed.reason


async def test_a_rule_whose_time_is_ahead_of_the_clock_is_not_late(world, eventually) -> None:
    await world.have({"do": [ON]})
    (event,) = await world.speak("raised", age_s=-60)
    await eventually(lambda: world.devices.told)
    assert [told[4] for told in world.devices.told] == [event.id]


async def test_what_was_recorded_before_the_machine_started_is_not_done(world, clock, eventually, monkeypatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    world.recorder.keep = never
    await world.have({"do": [ON]})
    await world.speak("raised")
    await world.kill()
    monkeypatch.setattr(type(clock), "boot_id", "another", raising=False)
    await world.open()
    await eventually(lambda: world.of("command.failed"))
    assert world.devices.told == []
    assert world.of("command.failed")[0].reason == "it was recorded before the machine started"


async def test_a_command_that_fails_is_not_tried_again_and_said(world, eventually) -> None:
    world.devices.trouble = "device fan is unavailable: no acknowledge"
    await world.have({"do": [ON]})
    (event,) = await world.speak("raised")
    await eventually(lambda: world.of("command.failed"))
    world.devices.trouble = None
    (second,) = await world.speak("raised")
    await eventually(lambda: world.devices.told)
    assert [told[4] for told in world.devices.told] == [second.id]
    failed = world.of("command.failed")[0]
    assert (failed.cause, failed.reason) == (event.id, "device fan is unavailable: no acknowledge")
    assert world.actions[NAME].delivery.refused == 1


async def test_a_disk_that_refuses_the_cursor_keeps_the_output_as_it_is(world, eventually, monkeypatch) -> None:
    await world.have({"do": [{**ON, "max_age": "100ms"}]})
    asked = asyncio.Event()
    go: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def later(*_: object) -> None:
        asked.set()
        await go

    monkeypatch.setattr(world.recorder, "keep", later)
    await world.speak("raised")
    await asked.wait()
    assert world.devices.told == []
    asyncio.get_running_loop().call_later(0.15, go.set_result, None)
    await eventually(lambda: world.of("command.failed"))
    assert world.devices.told == []


async def test_a_stop_does_not_wait_for_a_disk_that_refuses(world, monkeypatch) -> None:
    await world.have({"do": [ON]})
    asked = asyncio.Event()

    async def never(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(world.recorder, "keep", never)
    await world.speak("raised")
    await asked.wait()
    async with asyncio.timeout(5):
        await world.actions.drain(0.1)


# Ensured levels

FOLLOWS = {"do": [{**ON, "ensure": True}], "on_cleared": [{"output": "fan", "set": "off", "ensure": True}]}


async def settled(world: World, eventually) -> None:
    """Until the start is over: what comes now is an event's doing."""
    ready = [consumer.stage for consumer in world.actions.values()]
    passed: list[bool] = []
    for stage in ready:
        stage.enter(lambda: passed.append(True))
    await eventually(lambda: len(passed) == len(ready))


def levels(world: World) -> list[object]:
    return [told[2] for told in world.devices.told]


async def available(world: World, device: str = "fan") -> None:
    world.recorder.note("device.available", {}, about=device)
    await world.recorder.flush()


async def test_an_ensured_output_follows_its_rule(world, eventually) -> None:
    await world.have(FOLLOWS)
    await settled(world, eventually)
    world.raised["hot"] = True
    (event,) = await world.speak("raised")
    await eventually(lambda: levels(world) == [True])
    assert world.devices.told[0][4] == event.id
    world.raised["hot"] = False
    await world.speak("cleared")
    await eventually(lambda: levels(world) == [True, False])


async def test_at_the_start_it_is_what_the_rule_says(world, eventually) -> None:
    world.raised["hot"] = True
    await world.have(FOLLOWS)
    await eventually(lambda: levels(world) == [True])
    await world.kill()
    world.raised["hot"] = False
    await world.open()
    await eventually(lambda: levels(world) == [True, False])


async def test_a_rule_that_never_spoke_sets_nothing(world, eventually) -> None:
    await world.have(FOLLOWS)
    (other,) = await world.speak("raised", rule="other")
    await eventually(lambda: world.actions[NAME].cursor.next_offset > other.offset)
    assert world.devices.told == []


async def test_it_is_set_again_when_its_device_returns(world, eventually) -> None:
    world.raised["hot"] = True
    await world.have(FOLLOWS)
    await eventually(lambda: levels(world) == [True])
    await available(world, "lamp")
    await available(world)
    await eventually(lambda: levels(world) == [True, True])


async def test_while_its_device_is_away_the_rule_goes_on_and_the_newest_counts(world, eventually) -> None:
    await world.have(FOLLOWS)
    world.devices.trouble = "device fan is unavailable"
    world.raised["hot"] = True
    await world.speak("raised")
    world.raised["hot"] = False
    await world.speak("cleared")
    await eventually(lambda: world.actions["rule/hot/on_cleared/output"].delivery.last_error)
    assert world.of("command.failed") == [], "it is not lost: it will be done"
    world.devices.trouble = None
    await available(world)
    await eventually(lambda: levels(world) == [False])


async def test_it_stays_on_until_the_last_key_is_cleared(world, eventually) -> None:
    await world.have(FOLLOWS)
    world.raised["hot"] = True
    await world.speak("raised", key="a")
    await world.speak("raised", key="b")
    (cleared,) = await world.speak("cleared", key="a")
    await eventually(lambda: world.actions["rule/hot/on_cleared/output"].cursor.next_offset > cleared.offset)
    world.raised["hot"] = False
    await world.speak("cleared", key="b")
    await eventually(lambda: levels(world)[-1] is False)
    assert levels(world).count(False) == 1


async def test_an_ensured_level_is_never_too_late(world, eventually) -> None:
    await world.have(FOLLOWS)
    await settled(world, eventually)
    world.raised["hot"] = True
    await world.speak("raised", age_s=3600)
    await eventually(lambda: levels(world) == [True])


async def test_a_cursor_moves_on_over_events_of_others(world, eventually, monkeypatch) -> None:
    monkeypatch.setattr("gateway.riding.CURSOR_AFTER_S", 0.1)
    await world.have({"do": [ON]})
    before = world.log.cursors[NAME].next_offset
    for _ in range(12):
        await world.speak(*["raised"] * 100, rule="other")
    await eventually(lambda: world.log.cursors[NAME].next_offset >= before + 1000)
    assert world.devices.told == []
