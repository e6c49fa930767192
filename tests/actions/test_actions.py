"""All actions of a gateway: rehearsals, reloads, independence."""

from __future__ import annotations

import logging

import pytest

from gateway.action import ActionConfig, duties
from tests.actions.conftest import OUTPUTS, World
from tests.actions.receiver import receiving


@pytest.fixture
async def rehearsal(tmp_path, clock):
    world = World(tmp_path / "events.db", clock, rehearsal=True)
    await world.open()
    yield world
    await world.stop()


async def test_a_rehearsal_says_what_it_would_do_and_does_nothing_outside(rehearsal, eventually, caplog) -> None:
    caplog.set_level(logging.INFO, "gateway.actions")
    with receiving() as receiver:
        actions = [
            {"publish": {"topic": "{base}/alarm/{rule}", "data": {"v": "{value}"}}},
            {"webhook": f"{receiver.url}/s3cret"},
            {"notify": "Cellar {value}"},
            {"log": "{value} at {subject}"},
            {"output": "fan", "set": "on"},
        ]
        await rehearsal.have({"do": actions}, notify=receiver.url)
        await rehearsal.speak("raised")
        await eventually(lambda: len([r for r in caplog.records if r.name == "gateway.actions"]) == 5)
        assert receiver.requests == []
    assert rehearsal.devices.told == []
    said = {record.getMessage() for record in caplog.records if record.name == "gateway.actions"}
    assert said == {
        'rule/hot: would publish to gateway/alarm/hot: {"v":31.5}',
        f"rule/hot: would POST to {receiver.url}",
        "rule/hot: would notify: Cellar 31.5",
        "rule/hot: 31.5 at cellar/temp",
        "rule/hot: would tell fan/on: True",
    }


async def test_in_a_rehearsal_simulated_outputs_are_told(rehearsal, eventually) -> None:
    rehearsal.devices.simulated = True
    await rehearsal.have({"do": [{"output": "fan", "set": "on"}]})
    await rehearsal.speak("raised")
    await eventually(lambda: rehearsal.devices.told)


async def test_a_log_line_is_written_at_its_level(world, eventually, caplog) -> None:
    await world.have({"do": [{"log": {"text": "{name}: {value:.0f} {unit} for {held}", "level": "warning"}}]})
    await world.speak("raised")
    await eventually(lambda: world.actions["rule/hot/do/log"].delivery.delivered == 1)
    lines = [record for record in caplog.records if record.name == "gateway.actions"]
    assert [(line.levelname, line.getMessage()) for line in lines] == [
        ("WARNING", "rule/hot: cellar.hot: 32 Cel for 5m")
    ]


async def test_a_new_action_begins_at_the_logs_end_and_an_old_one_where_it_stood(world, eventually) -> None:
    await world.speak("raised")
    with receiving() as receiver:
        await world.have({"do": [{"webhook": receiver.url}]})
        (second,) = await world.speak("raised")
        await eventually(lambda: receiver.requests)
        assert receiver.keys == [second.id]
        await world.stop()
        await world.open()
        (third,) = await world.speak("raised")
        await eventually(lambda: len(receiver.requests) == 2)
        assert receiver.keys == [second.id, third.id]


async def test_a_reload_leaves_alone_what_did_not_change_and_mends_what_did(world, eventually) -> None:
    with receiving() as right, receiving() as wrong:
        wrong.answer = lambda _: (401, {})
        log = {"log": "x"}
        await world.have({"do": [{"webhook": wrong.url}, log]})
        before = world.actions["rule/hot/do/log"]
        (event,) = await world.speak("raised")
        await eventually(lambda: wrong.requests)
        await world.have({"do": [{"webhook": right.url}, log]})
        await eventually(lambda: right.requests)
        assert right.keys == [event.id], "what could not be sent is sent to where it should have gone"
        assert world.actions["rule/hot/do/log"] is before
        await world.have({"do": [log]})
        assert list(world.actions) == ["rule/hot/do/log"]


async def test_another_notifier_begins_only_notify_anew(world, eventually) -> None:
    with receiving() as first, receiving() as second:
        actions = {"do": [{"notify": "x"}, {"webhook": first.url}]}
        await world.have(actions, notify=first.url)
        hook = world.actions["rule/hot/do/webhook"]
        await world.have(actions, notify=second.url)
        assert world.actions["rule/hot/do/webhook"] is hook
        await world.speak("raised")
        await eventually(lambda: second.requests)


async def test_an_action_about_no_output_is_refused_before_anything_changed(world) -> None:
    await world.have({"do": [{"log": "x"}]})
    wrong = duties("hot", {"do": [ActionConfig.model_validate({"output": "fam", "set": "on"})]})
    with pytest.raises(ValueError, match="no output 'fam'"):
        await world.actions.have(wrong, OUTPUTS)
    assert list(world.actions) == ["rule/hot/do/log"]


async def test_two_rules_have_consumers_of_their_own(world, eventually) -> None:
    with receiving() as receiver:
        one = duties("hot", {"do": [ActionConfig.model_validate({"webhook": f"{receiver.url}/hot"})]})
        two = duties("wet", {"do": [ActionConfig.model_validate({"webhook": f"{receiver.url}/wet"})]})
        await world.actions.have([*one, *two], OUTPUTS)
        await world.speak("raised", rule="wet")
        await eventually(lambda: receiver.requests)
        assert [request.path for request in receiver.requests] == ["/wet"]
