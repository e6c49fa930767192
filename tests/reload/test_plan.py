"""What a reload would do: a function of two configurations, so a table."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import parse_config
from gateway.plugins import Plugins
from gateway.reload import ReloadPlan, plan_reload
from tests.config.parts import HOST, parse

ROOT = Path(__file__).parents[2]
SAMPLES = [ROOT / "config" / "gateway.yaml", *sorted(ROOT.glob("drivers/*/sample.yaml"))]

BASE = """
gateway: {id: pi, labels: {site: north}}
devices:
  - {id: air, driver: chip, every: 30s, channels: {temperature: {deadband: 0.2}}}
  - {id: door, driver: key, pin: 17, bounce: 20ms}
  - {id: gate, driver: key, pin: 27}
sinks:
  - {id: home, sink: post, url: 'posts://broker.local', username: pi, password: sesame}
  - {id: far, sink: post, url: 'posts://far.local'}
buffer: {path: log/events.db, keep: {for: 30d, size: 512MB}, commit_within: 2s}
"""


def planned(*changes: tuple[str, str], simulate: bool = False) -> ReloadPlan:
    """The plan from BASE to what it becomes when each first text is replaced by its second."""
    new = BASE
    for old_text, new_text in changes:
        assert old_text in new
        new = new.replace(old_text, new_text, 1)
    return plan_reload(parse(BASE, simulate=simulate), parse(new, simulate=simulate))


CASES = [
    # (replacements), devices: added, removed, changed; sinks: added, removed, changed
    ([], (), (), {}, (), (), {}),
    ([("  - {id: gate, driver: key, pin: 27}\n", "")], (), ("gate",), {}, (), (), {}),
    (
        [("  - {id: gate", "  - {id: bell, driver: key, pin: 5}\n  - {id: gate")],
        ("bell",), (), {}, (), (), {},
    ),
    ([("id: gate", "id: bell")], ("bell",), ("gate",), {}, (), (), {}),
    ([("pin: 17", "pin: 22")], (), (), {"door": ("pin 17 -> 22",)}, (), (), {}),
    (
        [("pin: 17", "pin: 99"), ("pin: 27", "pin: 17"), ("pin: 99", "pin: 27")],  # they swap
        (), (), {"door": ("pin 17 -> 27",), "gate": ("pin 27 -> 17",)}, (), (), {},
    ),
    ([("bounce: 20ms", "bounce: 1s")], (), (), {"door": ("bounce 20ms -> 1s",)}, (), (), {}),
    ([("every: 30s", "every: 1m, timeout: 2s")], (), (), {"air": ("every 30s -> 1m", "timeout 5s -> 2s")}, (), (), {}),
    (
        [("deadband: 0.2", "deadband: 0.5")],
        (), (), {"air": ("channels.temperature.deadband 0.2 -> 0.5",)}, (), (), {},
    ),
    (
        [("temperature: {deadband: 0.2}", "temperature: {deadband: 0.2, urgent: true}")],
        (), (), {"air": ("channels.temperature.urgent nothing -> true",)}, (), (), {},
    ),
    ([("driver: key, pin: 27", "driver: chip, address: 3")], (), (), {"gate": ("driver key -> chip",)}, (), (), {}),
    ([("far.local", "near.local")], (), (), {}, (), (), {"far": ("url posts://far.local -> posts://near.local",)}),
    ([("id: far", "id: near")], (), (), {}, ("near",), ("far",), {}),
    ([("sesame", "mellon")], (), (), {}, (), (), {"home": ("password is another secret",)}),
    ([("  - {id: far, sink: post, url: 'posts://far.local'}\n", "")], (), (), {}, (), ("far",), {}),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[str(case[0])[:60] for case in CASES])
def test_the_table(case):
    replaced, *expected = case
    plan = planned(*replaced)
    assert [plan.devices.added, plan.devices.removed, dict(plan.devices.changed)] == expected[:3]
    assert [plan.sinks.added, plan.sinks.removed, dict(plan.sinks.changed)] == expected[3:]
    assert (plan.gateway, plan.buffer, plan.problems) == ((), (), ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("every: 30s", "every: 30000ms"),
        ("driver: chip, every: 30s", "every: 30s, driver: chip"),
        ("pin: 17, bounce: 20ms", "pin: 17"),  # the default, written out
        ("pin: 27}", "pin: 27}  # the one at the street"),
        ("{deadband: 0.2}", "{deadband: 0.20, heartbeat: 5m}"),
        ("gateway: {id: pi, labels: {site: north}}\n", "gateway:\n  labels: {'site': \"north\"}\n  id: pi\n"),
    ],
)
def test_another_way_to_write_the_same_changes_nothing(old, new):
    plan = planned((old, new))
    assert plan.devices.untouched == ("air", "door", "gate")
    assert plan.sinks.untouched == ("home", "far")
    assert (plan.gateway, plan.buffer) == ((), ())


def test_labels_and_bounds_apply_to_the_gateway_that_runs():
    plan = planned(("site: north", "site: south"), ("30d", "10d"), ("512MB", "64MB"), ("2s", "500ms"))
    assert plan.gateway == ("labels.site north -> south",)
    assert plan.buffer == ("keep.for 30d -> 10d", "keep.size 512MB -> 64MB", "commit_within 2s -> 500ms")
    assert not plan.devices.stopping | plan.sinks.stopping
    assert not plan.problems


def test_what_needs_a_restart_is_named_with_its_place():
    plan = planned(("id: pi", "id: po"), ("log/events.db", "log/other.db"))
    by_path = {problem.path: problem for problem in plan.problems}
    assert by_path.keys() == {"gateway.id", "buffer.path"}
    assert (by_path["gateway.id"].line, by_path["gateway.id"].column) == (2, 15)
    assert by_path["gateway.id"].message == (
        "found 'po', but this gateway runs with 'pi': restart it, or change this back"
    )
    assert by_path["buffer.path"].line == 10
    assert "other.db" in by_path["buffer.path"].message


def test_what_needs_a_restart_has_a_place_also_where_the_yaml_lost_it():
    plan = planned(("gateway: {id: pi, labels: {site: north}}\n", ""), ("path: log/events.db, ", ""))
    assert [(problem.path, problem.line, problem.column) for problem in plan.problems] == [
        ("gateway.id", 1, 1),
        ("buffer.path", 9, 9),
    ]


def test_a_simulation_has_a_log_of_its_own_that_the_yaml_does_not_move():
    assert not planned(("log/events.db", "log/other.db"), simulate=True).problems


def test_no_secret_is_shown_and_no_login():
    plan = planned(("sesame", "mellon"), ("posts://far.local", "posts://me:mellon@far.local"))
    assert "mellon" not in str(plan)
    assert "sesame" not in str(plan)
    assert plan.sinks.changed["far"] == ("url posts://far.local -> posts://***@far.local",)


def test_a_long_value_is_cut():
    (words,) = planned(("far.local", "x" * 200)).sinks.changed["far"]
    assert len(words) < 100


@pytest.mark.parametrize("simulate", [False, True])
@pytest.mark.parametrize("sample", SAMPLES, ids=[str(path.relative_to(ROOT)) for path in SAMPLES])
def test_whatever_is_installed_a_file_read_twice_is_the_same(sample, simulate):
    text = sample.read_text(encoding="utf-8")
    once, twice = (parse_config(text, str(sample), Plugins(), simulate=simulate, host=HOST) for _ in range(2))
    plan = plan_reload(once, twice)
    assert once.devices
    assert not plan.devices.stopping | plan.sinks.stopping
    assert len(plan.devices.untouched) == len(once.devices)


ENTRIES = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 3), max_size=8)


def written(devices, sinks):
    """A configuration whose devices and sinks differ in one number each."""
    lines = ["gateway: {id: pi}", "devices:"]
    lines += [f"  - {{id: {name}, driver: chip, address: {ord(name)}, every: {n}s}}" for name, n in devices.items()]
    lines += ["sinks:", *(f"  - {{id: {name}, sink: post, url: 'posts://{n}'}}" for name, n in sinks.items())]
    return parse("\n".join(lines))


@given(ENTRIES, ENTRIES, ENTRIES, ENTRIES)
def test_every_id_is_in_exactly_one_place_and_in_the_right_one(devices, sinks, new_devices, new_sinks):
    plan = plan_reload(written(devices, sinks), written(new_devices, new_sinks))
    for compared, old, new in ((plan.devices, devices, new_devices), (plan.sinks, sinks, new_sinks)):
        placed = [*compared.added, *compared.removed, *compared.changed, *compared.untouched]
        assert sorted(placed) == sorted({*old, *new})
        assert set(compared.added) == new.keys() - old.keys()
        assert set(compared.removed) == old.keys() - new.keys()
        assert set(compared.untouched) == {name for name in old if new.get(name) == old[name]}
        assert all(compared.changed.values())
        # What goes on is what runs now without what stops, with what starts: the new configuration.
        assert (old.keys() - compared.stopping) | {*compared.added, *compared.changed} == new.keys()


@given(ENTRIES, ENTRIES)
def test_the_way_back_is_the_way_there_reversed(devices, new_devices):
    there = plan_reload(written(devices, {}), written(new_devices, {})).devices
    back = plan_reload(written(new_devices, {}), written(devices, {})).devices
    assert set(there.added) == set(back.removed)
    assert there.changed.keys() == back.changed.keys()
    assert set(there.untouched) == set(back.untouched)
