"""An hour of virtual time: memory, tasks and threads stay what they were after ten minutes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EVENTS_PER_S = 20
GROWTH_KIB_MAX = 1024


@pytest.mark.rig
def test_an_hour_of_events_and_outages_leaves_nothing_behind(tmp_path, capsys):
    done = subprocess.run(
        [sys.executable, "-m", "tests.rigs.virtual_hour", str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *minutes, end = map(json.loads, done.stdout.splitlines())
    settled = minutes[9:]
    growth_kib = settled[-1]["rss_kib"] - settled[0]["rss_kib"]
    with capsys.disabled():
        shown = ", ".join(f"{row['minute']} min {row['rss_kib'] / 1024:.1f} MB" for row in minutes[9::10])
        print(
            f"\n  an hour of virtual time at {EVENTS_PER_S}/s, {end['connections'] - 1} outages: {end['accepted']} "
            f"accepted, {end['arrived']} arrived; {shown}: {growth_kib} KiB from minute 10 to 60; "
            f"tasks {sorted({row['tasks'] for row in settled})}, threads {sorted({row['threads'] for row in settled})}"
        )
    assert end["arrived"] == end["accepted"] == EVENTS_PER_S * 3600
    assert end["connections"] == 7
    assert growth_kib <= GROWTH_KIB_MAX
    assert max(row["tasks"] for row in settled) <= max(row["tasks"] for row in minutes[:10])
    assert len({row["threads"] for row in settled}) == 1
