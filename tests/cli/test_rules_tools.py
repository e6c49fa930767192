"""`gateway rules status`, `backtest` and `explain`: what is shown, and how they end."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from datetime import UTC, datetime

import msgspec
import pytest
from click import unstyle
from click.testing import CliRunner

from gateway.cli import backtest_page, commands, rules_explain, rules_status
from gateway.cli.explain_page import Why, before
from gateway.cli.look import width
from gateway.clock import NS_PER_S
from gateway.errors import GatewayError
from gateway.event import Event
from gateway.eventlog.excerpt import NewLog
from gateway.rules.describe import described
from tests.cli.canned import Serve, call
from tests.rules.kit import Log, engine, event, ns, rule

RUN = "0123456789abcdef"
TRIMMED = 400
WALL_S = 1_795_413_600
"""2026-11-23T06:00:00Z"""

RULES = """
- {id: hot, when: {hold: {channel: cellar/temperature, above: 30, for: 10s, clear_below: 29}}}
- {id: twice, when: {count: {rule: hot, at_least: 2, within: 10m}}}
- id: door
  when: {sequence: {within: 30s, steps: [{as: in, channel: door/contact, is: on}, {not: {channel: pir/motion}}]}}
- {id: mean, when: {window: {channel: cellar/temperature, tumbling: 1m, of: {mean: avg}}}}
- {id: gone, when: {absent: {channel: well/level, for: 5m}}}
"""


class Recorded(Log):
    run = RUN


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with rules and two logs that they made: a whole one, and one whose beginning was trimmed."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "rules.yaml").write_text(RULES)
    log = Recorded([
        rule("hot", hold={"channel": "cellar/temperature", "above": 30, "for": "10s", "clear_below": 29}),
        rule("twice", count={"rule": "hot", "at_least": 2, "within": "10m"}),
        rule("door", sequence={"within": "30s", "steps": [
            {"as": "in", "channel": "door/contact", "is": "on"}, {"not": {"channel": "pir/motion"}}]}),
        rule("mean", window={"channel": "cellar/temperature", "tumbling": "1m", "of": {"mean": "avg"}}),
        rule("gone", absent={"channel": "well/level", "for": "5m"}),
    ])  # fmt: skip
    log.open(ns(1000), WALL_S * NS_PER_S)
    for at_s in range(600):
        value = 31.5 if at_s % 200 in range(50, 100) else 28.5
        rows = [("reading", "cellar/temperature", value + at_s / 1000, "Cel", "good")]
        rows += [("reading", "freezer/temperature", -18.0, "Cel", "good")]
        rows += [("state", "door/contact", True, None, "good")] if at_s == 120 else []
        log.record([
            Event(kind, subject, ns(WALL_S + at_s), ns(1000 + at_s), value, unit, quality)
            for kind, subject, value, unit, quality in rows
        ])  # fmt: skip
    old = {"rulekey": "old:00000000::5:0", "matched": [f"{'e' * 16}-9"]}
    log.record([Event("rule.matched", "rule/old", ns(WALL_S + 600), ns(1600), data=old)])
    records = [msgspec.structs.replace(one, boot="b", recorded=committed(one.time)) for one in log.records]
    asyncio.run(written(folder / "whole.db", records))
    asyncio.run(written(folder / "trimmed.db", records[TRIMMED:]))
    return folder, records


def committed(time_ns):
    """Every ten seconds."""
    return -(-time_ns // ns(10)) * ns(10)


async def written(path, events):
    async with NewLog(path) as new:
        await new.add_events(events)
        await new.finish()


@pytest.fixture
def tool(world, home):
    folder, _ = world

    def run(*words, log="whole.db", rules="rules.yaml", code=0):
        done = CliRunner().invoke(
            commands, ["rules", *words, "--log", str(folder / log), "--rules", str(folder / rules)]
        )
        error = done.exception
        assert error is None or isinstance(error, (GatewayError, SystemExit)), done.exc_info
        assert (error.exit_code if isinstance(error, GatewayError) else done.exit_code) == code, done.output
        return str(error) if isinstance(error, GatewayError) else done.stdout or done.output

    return run


def edited(world, name, **changes):
    """The rules with some words replaced, as a file of that name."""
    text = RULES
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    (world[0] / name).write_text(text)
    return name


def the(world, kind, subject, n=0):
    """The n-th recorded event of that type and subject."""
    return [one for one in world[1] if (one.type, one.subject) == (kind, subject)][n]


# -- backtest ---------------------------------------------------------------------------------------------------------

EDITED = """\
1 226 events from 2026-11-23 06:00:00 to 2026-11-23 06:10:00
  nothing is known of what was before: there is nothing to warm up with

hot  would have fired 3 times; the log has it 3 times: 2 the same, 1 only now, 1 only in the log
  cellar/temperature above 31.58 for 10s, cleared below 29

  now  .........1=...............1====...............1=============
  log  ......1...................1...................1.............
       11-23 06:00                                      11-23 06:10

  WHEN                 WHAT    KEY                     VALUE  FOR           LOG
  2026-11-23 06:01:00  raised  cellar/temperature  31.559 °C                only in it (128)
  2026-11-23 06:01:31  raised  cellar/temperature   31.59 °C  9 s           only now
  2026-11-23 06:04:20  raised  cellar/temperature  31.759 °C  40 s          same (535)
  2026-11-23 06:07:40  raised  cellar/temperature  31.959 °C  still raised  same (942)
"""


def test_backtest_shows_when_it_would_have_fired_beside_when_it_did(tool, world):
    shown = tool("backtest", "hot", rules=edited(world, "a.yaml", a=("above: 30", "above: 31.58")))
    assert shown == EDITED


def test_backtest_of_rules_as_they_were_finds_what_the_log_has(tool):
    found = json.loads(tool("backtest", "--json"))
    for told in found["rules"]:
        assert (told["only_now"], told["only_recorded"]) == (0, 0), told["id"]
    fired = {told["id"]: told["fired"] for told in found["rules"]}
    assert fired == {"hot": 3, "twice": 1, "door": 1, "mean": 10, "gone": 1}
    hot = next(told for told in found["rules"] if told["id"] == "hot")
    first = hot["firings"][0]
    assert (first["time"], first["lasted_s"], first["end"]) == ("2026-11-23T06:01:00.000000Z", 40, "cleared")
    assert re.fullmatch(RUN + r"-\d+", first["id"])


def test_backtest_of_one_rule_shows_more_rows_than_of_several(tool):
    assert "and 2 more; --json has the first 10" in tool("backtest")
    assert "more; --json" not in tool("backtest", "mean")


def test_backtest_that_is_empty_says_why(tool, world):
    nowhere = edited(world, "b.yaml", a=("channel: cellar/temperature, above", "channel: celler/temperature, above"))
    shown = tool("backtest", "hot", rules=nowhere)
    assert "hot  would not have fired; the log has it 3 times: 3 only in the log" in shown
    shown = tool("backtest", "hot", "--from", "1", "--to", "60", rules=nowhere)
    events = re.match(r"(\d+) events", shown)[1]
    assert f"It selects none of the {events} events in the range." in shown
    assert re.search(r"Channels that have events in it: cellar/temperature \(\d+\), freezer/temperature", shown)
    never = edited(world, "c.yaml", a=("above: 30", "above: 99"))
    shown = tool("backtest", "hot", "--from", "1", "--to", "60", rules=never)
    assert re.search(r"It looks at \d+ events: cellar/temperature \(\d+, 28.5 to 28.5\d+\).", shown)
    assert "What it asks for did not hold, or not for long enough." in shown


def test_backtest_says_what_was_under_way_at_the_end(tool, world):
    end = the(world, "rule.raised", "rule/hot").offset - 4
    shown = tool("backtest", "hot", "twice", "--to", str(end))
    assert "Under way at the end: cellar/temperature (pending since 2026-11-23 06:00:50)." in shown
    assert "did not hold" not in shown
    shown = tool("backtest", "twice", "--to", str(end + 9))
    assert "Under way at the end: rule/hot (1 of 2 events since 2026-11-23 06:01:00)." in shown


def test_backtest_says_when_a_guard_forbade_it(tool, world):
    guarded = edited(
        world, "d.yaml", a=("clear_below: 29}}}", "clear_below: 29}}, only_if: [{channel: x/armed, is: on}]}")
    )
    shown = tool("backtest", "hot", "--to", "200", rules=guarded)
    assert "only if x/armed is on" in shown
    assert "It would have spoken 1 time, which `only_if` forbade." in shown


def test_backtest_warms_up_before_the_range_and_says_so(tool, world):
    since = the(world, "rule.raised", "rule/hot", 1).offset + 10
    shown = tool("backtest", "hot", "--from", str(since))
    assert "of the 10m before it are read to warm up: what began still earlier is not known" in shown
    assert "raised already when the range began: cellar/temperature" in shown
    assert "would have fired 1 time; the log has it 1 time: 1 the same" in shown
    assert "would have fired 2 times" in tool("backtest", "hot", "--from", str(since), "--warm-up", "0s")


def test_backtest_warms_up_for_twice_the_longest_time_of_the_rules(tool, world):
    longer = edited(world, "g.yaml", a=("within: 10m", "within: 30m"))
    assert json.loads(tool("backtest", "hot", "--json", rules=longer))["warm_up_s"] == 600
    assert json.loads(tool("backtest", "twice", "--json", rules=longer))["warm_up_s"] == 3600


def test_backtest_takes_a_range_and_refuses_two_beginnings(tool):
    found = json.loads(
        tool("backtest", "hot", "--from", "2026-11-23T06:02:00Z", "--to", "2026-11-23T06:05:00Z", "--json")
    )
    assert (found["from"], found["to"]) == ("2026-11-23T06:02:00.000000Z", "2026-11-23T06:05:00.000000Z")
    assert found["rules"][0]["fired"] == 1
    assert "use one of them" in tool("backtest", "--since", "7d", "--from", "1", code=2)


def test_backtest_of_a_trimmed_log_says_where_that_begins(tool):
    later = "the log begins later than that was asked for"
    assert later in tool("backtest", "hot", "--from", "10", log="trimmed.db")
    assert later in tool("backtest", "hot", "--from", "2026-11-23T06:00:00Z", log="trimmed.db")
    assert later not in tool("backtest", "hot", "--from", str(TRIMMED + 1), log="trimmed.db")
    assert later not in tool("backtest", "hot", "--from", "2026-11-23T06:06:00Z", log="trimmed.db")
    assert later not in tool("backtest", "hot", "--from", "1")


def test_backtest_names_the_rules_there_are(tool, world):
    said = tool("backtest", "hott", code=2)
    assert said.endswith("rules.yaml has no rule 'hott' (did you mean 'hot'?); it has hot, twice, door, mean, gone")


def test_backtest_fits_80_columns(tool):
    document = json.loads(tool("backtest", "--json"))
    shown = unstyle(backtest_page.page(document, 80))
    assert max(map(width, shown.splitlines())) <= 80


# -- explain ----------------------------------------------------------------------------------------------------------


def test_explain_shows_what_lasted_from_its_beginning(tool, world):
    raised = the(world, "rule.raised", "rule/hot")
    lines = tool("explain", raised.id).splitlines()
    assert lines[0] == "hot  raised  cellar/temperature  2026-11-23 06:01:00.000"
    assert lines[1] == "  cellar/temperature above 30 for 10s, cleared below 29"
    assert re.fullmatch(r" +BEFORE  OFFSET  SUBJECT +VALUE +SCALE +PART", lines[4])
    rows = [line.split() for line in lines[5:]]
    assert [row[0] for row in rows] == [*(f"-{n}" for n in range(10, 0, -1)), "0"]
    assert rows[0][-1] == "cause"
    assert rows[-1][-3:] == ["31.559", "°C", "raised"]
    assert all("[" in line and "|" in line for line in lines[5:-1]), "each value beside the limit"


def test_explain_takes_an_offset_alone(tool, world):
    raised = the(world, "rule.raised", "rule/hot")
    assert tool("explain", str(raised.offset)) == tool("explain", raised.id)


def test_explain_follows_rules_down_to_the_events_of_devices(tool, world):
    twice = the(world, "rule.matched", "rule/twice")
    shown = tool("explain", twice.id)
    assert shown.index("twice  matched") < shown.index("\n  hot  raised  cellar/temperature  2026-11-23 06:01:00")
    assert shown.count("\n  hot  raised") == 2
    found = json.loads(tool("explain", twice.id, "--json"))
    assert [one["why"]["events"][0]["subject"] for one in found["events"]] == ["cellar/temperature"] * 2


def test_explain_names_the_steps_of_a_sequence(tool, world):
    matched = the(world, "rule.matched", "rule/door")
    (one,) = json.loads(tool("explain", matched.id, "--json"))["events"]
    assert (one["part"], one["subject"], one["before_s"]) == ("in", "door/contact", 30)


def test_explain_of_a_window_shows_the_first_and_the_last_and_counts_the_rest(tool, world):
    window = the(world, "rule.window", "rule/mean", 1)
    found = json.loads(tool("explain", window.id, "--json"))
    assert (len(found["events"]), found["left_out"]) == (31, 29)
    assert {one["subject"] for one in found["events"]} == {"cellar/temperature"}
    assert (found["events"][0]["before_s"], found["events"][-1]["before_s"]) == (60, 1)
    lines = tool("explain", window.id).splitlines()
    dots = lines.index("    .. 29 more events ..")
    before, behind = lines[dots - 1].split(), lines[dots + 1].split()
    assert (before[0], behind[0]) == ("-46", "-16")


def test_explain_of_silence_says_that_nothing_came(tool, world):
    assert "No event of it came before." in tool("explain", the(world, "rule.raised", "rule/gone").id)


def test_explain_of_a_rule_that_was_changed_shows_what_the_event_names(tool, world):
    other = edited(world, "e.yaml", a=("above: 30", "above: 31"))
    shown = tool("explain", the(world, "rule.raised", "rule/hot").id, rules=other)
    assert "rule hot was changed since: shown is what the event names, and the channel of its cause" in shown
    assert shown.count("cellar/temperature  ") > 5
    gone = edited(world, "f.yaml", a=("id: mean", "id: average"))
    shown = tool("explain", the(world, "rule.window", "rule/mean").id, rules=gone)
    assert "there is no rule mean any more" in shown


def test_explain_names_what_was_trimmed_meanwhile(tool, world):
    kept = [one for one in world[1][TRIMMED:] if one.type == "rule.matched" and one.subject == "rule/twice"]
    shown = tool("explain", kept[0].id, log="trimmed.db")
    first = kept[0].data["matched"][0]
    assert f"no longer in the log: {first}" in shown


def test_explain_takes_an_event_of_another_run_for_gone(tool, world):
    assert f"no longer in the log: {'e' * 16}-9" in tool("explain", the(world, "rule.matched", "rule/old").id)


def test_explain_says_what_is_wrong_with_an_id(tool, world):
    assert "is no longer in the log, which begins at offset 401, 2026-11-23 06:0" in tool(
        "explain", "5", log="trimmed.db", code=1
    )
    assert "there is no event 99999 yet: the newest one is 12" in tool("explain", "99999", code=1)
    reading = the(world, "reading", "freezer/temperature")
    assert tool("explain", reading.id, code=1) == (
        f"{reading.id} is a reading of freezer/temperature, -18 °C, at 2026-11-23 06:00:00: "
        "it was not derived by a rule from other events"
    )
    said = tool("explain", f"{'f' * 16}-{reading.offset}", code=1)
    assert (
        said
        == f"offset {reading.offset} belongs to {reading.id}: {'f' * 16}-{reading.offset} is an event of another log"
    )
    assert "expected an id such as 5f0c9a31d2e47b88-1234, or an offset such as 1234" in tool("explain", "x", code=2)


def test_explain_goes_on_without_the_rules(world, home, monkeypatch):
    monkeypatch.chdir(home)
    raised = the(world, "rule.raised", "rule/hot")
    done = CliRunner().invoke(commands, ["rules", "explain", raised.id, "--log", str(world[0] / "whole.db")])
    assert done.exit_code == 0
    assert "what the rule asks for is not known here" in done.output


def test_explain_fits_80_columns(world):
    window = the(world, "rule.window", "rule/mean", 1)
    rows = [(one, "") for one in world[1] if one.subject == "cellar/temperature"][:20]
    long = msgspec.structs.replace(rows[0][0], subject="a-very-long-name-of-a-device/and-of-its-channel-too")
    why = Why(
        window, "avg (mean) of cellar/temperature in each 1m", "", [*rows, (long, "cause")], 29, rows[9][0].offset
    )
    shown = unstyle(rules_explain.page(why, 80))
    assert max(map(width, shown.splitlines())) <= 80


def test_what_is_piped_has_no_colour(tool, world):
    assert "\x1b" not in tool("explain", the(world, "rule.raised", "rule/hot").id) + tool("backtest")


# -- status -----------------------------------------------------------------------------------------------------------


def standing():
    made = engine(
        rule("hot", hold={"channel": "*/temperature", "above": 30, "for": "10s"}),
        rule("knock", count={"channel": "pump/x", "at_least": 3, "within": "1m"}),
        rule("still", keys_max=1, sequence={"within": "1h", "steps": [{"channel": "a/x"}, {"channel": "b/x"}]}),
        rule("none", absent={"channel": "*/y", "for": "1m"}),
    )
    made.context.wall_ns = WALL_S * NS_PER_S
    for subject, value, at_s in (
        ("cellar/temperature", 31, 1), ("pump/x", 1, 2), ("attic/temperature", 32, 15), ("a/x", 1, 16),
        *((f"d{n}/temperature", 31, 17) for n in range(40)),
    ):  # fmt: skip
        made.feed(event(subject, value, at_s), ns(at_s))
    made.parts["none"].failed, made.parts["none"].active = "KeyError: 'x'", False
    return json.loads(json.dumps(described(made, ns(20)))) | {"gateway": "greenhouse-pi", "mismatches": 2}


def test_status_shows_each_rule_with_its_keys_and_what_comes_next():
    now = datetime.fromtimestamp(WALL_S, UTC)
    lines = unstyle(rules_status.page(standing(), None, now)).splitlines()
    assert lines[:6] == [
        "greenhouse-pi  4 rules: 3 in force, 1 failed",
        "",
        "hot  hold · in force · 1 event derived",
        "  */temperature above 30 for 10s",
        "  KEY                STATE    SINCE           VALUE  NEXT",
        "  attic/temperature  pending  06:00:15 (5 s)  32     raised 06:00:25 (5 s)",
    ]
    assert "  42 keys in all, at most 1 000; 41 pending, 1 raised" in lines
    assert "  pump/x  counting  06:00:02 (18 s)  1 of 3 events" in lines
    assert "  all  open   06:00:16 (4 s)  step 1 of 2  1      given up 07:00:16 (59 min)" in lines
    assert "  KeyError: 'x'" in lines
    assert lines[-1] == "2 derived events that differed when the log was read at the start"


def test_status_shows_what_bounds_have_cost():
    document = standing()
    document["rules"][0]["dropped"] |= {"keys": 1200, "guarded": 3}
    document["counts"] |= {"late": 7, "without_result": 2}
    shown = unstyle(rules_status.page(document, None, datetime.fromtimestamp(WALL_S, UTC)))
    assert "  1 200 keys forgotten, 3 times forbidden by only_if\n" in shown
    assert "7 events late, and judged at the newest time\n2 times that an expression had no result\n" in shown


def test_every_count_of_every_operator_has_words():
    document = standing()
    words = {word for told in document["rules"] for word in told["dropped"]}
    assert words <= rules_status.COUNTED.keys()
    assert document["counts"].keys() - {"derived"} <= rules_status.ENGINE_COUNTED.keys()


def test_a_deadline_that_passed_unsaid_is_told_as_that():
    document = standing()
    document["rules"][0]["shown"][0]["due_in_s"] = -30.0
    assert "raised, unsaid" in rules_status.page(document, None, datetime.fromtimestamp(WALL_S, UTC))


def test_times_of_another_day_bear_their_date():
    shown = rules_status.page(standing(), None, datetime.fromtimestamp(WALL_S + 86_400, UTC))
    assert "11-23 06:00:25 (5 s)" in shown


def test_status_fits_80_columns():
    shown = unstyle(rules_status.page(standing(), 80, datetime.fromtimestamp(WALL_S, UTC)))
    assert max(map(width, shown.splitlines())) <= 80


def test_status_asks_the_gateway_that_runs_and_shows_it_as_text_or_json(serve: Serve):
    path = serve("greenhouse-pi", {"rules": call(standing())})
    done = CliRunner().invoke(commands, ["rules", "status", "--socket", str(path)])
    assert (done.exit_code, done.output.splitlines()[0]) == (0, "greenhouse-pi  4 rules: 3 in force, 1 failed")
    done = CliRunner().invoke(commands, ["rules", "status", "hot", "--json", "--socket", str(path)])
    assert json.loads(done.output) == standing()


def test_a_gateway_without_rules_says_so():
    document = copy.deepcopy(standing()) | {"rules": [], "counts": {}}
    assert "no rules" in rules_status.page(document, None, datetime.fromtimestamp(WALL_S, UTC))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (0.0004, "0 s"), (0.25, "-0.25 s"), (-0.003, "+0.003 s"), (298, "-4 min 58 s"), (7500, "-2 h  5 min")],
)
def test_how_long_before_is_said_with_its_sign_and_nothing_is_nothing(seconds, said):
    assert before(ns(seconds)) == said
