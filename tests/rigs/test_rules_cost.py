"""What rules cost, and that they hold no more after ten million events than after one."""

from __future__ import annotations

import psutil
import pytest

from tests.rules import bench

PER_S_MIN = {"20 rules, jointly 5 %": 1_000_000, "20 rules, 5 % each": 400_000, "20 rules, all of all": 50_000}
BARE_NS = 75.0
"""The bare loop on the machine for which these bars were set: a slower or busier one is allowed as many times that."""

MEMORY_EVENTS, MEMORY_BYTES_MAX = 10_000_000, 4_000_000


@pytest.mark.rig
def test_rules_keep_up(capsys):
    bare, best = bench.measure()
    with capsys.disabled():
        print(f"\n{bench.report(bare, best)}")
    slower = max(1.0, bare / BARE_NS)
    assert [name for name, least in PER_S_MIN.items() if 1e9 / best[name] < least / slower] == []


@pytest.mark.rig
def test_memory_is_flat_over_ten_million_events(capsys):
    subjects = [f"d{n}/x" for n in range(20)]
    events = bench.events(subjects, 100_000)
    made = bench.detector(bench.rules(subjects), events[0])
    span, offset, seen, rss = events[-1].mono - events[0].mono + 10**6, 100, 0, []
    while seen < MEMORY_EVENTS:
        for first in range(0, len(events), bench.BATCH):
            offset += len(made.detect(events[first : first + bench.BATCH], offset))
        seen += len(events)
        made.engine.context.mono_ns += span  # the same events again, later
        rss.append(psutil.Process().memory_info().rss)
    with capsys.disabled():
        print(f"\n{seen:,} events: {rss[4] / 1e6:.1f} MB after half a million, {rss[-1] / 1e6:.1f} MB at the end")
    assert rss[-1] - rss[4] < MEMORY_BYTES_MAX
