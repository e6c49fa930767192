"""`make bench` ends by itself, and its gates hold here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.rig
@pytest.mark.mosquitto
def test_the_quick_bench_measures_everything_and_its_gates_hold(capsys):
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--json"],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    with capsys.disabled():
        print()
        for row in found["figures"]:
            print(f"  {row['name']}: {row['gateway']} (bare {row['bare'] or '-'}) {row['bar']}")
    assert found["missed"] == []
    assert done.returncode == 0, done.stderr
    assert {"latency_ms", "throughput", "profile"} <= found.keys()
