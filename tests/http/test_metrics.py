"""The metrics page: what a scraper reads, the names, and the table that explains them."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import gateway.http
from gateway.event import Event
from gateway.figures import Histogram, Tally
from gateway.health import ActionState, ConsumerState, GatewayState, LogState, SinkState, Snapshot
from gateway.http.metrics import INFO_LABELS, ROWS, exposition, label_names
from gateway.ledger import Ledger
from gateway.wear import WearState
from tests.control.test_health import Device

PAGE = (Path(gateway.http.__file__).parent / "README.md").read_text("utf-8")
UNITS = ("seconds", "bytes", "events", "readings", "failures", "batches", "connections", "letters", "offsets", "keys")
LEDGER = Ledger(1, 140, 2, {"too large": 3}, {"trimmed": 5})
STATES = {"gateway_store_ok", "gateway_sink_connected", "gateway_device_available", "gateway_clock_synced"}
STATES |= {"gateway_rule_in_force"}
MIXED = {"gateway_rule_dropped"}
"""What each of their labels counts, the meaning tells."""

RULES = {
    "counts": {"late": 3, "derived": 9, "failed": 1, "without_result": 2},
    "mismatches": 4,
    "rules": [
        {"id": "hot", "operator": "hold", "state": "in force", "reason": "", "derived": 8, "keys": 2,
         "dropped": {"keys": 5, "guarded": 6}},
        {"id": "sad", "operator": "event", "state": "failed", "reason": "KeyError", "derived": 1, "keys": 0,
         "dropped": {"keys": 0}},
    ],
}  # fmt: skip
WAITING = Event("rule.raised", "rule/hot", 0, 0)
ACTION = ActionState("rule/hot/do/webhook", "webhook", False, 0, 181, WAITING, 7.5, "no answer", 11, 2, 1)
CONSUMER = ConsumerState("meter", True, 191, 10, 3.5, 4, 100, 5, 6, False)


def snapshot(**more):
    tally = Tally()
    tally.batch([Event("reading", "a/b", 0, 0)] * 3, 60)
    tally.batch([Event("log.gap", "gateway", 0, 0, reason="size", data={"count": 17})], 40)
    tally.commit_s.observe(0.004)
    tally.thinned = 6
    lateness = Histogram((0.01, 1.0))
    lateness.observe(0.5)
    parts = {
        "gateway": GatewayState("pi", "0.1.0", 7, "5f0c", 0, 1.5, False, "g.yaml", "abc", {"site": 'no"rth\\\n'}),
        "log": LogState("events.db", 101, 201, 1000, 2000, None, None, "disk full", 4),
        "sinks": [SinkState("home", "mqtt", True, None, 151, 2.5, "", 50, 1, refused=2, connections=3, ledger=LEDGER)],
        "devices": [Device("air", available=True), Device("door", available=None, failures=9)],
        "tally": tally,
        "lateness_s": lateness,
        "dropped": 5,
        "synced": False,
        "written_bytes": 4096,
        "wear": WearState(4.25, "spread", 200_000_000, 210e6),
        "actions": [ACTION],
        "consumers": [CONSUMER],
        "rules": RULES,
    }
    return Snapshot(**parts | more)


def families(page=None):
    text = (page or exposition(snapshot())).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def samples(page=None):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(page).values()
        for sample in family.samples
    }


def test_what_is_shown_is_what_was_counted():
    shown = samples()
    expected = {
        ("gateway_events_recorded_total", "reading"): 3, ("gateway_events_recorded_total", "log.gap"): 1,
        ("gateway_batches_total",): 2, ("gateway_batch_bytes_total",): 100, ("gateway_pending_events",): 4,
        ("gateway_held_events",): 0,
        ("gateway_dropped_events_total",): 5, ("gateway_lost_events_total", "size"): 17,
        ("gateway_lost_events_total", "overload"): 0, ("gateway_lost_events_total", "full"): 0,
        ("gateway_thinned_events_total",): 6, ("gateway_store_ok",): 0, ("gateway_log_events",): 100,
        ("gateway_log_bytes",): 1000, ("gateway_log_limit_bytes",): 2000, ("gateway_sink_connected", "home"): 1,
        ("gateway_sink_connections_total", "home"): 3, ("gateway_sink_lag_events", "home"): 50,
        ("gateway_sink_lag_seconds", "home"): 2.5, ("gateway_sink_delivered_events_total", "home"): 50,
        ("gateway_sink_refused_events_total", "home"): 2, ("gateway_sink_dead_letters", "home"): 1,
        ("gateway_sink_offsets_total", "delivered", "", "home"): 140,
        ("gateway_sink_offsets_total", "not_selected", "", "home"): 2,
        ("gateway_sink_offsets_total", "dead_lettered", "too large", "home"): 3,
        ("gateway_sink_offsets_total", "evicted", "trimmed", "home"): 5,
        ("gateway_rule_in_force", "hot"): 1, ("gateway_rule_in_force", "sad"): 0,
        ("gateway_rule_derived_events_total", "hot"): 8, ("gateway_rule_derived_events_total", "sad"): 1,
        ("gateway_rule_keys", "hot"): 2, ("gateway_rule_keys", "sad"): 0,
        ("gateway_rule_dropped_total", "hot", "keys"): 5, ("gateway_rule_dropped_total", "hot", "guarded"): 6,
        ("gateway_rule_dropped_total", "sad", "keys"): 0,
        ("gateway_rules_late_events_total",): 3, ("gateway_rules_unjudged_events_total",): 2,
        ("gateway_rules_failures_total",): 1, ("gateway_rules_mismatched_events_total",): 4,
        ("gateway_action_lag_events", ACTION.name): 20, ("gateway_action_lag_seconds", ACTION.name): 7.5,
        ("gateway_action_done_events_total", ACTION.name): 11, ("gateway_action_dead_letters", ACTION.name): 1,
        ("gateway_action_refused_events_total", ACTION.name): 2,
        ("gateway_consumer_lag_events", "meter"): 10, ("gateway_consumer_lag_seconds", "meter"): 3.5,
        ("gateway_consumer_position_offsets", "meter"): 191, ("gateway_consumer_dead_letters", "meter"): 6,
        ("gateway_device_available", "air"): 1, ("gateway_device_readings_total", "air"): 1,
        ("gateway_device_failures_total", "door"): 9, ("gateway_clock_synced",): 0,
        ("gateway_written_bytes_per_day",): 210e6, ("gateway_wear_limit_bytes_per_day",): 200e6,
        ("gateway_commit_within_seconds",): 4.25,
        ("gateway_written_bytes_total",): 4096, ("gateway_commit_seconds_count",): 1,
        ("gateway_commit_seconds_sum",): 0.004, ("gateway_commit_seconds_bucket", "0.0025"): 0,
        ("gateway_commit_seconds_bucket", "0.005"): 1, ("gateway_commit_seconds_bucket", "+Inf"): 1,
        ("gateway_read_lateness_seconds_bucket", "0.01"): 0, ("gateway_read_lateness_seconds_bucket", "1.0"): 1,
        ("gateway_read_lateness_seconds_count",): 1, ("gateway_read_lateness_seconds_sum",): 0.5,
    }  # fmt: skip
    assert {key: shown[key] for key in expected} == expected
    assert {key[0] for key in shown if key[0].startswith("gateway_")} - {key[0] for key in expected} == {"gateway_info"}


def test_a_device_that_said_nothing_yet_is_neither_available_nor_not():
    assert ("gateway_device_available", "door") not in samples()


def test_the_info_says_who_and_carries_the_labels_whatever_is_in_them():
    (info,) = families()["gateway_info"].samples
    assert info.labels == {
        "id": "pi", "version": "0.1.0", "config": "abc", "simulated": "false", "label_site": 'no"rth\\\n',
    }  # fmt: skip
    assert info.value == 1


def test_labels_that_would_be_one_get_a_number():
    assert label_names(["b", "a-b", "a_b", "1"]) == {
        "1": "label_1", "a-b": "label_a_b", "a_b": "label_a_b_2", "b": "label_b",
    }  # fmt: skip


def test_the_process_tells_of_itself_under_the_usual_names():
    usual = {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds", "process_start_time_seconds"}
    assert usual <= families().keys()


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_names_follow_the_rules(row):
    assert re.fullmatch(r"gateway(_[a-z]+)+", row.name)
    assert row.name.endswith("_total") == (row.kind == "counter")
    name = row.name.removesuffix("_total")
    assert name in STATES | MIXED or any(unit in name.split("_") for unit in UNITS), (
        "a name tells its unit, or is a state"
    )
    assert not re.search(r"_(ms|kb|mb|ns|minutes|count|sum|bucket)\b", name)
    assert row.meaning[0].islower() or row.meaning[0].isdigit()
    assert not row.meaning.endswith(".")
    assert all(re.fullmatch(r"[a-z]+", label) for label in row.labels)


def test_the_page_parses_and_every_family_has_its_type_and_help():
    found = families()
    for row in ROWS:
        family = found[row.name.removesuffix("_total") if row.kind == "counter" else row.name]
        assert (family.type, family.documentation) == (row.kind, row.meaning)


def test_no_limit_and_no_measured_rate_are_missing_and_not_nothing():
    shown = samples(exposition(snapshot(wear=WearState())))
    assert ("gateway_commit_within_seconds",) in shown
    assert not {("gateway_written_bytes_per_day",), ("gateway_wear_limit_bytes_per_day",)} & shown.keys()


def test_an_empty_gateway_has_a_page_too():
    assert ("gateway_batches_total",) in samples(
        exposition(snapshot(sinks=[], devices=[], actions=[], consumers=[], rules={}, tally=Tally()))
    )


def test_the_table_on_the_page_is_the_table_in_the_code():
    rows = re.findall(r"^\| `(gateway_\w+)` \| (\w+) \| (.*?)\| (.*) \|$", PAGE, re.MULTILINE)
    table = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), meaning) for name, kind, labels, meaning in rows}
    info = table.pop("gateway_info")
    assert table == {row.name: (row.kind, row.labels, row.meaning) for row in ROWS}
    assert info[1] == INFO_LABELS


def test_every_metric_that_the_page_uses_exists():
    named = set(re.findall(r"gateway_\w+", PAGE))
    assert named <= {row.name for row in ROWS} | {"gateway_info"}


def test_a_histogram_counts_a_bound_itself_as_below_it():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 3.0):
        histogram.observe(value)
    assert histogram.cumulative() == [2, 4, 5]
    assert histogram.sum == 8.0
