"""The gateway's figures in Prometheus' text format. One table; the words are explained in README.md beside it.

Only a gateway whose YAML has `http:` imports this: prometheus_client costs 1.4 MB and 20 ms.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from gateway.figures import Histogram
from gateway.health import STORE_OK, Snapshot
from gateway.ledger import Ledger

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
Values = Iterable[tuple[tuple[str, ...], float | Histogram]]


class Row(NamedTuple):
    """One metric: `values` gives its samples, each with the values of `labels`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    values: Callable[[Snapshot], Values]


def _one(value: Callable[[Snapshot], float | Histogram]) -> Callable[[Snapshot], Values]:
    return lambda snapshot: [((), value(snapshot))]


def _sinks(value: Callable[..., float]) -> Callable[[Snapshot], Values]:
    return lambda snapshot: [((sink.id,), value(sink)) for sink in snapshot.sinks]


def _devices(value: Callable[..., float]) -> Callable[[Snapshot], Values]:
    return lambda snapshot: [((device.id,), value(device)) for device in snapshot.devices]


def _actions(value: Callable[..., float]) -> Callable[[Snapshot], Values]:
    return lambda snapshot: [((action.name,), value(action)) for action in snapshot.actions]


def _consumers(value: Callable[..., float]) -> Callable[[Snapshot], Values]:
    return lambda snapshot: [((consumer.name,), value(consumer)) for consumer in snapshot.consumers]


def _rules(value: Callable[..., float]) -> Callable[[Snapshot], Values]:
    return lambda snapshot: [((rule["id"],), value(rule)) for rule in snapshot.rules.get("rules", ())]


def _counted(counts: Callable[[Snapshot], dict[str, int]]) -> Callable[[Snapshot], Values]:
    return lambda snapshot: [((word,), float(count)) for word, count in sorted(counts(snapshot).items())]


def _fates(ledger: Ledger) -> Iterator[tuple[tuple[str, str], int]]:
    """((fate, reason), count); what is pending is `gateway_sink_lag_events`."""
    yield ("delivered", ""), ledger.delivered
    yield ("not_selected", ""), ledger.not_selected
    yield from ((("dead_lettered", reason), count) for reason, count in sorted(ledger.dead_lettered.items()))
    yield from ((("evicted", reason), count) for reason, count in sorted(ledger.evicted.items()))


ROWS = (
    Row(
        "gateway_events_recorded_total", "counter", ("type",), "events committed to the log",
        _counted(lambda s: s.tally.events),
    ),
    Row("gateway_batches_total", "counter", (), "commits that held events", _one(lambda s: s.tally.batches)),
    Row(
        "gateway_batch_bytes_total", "counter", (), "bytes of packed events in these commits",
        _one(lambda s: s.tally.batch_bytes),
    ),
    Row(
        "gateway_commit_seconds", "histogram", (), "how long a commit took, the disk's flush included",
        _one(lambda s: s.tally.commit_s),
    ),
    Row("gateway_pending_events", "gauge", (), "events that wait for their commit", _one(lambda s: s.log.pending)),
    Row("gateway_held_events", "gauge", (), "events in memory only: the disk refuses", _one(lambda s: s.log.held)),
    Row(
        "gateway_dropped_events_total", "counter", (),
        "events dropped before their commit because too many waited; a `log.gap` names them",
        _one(lambda s: s.dropped),
    ),
    Row(
        "gateway_lost_events_total", "counter", ("reason",),
        "events that a `log.gap` counts as lost: `overload` before the commit, `full` not taken, `size` evicted unread,"
        " `memory` held while the disk refused and too many, `corrupt` damaged",
        _counted(lambda s: {"overload": 0, "full": 0, "size": 0, **s.tally.lost}),
    ),
    Row(
        "gateway_thinned_events_total", "counter", (), "readings that were summed up because the log is full",
        _one(lambda s: s.tally.thinned),
    ),
    Row("gateway_store_ok", "gauge", (), "1 while the disk takes events", _one(lambda s: s.log.store == STORE_OK)),
    Row("gateway_log_events", "gauge", (), "events in the log", _one(lambda s: s.log.events)),
    Row("gateway_log_bytes", "gauge", (), "size of the log's file", _one(lambda s: s.log.bytes)),
    Row("gateway_log_limit_bytes", "gauge", (), "size that the file never exceeds", _one(lambda s: s.log.bytes_max)),
    Row("gateway_sink_connected", "gauge", ("sink",), "1 while connected", _sinks(lambda k: k.connected)),
    Row(
        "gateway_sink_connections_total", "counter", ("sink",), "sessions that were opened",
        _sinks(lambda k: k.connections),
    ),
    Row(
        "gateway_sink_lag_events", "gauge", ("sink",), "events in the log that it has not settled",
        lambda s: [((k.id,), k.lag_events(s.log)) for k in s.sinks],
    ),
    Row(
        "gateway_sink_lag_seconds", "gauge", ("sink",), "age of the oldest of them",
        _sinks(lambda k: max(0.0, k.lag_s)),
    ),
    Row(
        "gateway_sink_delivered_events_total", "counter", ("sink",), "events it accepted",
        _sinks(lambda k: k.delivered),
    ),
    Row(
        "gateway_sink_refused_events_total", "counter", ("sink",), "events it refused for good",
        _sinks(lambda k: k.refused),
    ),
    Row(
        "gateway_sink_dead_letters", "gauge", ("sink",), "refused events that are kept",
        _sinks(lambda k: k.dead_letters),
    ),
    Row(
        "gateway_sink_offsets_total", "counter", ("sink", "fate", "reason"),
        "what became of each offset of the log since the sink's first, also before the start",
        lambda s: [((k.id, *fate), float(count)) for k in s.sinks for fate, count in _fates(k.ledger)],
    ),
    Row(
        "gateway_rule_in_force", "gauge", ("rule",), "1 while it is judged, 0 when it broke or did not begin yet",
        _rules(lambda r: r["state"] == "in force"),
    ),
    Row(
        "gateway_rule_derived_events_total", "counter", ("rule",), "events that the rule derived",
        _rules(lambda r: r["derived"]),
    ),
    Row("gateway_rule_keys", "gauge", ("rule",), "keys that it keeps apart now", _rules(lambda r: r["keys"])),
    Row(
        "gateway_rule_dropped_total", "counter", ("rule", "what"),
        "what bounds have cost: `keys` and `subjects` forgotten, `samples` thinned, `partials` given up, `repetitions`"
        " not kept, `guard_subjects` and `once` forgotten; `unkeyed` events without the key, `guarded` forbidden by"
        " `only_if`",
        lambda s: [((r["id"], what), float(n)) for r in s.rules.get("rules", ()) for what, n in r["dropped"].items()],
    ),
    Row(
        "gateway_rules_late_events_total", "counter", (), "events whose time lay before what rules had judged already",
        _one(lambda s: s.rules.get("counts", {}).get("late", 0)),
    ),
    Row(
        "gateway_rules_unjudged_events_total", "counter", (), "events for which an expression had no result",
        _one(lambda s: s.rules.get("counts", {}).get("without_result", 0)),
    ),
    Row(
        "gateway_rules_failures_total", "counter", (), "rules that broke and were cut out",
        _one(lambda s: s.rules.get("counts", {}).get("failed", 0)),
    ),
    Row(
        "gateway_rules_mismatched_events_total", "counter", (),
        "derived events that the last start did not find again in the log, or found different",
        _one(lambda s: s.rules.get("mismatches", 0)),
    ),
    Row(
        "gateway_action_lag_events", "gauge", ("action",), "events in the log that it has not looked at",
        lambda s: [((a.name,), a.lag_events(s.log)) for a in s.actions],
    ),
    Row(
        "gateway_action_lag_seconds", "gauge", ("action",), "age of the oldest event that waits for it",
        _actions(lambda a: max(0.0, a.lag_s)),
    ),
    Row("gateway_action_done_events_total", "counter", ("action",), "events it acted on", _actions(lambda a: a.done)),
    Row(
        "gateway_action_refused_events_total", "counter", ("action",), "events that were refused for good, or not done",
        _actions(lambda a: a.refused),
    ),
    Row(
        "gateway_action_dead_letters", "gauge", ("action",), "refused events that are kept",
        _actions(lambda a: a.dead_letters),
    ),
    Row(
        "gateway_consumer_lag_events", "gauge", ("consumer",), "events that the named consumer has not read",
        _consumers(lambda c: c.lag_events),
    ),
    Row(
        "gateway_consumer_lag_seconds", "gauge", ("consumer",), "age of the oldest of them",
        _consumers(lambda c: max(0.0, c.lag_s)),
    ),
    Row(
        "gateway_consumer_position_offsets", "gauge", ("consumer",), "the next offset that it will read",
        _consumers(lambda c: c.cursor),
    ),
    Row(
        "gateway_consumer_dead_letters", "gauge", ("consumer",), "events it gave up that are kept",
        _consumers(lambda c: c.dead_letters),
    ),
    Row(
        "gateway_device_available", "gauge", ("device",), "1 while it answers; missing until it answered or failed",
        lambda s: [((d.id,), d.available) for d in s.devices if d.available is not None],
    ),
    Row(
        "gateway_device_readings_total", "counter", ("device",), "readings it reported",
        _devices(lambda d: d.readings),
    ),
    Row(
        "gateway_device_failures_total", "counter", ("device",), "reads and openings that failed",
        _devices(lambda d: d.failures),
    ),
    Row(
        "gateway_read_lateness_seconds", "histogram", (), "how long after its time a scheduled read began, all devices",
        _one(lambda s: s.lateness_s),
    ),
    Row(
        "gateway_clock_synced", "gauge", (), "0 while the machine knows that its wall clock is wrong",
        _one(lambda s: s.synced),
    ),
    Row(
        "gateway_written_bytes_total", "counter", (), "bytes that the gateway's process caused to be written to disks",
        _one(lambda s: s.written_bytes),
    ),
    Row(
        "gateway_written_bytes_per_day", "gauge", (),
        "the same at the pace of the last hour; missing in the first minute",
        lambda s: [((), s.wear.bytes_per_day)] if s.wear.bytes_per_day is not None else [],
    ),
    Row(
        "gateway_wear_limit_bytes_per_day", "gauge", (), "the limit `buffer.wear`; missing where there is none",
        lambda s: [((), s.wear.limit_bytes_per_day)] if s.wear.limit_bytes_per_day is not None else [],
    ),
    Row(
        "gateway_commit_within_seconds", "gauge", (), "how long readings wait for a common commit now",
        _one(lambda s: s.wear.commit_within_s),
    ),
)  # fmt: skip
"""All metrics but `gateway_info`, and `process_...` of prometheus_client."""

INFO_LABELS = ("id", "version", "config", "simulated")


def exposition(snapshot: Snapshot) -> bytes:
    """The whole page."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(snapshot))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class _Figures(Collector):
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        yield _info(self._snapshot)
        for row in ROWS:
            yield _family(row, self._snapshot)


def _info(snapshot: Snapshot) -> Metric:
    state = snapshot.gateway
    known = (state.id, state.version, state.config_hash, str(state.simulated).lower())
    names = label_names(state.labels)
    family = GaugeMetricFamily(
        "gateway_info", "who this gateway is; `label_...` are the YAML's labels", labels=[*INFO_LABELS, *names.values()]
    )
    family.add_metric([*known, *(state.labels[label] for label in names)], 1)
    return family


def label_names(labels: Iterable[str]) -> dict[str, str]:
    """A Prometheus label for each of the YAML's. Two that differ only in `-` and `_` get a number."""
    taken: dict[str, str] = {}
    for label in sorted(labels):
        name = wanted = "label_" + re.sub(r"[^a-zA-Z0-9_]", "_", label)
        number = 2
        while name in taken.values():
            name, number = f"{wanted}_{number}", number + 1
        taken[label] = name
    return taken


def _family(row: Row, snapshot: Snapshot) -> Metric:
    make = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}[row.kind]
    family: Metric = make(row.name, row.meaning, labels=row.labels)
    for labels, value in row.values(snapshot):
        if isinstance(value, Histogram):
            ends = [*map(str, value.bounds), "+Inf"]
            buckets = list(zip(ends, map(float, value.cumulative()), strict=True))
            family.add_metric(labels, buckets, value.sum)  # type: ignore[attr-defined]  # every family has it, Metric does not
        else:
            family.add_metric(labels, float(value))  # type: ignore[attr-defined]  # as above
    return family
