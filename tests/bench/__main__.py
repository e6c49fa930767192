"""`make bench`: what the gateway costs, each figure beside what a bare client does in the same run.

    python -m tests.bench [--quick] [--json]

Ends with 1 where a gate does not hold. See README.md beside this file for what is measured and how.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import monotonic

from tests.bench import runs
from tests.bench.child import ROOT
from tests.bench.disk import fsync_ms
from tests.bench.runs import Run, quantile
from tests.bench.table import Figure, breakdown, missed, table
from tests.bench.wire import Arrival
from tests.brokers import MOSQUITTO

PAIRS, FLOOD = (5, 2), (20_000, 8_000)
PACED, STARTS, PER_S = (5_000, 2_000), (5, 2), 1_000
"""(in full, quick)."""

STRACED = 3_000
FSYNCS = 100
BEGINS_WITHIN_S = (100.0, 20.0)
"""After that no further pair is begun."""

RATIO_MIN, BYTES_MAX, RSS_MB_MAX = 0.3, 300, 55
P50_MS_MAX, P99_MS_MAX = 3.0, 15.0
APPENDED_PER_S, READ_S_MAX = 300_000, 1.5
"""At 1000 per commit; a million events through a filter."""

DISK_BUSY_MS = 20.0
"""Where a flush takes this long (p99) others use the disk, and the ratio of throughputs says more about them."""


class Bench:
    """One bench: measures step by step, says each step on standard error, and remembers for the table."""

    def __init__(self, port: int, folder: Path, *, quick: bool) -> None:
        self._port, self._folder, self._quick = port, folder, int(quick)
        self._recorded: list[Arrival] = []
        self._until = monotonic() + BEGINS_WITHIN_S[quick]
        self.flushes: list[float] = []
        self.figures: list[Figure] = []
        self.profile = ""
        self.raw: dict[str, object] = {}

    def measure(self) -> None:
        steps = (self._bytes, self._log, self._latency, self._throughput, self._profile, self._syscalls, self._start)
        for step in steps:
            self._probe()
            step()

    def _say(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    def _probe(self) -> None:
        self.flushes = sorted(self.flushes + fsync_ms(self._folder, FSYNCS))

    @property
    def disk_is_busy(self) -> bool:
        return quantile(self.flushes, 0.99) > DISK_BUSY_MS

    # -- the steps ----------------------------------------------------------------------------------------------------

    def _bytes(self) -> None:
        self._say("bytes per event at 100 per commit")
        found = runs.bytes_run(self._folder)
        self._add("bytes written per event, 100 per commit", found["log"], found["file"], "{:.0f} B", bar=BYTES_MAX)

    def _log(self) -> None:
        self._say("the event log alone")
        found = runs.log_run(self._folder, quick=bool(self._quick))
        ours, rows, ratio = found["appended_per_s"], found["rows_per_s"], found["ratio"]
        self.figures += [
            Figure(
                "log: appends/s at 1000 per commit (bare: a row each)", f"{ours:.0f}", f"{rows:.0f}", ratio,
                ">= 1.00 of bare", ratio >= 1, gate=True,
            ),
            Figure("  of them a second", f"{ours:.0f}", bar=f">= {APPENDED_PER_S}", ok=ours >= APPENDED_PER_S),
        ]  # fmt: skip
        count = found["read_events"]
        for name, (wall_s, cpu_s) in found["read_s"].items():
            said, bar = f"log: read {count} events, wanted: {name}", READ_S_MAX * count / 1e6
            self.figures.append(Figure(said, f"{wall_s:.2f} s", bar=f"<= {bar:g} s", ok=wall_s <= bar))
            self._add("  CPU of it", cpu_s, None, "{:.2f} s", bar=bar)
        if found["device_bytes"] is None:
            self.figures.append(
                Figure("log: bytes that reach a device per event", "skipped: needs root and loop devices")
            )
        else:
            name = "log: bytes that reach a device per event, 100 per commit"
            self._add(name, found["device_bytes"], None, "{:.0f} B", bar=BYTES_MAX)
        self.raw["log"] = found

    def _latency(self) -> None:
        self._say(f"latency at {PER_S} events a second")
        flushes = fsync_ms(self._folder, FSYNCS)
        gateway = runs.gateway_run(self._port, self._folder, PACED[self._quick], per_s=PER_S)
        bare = runs.bare_run(self._port, self._folder, gateway.arrivals, per_s=PER_S)
        flushes = sorted(flushes + fsync_ms(self._folder, FSYNCS))
        for part, bar in ((0.5, P50_MS_MAX), (0.99, P99_MS_MAX)):
            ours, theirs = (quantile(run.latencies_ms, part) for run in (gateway, bare))
            name = f"urgent event, driver to subscriber, p{100 * part:.0f}, at {PER_S}/s"
            self._add(name, ours, theirs, "{:.2f} ms", bar=bar, gate=False)
        beside = " / ".join(f"{quantile(flushes, part):.2f}" for part in (0.5, 0.99))
        self.figures.append(Figure("  the disk's own flush before and after it, p50 / p99", f"{beside} ms"))
        self._add(f"CPU per event at {PER_S}/s", gateway.cpu_us, bare.cpu_us, "{:.0f} us")
        self._add(f"bytes written per event at {PER_S}/s", gateway.written_bytes, None, "{:.0f} B")
        self._lost(f"lost or disordered at {PER_S}/s", [gateway])
        self.raw["latency_ms"] = {"gateway": gateway.latencies_ms, "bare": bare.latencies_ms}

    def _throughput(self) -> None:
        pairs: list[tuple[Run, Run, float | None]] = []
        while len(pairs) < PAIRS[self._quick] and (not pairs or monotonic() < self._until):
            self._say(f"throughput, pair {len(pairs) + 1} of {PAIRS[self._quick]}")
            gateway = runs.gateway_run(self._port, self._folder, FLOOD[self._quick])
            bare = runs.bare_run(self._port, self._folder, gateway.arrivals)
            pairs.append((gateway, bare, runs.pub_run(self._port, self._folder, gateway.arrivals)))
            self._recorded = gateway.arrivals
            self._probe()
        ours, theirs = median(g.per_s for g, _, _ in pairs), median(b.per_s for _, b, _ in pairs)
        ratio = median(g.per_s / b.per_s for g, b, _ in pairs if b.per_s)
        ok = None if ratio < RATIO_MIN and self.disk_is_busy else ratio >= RATIO_MIN
        name = "events/s, one per message, always durable"
        self.figures.append(Figure(name, f"{ours:.0f}", f"{theirs:.0f}", ratio, f">= {RATIO_MIN}", ok, gate=True))
        self._against_pub(pairs)
        gateways, bares = [g for g, _, _ in pairs], [b for _, b, _ in pairs]
        self._add("CPU per event", median(g.cpu_us for g in gateways), median(b.cpu_us for b in bares), "{:.0f} us")
        self._add("bytes written per event", median(g.written_bytes for g in gateways), None, "{:.0f} B")
        rss = [median(run.rss_kib for run in side) / 1024 for side in (gateways, bares)]
        self._add("RSS after it", rss[0], rss[1], "{:.0f} MB", bar=RSS_MB_MAX)
        self._lost("lost or disordered", gateways)
        self.raw["throughput"] = [{"gateway": g.per_s, "bare": b.per_s, "mosquitto_pub": p} for g, b, p in pairs]

    def _against_pub(self, pairs: list[tuple[Run, Run, float | None]]) -> None:
        rates = [(gateway.per_s, pub) for gateway, _, pub in pairs if pub]
        if rates:
            ours, theirs = (median(side) for side in zip(*rates, strict=True))
            ratio = median(gateway / pub for gateway, pub in rates)
            self.figures.append(Figure("  beside mosquitto_pub -l -q 1", f"{ours:.0f}", f"{theirs:.0f}", ratio))
        else:
            self.figures.append(Figure("  beside mosquitto_pub -l -q 1", "skipped: it is not installed"))

    def _profile(self) -> None:
        self._say("where the CPU goes")
        run = runs.gateway_run(self._port, self._folder, FLOOD[self._quick], profiled=True)
        found = json.loads(run.report)
        self.profile = breakdown(found["threads"], found["parts"], run.count)
        self.raw["profile"] = found

    def _syscalls(self) -> None:
        self._say("system calls")
        name = "system calls per event"
        ours = runs.syscalls_run(self._port, self._folder, STRACED)
        theirs = ours if isinstance(ours, str) else runs.syscalls_run(self._port, self._folder, STRACED, self._recorded)
        if isinstance(ours, str) or isinstance(theirs, str):
            self.figures.append(Figure(name, f"skipped: {ours if isinstance(ours, str) else theirs}"))
            return
        self._add(name, ours[0], theirs[0], "{:.2f}")
        self.raw["system_calls"] = {"gateway": ours[1], "bare": theirs[1]}

    def _start(self) -> None:
        self._say("start")
        ours = [runs.start_run(self._port, self._folder, n) for n in range(STARTS[self._quick])]
        theirs = [runs.python_start() for _ in ours]
        wall, cpu = ([median(getattr(s, of) for s in side) for side in (ours, theirs)] for of in ("wall_s", "cpu_s"))
        self._add("start to the first event delivered", *wall, "{:.2f} s")
        self._add("  CPU of it (bare: Python, asyncio, sqlite3)", *cpu, "{:.2f} s", bar=0.7, gate=False)

    # -- the table ----------------------------------------------------------------------------------------------------

    def _add(
        self, name: str, ours: float, theirs: float | None, shape: str, *, bar: float | None = None, gate: bool = True
    ) -> None:
        ratio = ours / theirs if theirs else None
        bare = "" if theirs is None else shape.format(theirs)
        said = "" if bar is None else f"<= {bar:g}"
        ok = None if bar is None else ours <= bar
        self.figures.append(Figure(name, shape.format(ours), bare, ratio, said, ok, gate=gate and bar is not None))

    def _lost(self, name: str, gateways: list[Run]) -> None:
        bad = sum(run.lost + run.duplicates + run.inversions for run in gateways)
        self.figures.append(Figure(name, str(bad), bar="0", ok=not bad, gate=True))

    def text(self) -> str:
        flush = f"p50 {quantile(self.flushes, 0.5):.2f} ms, p99 {quantile(self.flushes, 0.99):.2f} ms"
        busy = "\nThe disk was busy with others' work: a throughput below its bar is not judged." * self.disk_is_busy
        load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
        return (
            f"{table(self.figures)}\n\nWhere the gateway's CPU goes at full speed, per event:\n{self.profile}\n\n"
            f"The disk's own 4 KiB append and flush, {len(self.flushes)} times between the steps: {flush}.{busy}\n"
            f"{os.cpu_count()} processors, load {load}, Python {platform.python_version()}, {platform.machine()}."
        )

    def document(self) -> dict[str, object]:
        return {
            "figures": [dataclasses.asdict(figure) for figure in self.figures],
            "flush_ms": {f"p{p}": quantile(self.flushes, p / 100) for p in (50, 90, 99)},
            "disk_busy": self.disk_is_busy,
            "missed": missed(self.figures),
            **self.raw,
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="What the gateway costs.")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs: half a minute")
    parser.add_argument("--json", action="store_true", help="the figures as JSON on standard output")
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="on the disk to be measured")
    options = parser.parse_args()
    if MOSQUITTO is None:
        print("The bench needs Debian's mosquitto: sudo apt install mosquitto", file=sys.stderr)
        return 2
    options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as folder, runs.broker() as port:
        bench = Bench(port, Path(folder), quick=options.quick)
        bench.measure()
    print(json.dumps(bench.document()) if options.json else bench.text())
    for name in missed(bench.figures):
        print(f"missed: {name}", file=sys.stderr)
    return 1 if missed(bench.figures) else 0


if __name__ == "__main__":
    sys.exit(main())
