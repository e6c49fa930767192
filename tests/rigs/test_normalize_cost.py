"""What normalizing one reading costs, bare and with each filter: CPU time of this thread, best of several rounds."""

from __future__ import annotations

import time

import pytest

from gateway.clock import NS_PER_S
from gateway.config.channel import ChannelConfig
from gateway.event import Reading
from gateway.normalize import Instant
from tests.normalize.kit import WALL_NS, normalizer

READINGS = 10_000
ROUNDS = 5
US_MAX = 60.0
"""For any chain, on any machine that runs this: 1 % of a CPU at 150 readings a second."""

CHAINS = {
    "nothing": {},
    "a unit (mCel)": {},
    "deadband": {"deadband": 0.2},
    "deadband in percent": {"deadband": "1%"},
    "scale and bias": {"scale": 1.01, "bias": -0.4},
    "expression": {"expression": "value * 0.1 + 3"},
    "table of 100 rows": {"calibration": {"table": [[raw, raw * 1.01] for raw in range(100)]}},
    "polynomial of 4": {"calibration": {"polynomial": [0.1, 1, 1e-4, 1e-6]}},
    "spike of 5": {"spike": {"jump": 5}},
    "median of 5": {"filter": {"median": 5}},
    "median of 1000": {"filter": {"median": 1000}},
    "mean of 10": {"filter": {"mean": 10}},
    "mean of 1000": {"filter": {"mean": 1000}},
    "average of 1 m": {"average_s": "1m"},
    "min_interval": {"min_interval_s": "10s"},
    "rate_limit": {"rate_limit": {"events": 100, "per": "1m"}},
    "all of them": {
        "unit": "degF", "expression": "value * 1", "scale": 1.01, "bias": -0.4, "calibration": {"polynomial": [0, 1]},
        "spike": {"jump": 50}, "filter": {"median": 5}, "average_s": "10s", "range": (0, 100), "deadband": [0.2, "1%"],
        "min_interval_s": "20s", "rate_limit": {"events": 100, "per": "1m"},
    },
}  # fmt: skip


def cost_us(name: str, entry: dict[str, object]) -> tuple[float, int]:
    """Microseconds for one reading, and how many of `READINGS` became events."""
    normalize = normalizer(every_s=1.0, temperature=ChannelConfig(**entry))
    scale, unit = (1000, "mCel") if "mCel" in name else (1, None)
    readings = [[Reading("temperature", (20 + index % 97 / 10) * scale, unit)] for index in range(READINGS)]
    instants = [Instant(WALL_NS + index * NS_PER_S, (1 + index) * NS_PER_S) for index in range(READINGS)]
    began_ns, events = time.thread_time_ns(), 0
    for reading, now in zip(readings, instants, strict=True):
        events += len(normalize(reading, now))
    return (time.thread_time_ns() - began_ns) / 1000 / READINGS, events


@pytest.mark.rig
def test_a_reading_costs_a_few_microseconds_whatever_its_chain(capsys):
    best: dict[str, tuple[float, int]] = {}
    for _ in range(ROUNDS):  # interleaved: a busy moment of the machine hits all alike
        for name, entry in CHAINS.items():
            best[name] = min(best.get(name, (float("inf"), 0)), cost_us(name, entry))
    bare_us, _ = best["nothing"]
    with capsys.disabled():
        print(f"\n  {'chain':<22}{'us/reading':>11}{'x bare':>8}{'events':>9} of {READINGS}")
        for name, (spent_us, events) in best.items():
            print(f"  {name:<22}{spent_us:>11.2f}{spent_us / bare_us:>8.2f}{events:>9}")
    assert max(spent_us for spent_us, _ in best.values()) < US_MAX
