"""A hundred histories of a whole gateway with rules, each with dozens of stops, kills, faults, reloads and trims."""

from collections import Counter
from time import monotonic

import pytest

from tests.app.test_histories import play

HISTORIES, DEEDS = 100, 20


@pytest.mark.rig
def test_a_fresh_engine_that_reads_any_log_derives_what_is_recorded(tmp_path, capsys):
    began, starts, events, types = monotonic(), 0, 0, Counter()
    for seed in range(100, 100 + HISTORIES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        with pytest.MonkeyPatch.context() as monkeypatch:
            history = play(folder, monkeypatch, seed, DEEDS)
        starts, events = starts + history.starts, events + len(history.seen)
        types.update(event.type for event in history.seen.values())
        types["trimmed"] += history.trimmed
    with capsys.disabled():
        print(
            f"\n  {HISTORIES} histories in {monotonic() - began:.0f} s: {starts} starts, {events} events, "
            f"{sum(types[name] for name in types if name.startswith('rule.'))} about rules, "
            f"{types['clock.step']} steps of the clock, {types['store.degraded']} faults of the disk, "
            f"{types['trimmed']} logs trimmed, {types['log.gap']} gaps"
        )
    assert min(types[name] for name in ("clock.step", "store.degraded", "trimmed", "rule.stopped")) > 10
    assert types["log.gap"] > 2
