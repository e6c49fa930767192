"""Rules in a whole gateway: judged before the commit, recorded with their causes, exactly once across kills."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gateway.app import Gateway
from gateway.clock import SystemClock
from gateway.config import Config, load_config, parse_config
from gateway.detection import Detection
from gateway.event import Event
from gateway.eventlog import EventLog, LogEnd
from gateway.plugins import Plugins
from tests.service import Service, wait_until
from tests.spine.conftest import until

YAML = """
gateway: {id: judge-pi}
devices:
  - id: tank
    driver: signal
    every: 20ms
    signals:
      level: {quantity: load, sine: {min: 0, max: 10, period: 400ms}}
      other: {quantity: load, sine: {min: 0, max: 4, period: 300ms}}
sinks: []
rules:
  - id: high
    when: {hold: {channel: tank/level, above: 8, clear_below: 6}}
    emit: {name: tank.high, severity: warning}
    do: [{log: "tank at {value}"}]
  - id: long
    when: {hold: {channel: tank/level, below: 3, for: 60ms}}
  - id: often
    when: {count: {rule: high, type: rule.raised, at_least: 2, within: 5s}}
  - id: slow
    when: {window: {channel: tank/other, tumbling: 250ms, of: {mean: avg, n: count}}}
  - id: quiet
    when: {absent: {channel: tank/level, for: 1m}}
buffer: {path: judge-pi.db, commit_within: 30ms}
"""


def config(folder: Path, text: str = YAML) -> Config:
    file = folder / "judge-pi.yaml"
    file.write_text(text)
    return load_config(file, Plugins())


async def everything(path: Path) -> list[Event]:
    log = await EventLog.open(path, SystemClock())
    events, offset = [], log.first_offset
    while (page := await log.read(offset, as_told=True)).events:
        events += page.events
        offset = page.next_offset
    await log.close()
    return events


def mismatches(loaded: Config, events: list[Event]) -> int:
    """How a fresh engine that reads the log differs from what was recorded."""
    fresh = Detection(loaded.rules, loaded.devices)
    fresh.fold(events)
    left = fresh.recovered(LogEnd("0" * 16, events[-1].offset + 1))
    return fresh.mismatches + len([event for event in left if event.mono < events[-1].mono])


async def test_what_rules_derive_is_recorded_with_what_they_derive_it_from(tmp_path: Path) -> None:
    loaded = config(tmp_path)
    async with Gateway(loaded) as gateway:
        await until(lambda: gateway.log.tally.events["rule.matched"] > 1)
        assert gateway.detection.raised("quiet") is False
    events = await everything(loaded.buffer.path)
    by_id = {event.id: event for event in events}
    raised = [event for event in events if event.type == "rule.raised" and event.subject == "rule/high"]
    assert raised
    for event in raised:
        cause = by_id[event.cause]
        assert (cause.subject, cause.recorded) == ("tank/level", event.recorded), "one transaction"
        assert cause.value > 8
        assert event.data["name"] == "tank.high"
    assert mismatches(loaded, events) == 0


async def test_a_reload_ends_changes_and_begins_rules_and_leaves_the_others(tmp_path: Path) -> None:
    loaded = config(tmp_path)

    def load() -> Config:
        text = YAML.replace("at_least: 2", "at_least: 3").replace("  - id: slow", "  - id: slower")
        return config(tmp_path, text)

    async with Gateway(loaded, load=load) as gateway:
        await until(lambda: gateway.log.tally.events["rule.raised"] > 1)
        await gateway.reloads.ask()
        seen = gateway.log.tally.events["rule.window"]
        await until(lambda: gateway.log.tally.events["rule.window"] > seen + 1)
    events = await everything(loaded.buffer.path)
    told = [(event.type, event.subject) for event in events if event.type in {"rule.started", "rule.stopped"}]
    assert told.count(("rule.stopped", "rule/slow")) == 1
    assert told.count(("rule.started", "rule/slower")) == 1
    assert told.count(("rule.started", "rule/high")) == 2, "said again, and the same goes on"
    loaded_at = next(event.offset for event in events if event.type == "config.loaded" and event.offset > 20)
    assert not [e for e in events if e.type == "rule.window" and e.subject == "rule/slow" and e.offset > loaded_at]


async def test_what_was_taken_in_before_a_reload_is_judged_by_the_rules_of_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (
        "gateway: {id: judge-pi}\nbuffer: {path: judge-pi.db, commit_within: 30ms}\n"
        "devices: [{id: tank, driver: signal, every: 1h, signals: {level: {quantity: load, constant: 1}}}]\n"
        "rules: [{id: over, when: {event: {channel: tank/level, above: 5}}}]\n"
    )
    loaded = config(tmp_path, text)
    async with Gateway(loaded, load=lambda: config(tmp_path, text.replace("5}", "50}"))) as gateway:
        await gateway.recorder.flush()
        append, writing, release = gateway.log.append, asyncio.Event(), asyncio.Event()

        async def slow(*args: Any, **named: Any) -> list[Event]:
            writing.set()
            await release.wait()
            return await append(*args, **named)

        monkeypatch.setattr(gateway.log, "append", slow)
        gateway.recorder.note("clock.step", {})
        await writing.wait()
        wall, mono = gateway.clock.wall_ns(), gateway.clock.mono_ns()
        gateway.recorder.offer([Event("reading", "tank/level", wall, mono, 9.0, quality="good")])
        reloading = asyncio.create_task(gateway.reloads.ask())
        await until(lambda: gateway.config is not loaded)
        release.set()
        await reloading
    events = await everything(loaded.buffer.path)
    matched = next(event for event in events if event.type == "rule.matched")
    hashes = [event.data["hash"] for event in events if event.type == "rule.started"]
    assert matched.data["rulekey"].split(":")[1] == hashes[0] != hashes[1]


async def test_rules_that_come_later_count_time_as_if_they_had_always_been_there(tmp_path: Path) -> None:
    """A gateway without rules keeps only rule time; the rules that a reload brings go on from there."""
    bare = config(tmp_path, YAML[: YAML.index("rules:")] + YAML[YAML.index("buffer:") :])
    async with Gateway(bare) as gateway:
        await until(lambda: gateway.log.next_offset > 60)
    async with Gateway(bare, load=lambda: config(tmp_path)) as gateway:
        await gateway.reloads.ask()
        await until(lambda: gateway.log.tally.events["rule.matched"] > 1)
    async with Gateway(config(tmp_path)) as gateway:
        assert gateway.detection.mismatches == 0
    assert mismatches(config(tmp_path), await everything(bare.buffer.path)) == 0
    async with Gateway(bare) as gateway:
        await until(lambda: gateway.log.tally.events["rule.stopped"] == 5)


@pytest.mark.parametrize("kills", [4])
def test_a_kill_loses_and_doubles_no_derived_event(tmp_path: Path, kills: int) -> None:
    """Killed at any moment: a fresh engine that reads the whole log derives exactly what is recorded."""
    config(tmp_path)
    service = Service(tmp_path / "judge-pi.yaml", tmp_path)
    for _ in range(kills):
        service.start()
        before = service.status()["log"]["next_offset"]
        wait_until(lambda at=before: service.status()["log"]["next_offset"] > at + 60, 20, "events")
        service.kill()
    service.start()
    service.stop()
    program = (
        "import asyncio, json, sys; from pathlib import Path; from tests.app import test_rules as t\n"
        "loaded = t.load_config(Path(sys.argv[1]), t.Plugins())\n"
        "events = asyncio.run(t.everything(loaded.buffer.path))\n"
        "keys = [e.data['rulekey'] for e in events if 'rulekey' in e.data]\n"
        "print(json.dumps([t.mismatches(loaded, events), len(keys), len(set(keys)), [e.type for e in events]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(service.file)], capture_output=True, text=True, check=True, timeout=60
    )
    wrong, derived, distinct, types = json.loads(done.stdout)
    assert wrong == 0
    assert derived == distinct > 20
    assert Counter(types)["gateway.started"] == kills + 1


def test_actions_are_judged_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"judge-pi\.yaml:15:") as error:
        config(tmp_path, YAML.replace('{log: "tank at {value}"}', '{log: "tank at {valu}"}'))
    assert "valu" in str(error.value)
    assert parse_config(YAML, "judge-pi.yaml", Plugins()).rules[0].do[0].log is not None
