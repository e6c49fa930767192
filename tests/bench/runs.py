"""The runs: each starts a process, leads it through one measurement, and says what it saw from outside."""

from __future__ import annotations

import itertools
import json
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from tests.bench.child import Child
from tests.bench.wire import Arrival, Subscriber
from tests.brokers import MOSQUITTO, free_port
from tests.service import ProcessIo, Service, configuration, measure, wait_until

WINDOW = 100
"""Messages in flight: the gateway's default, and the bare client's in the same run."""

TOPICS = "gateway/bench/event/+/+"
"""What devices say. Events about the gateway itself have shorter subjects."""

ARRIVE_WITHIN_S = 30.0
CONF = Path(__file__).with_name("mosquitto.conf")

_ID = re.compile(rb'"id":"([^"]+)-(\d+)"')
_VALUE = re.compile(rb'"value":(\d+)')


@dataclass(frozen=True, slots=True)
class Run:
    """One process that published `count` messages. Rates are taken between the first and the last arrival."""

    count: int
    per_s: float
    cpu_us: float
    written_bytes: float
    rss_kib: int
    lost: int = 0
    duplicates: int = 0
    inversions: int = 0
    report: str = ""
    latencies_ms: list[float] = field(default_factory=list, repr=False)
    arrivals: list[Arrival] = field(default_factory=list, repr=False)


@contextmanager
def broker() -> Iterator[int]:
    """The port of a mosquitto with the configuration that lies beside this file."""
    assert MOSQUITTO is not None
    port = free_port()
    process = subprocess.Popen([MOSQUITTO, "-c", "/dev/stdin"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    process.stdin.write(CONF.read_bytes() + f"listener {port} 127.0.0.1\n".encode())
    process.stdin.close()
    try:
        wait_until(lambda: _listens(port), 10, "mosquitto listens")
        yield port
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    try:
        Subscriber(port, "nothing").close()
    except OSError:
        return False
    return True


def gateway_run(port: int, folder: Path, count: int, *, per_s: int = 0, profiled: bool = False) -> Run:
    with (
        tempfile.TemporaryDirectory(dir=folder) as own,
        listening(port) as ear,
        Child("load", own, port, WINDOW, count, per_s, int(profiled)) as child,
    ):
        return _led(child, ear, count, gateway=True)


def bare_run(port: int, folder: Path, recorded: list[Arrival], *, per_s: int = 0) -> Run:
    with tempfile.TemporaryDirectory(dir=folder) as own, listening(port) as ear:
        file = Path(own) / "recorded"
        file.write_bytes(pickle.dumps(recorded))
        with Child("bare", port, file, WINDOW, per_s) as child:
            return _led(child, ear, len(recorded), gateway=False)


def pub_run(port: int, folder: Path, recorded: list[Arrival]) -> float | None:
    """Messages a second of `mosquitto_pub -l -q 1` with the same payloads on one topic; None where it is missing."""
    program = shutil.which("mosquitto_pub")
    if program is None:
        return None
    with tempfile.TemporaryFile(dir=folder) as lines, listening(port) as ear:
        lines.write(b"".join(arrival.payload + b"\n" for arrival in recorded))
        lines.seek(0)
        topic = TOPICS.replace("+", "c0")
        command = [program, "-V", "mqttv5", "-p", str(port), "-q", "1", "-l", "-t", topic]
        with subprocess.Popen(command, stdin=lines, stderr=subprocess.DEVNULL) as process:
            complete = ear.take(len(recorded), ARRIVE_WITHIN_S)
            process.terminate() if not complete else process.wait(ARRIVE_WITHIN_S)
        return _per_s(ear.arrivals) if complete else None


@contextmanager
def listening(port: int) -> Iterator[Subscriber]:
    ear = Subscriber(port, TOPICS)
    try:
        yield ear
    finally:
        ear.close()


def _led(child: Child, ear: Subscriber, count: int, *, gateway: bool) -> Run:
    """From `go` to the last arrival, the process looked at before and after."""
    before = measure(child.pid)
    child.order("go")
    ear.take(count, ARRIVE_WITHIN_S)
    after = measure(child.pid)
    report = child.stop()
    return _judged(ear.arrivals, count, before, after, report, gateway=gateway)


def _judged(
    arrivals: list[Arrival], count: int, before: ProcessIo, after: ProcessIo, report: str, *, gateway: bool
) -> Run:
    written = max(
        after.written_bytes - before.written_bytes, after.write_calls_bytes - before.write_calls_bytes if gateway else 0
    )
    sequences = [int(found[2]) for a in arrivals if (found := _ID.search(a.rest))] if gateway else []
    distinct = len(dict.fromkeys(sequences)) if gateway else len(arrivals)
    return Run(
        count,
        _per_s(arrivals),
        1e6 * (after.cpu_s - before.cpu_s) / count,
        written / count,
        after.rss_kib,
        lost=count - distinct,
        duplicates=len(arrivals) - distinct,
        inversions=sum(later < earlier for earlier, later in itertools.pairwise(sequences)),
        report=report,
        latencies_ms=sorted(_latency_ms(a) for a in arrivals),
        arrivals=arrivals,
    )


def _per_s(arrivals: list[Arrival]) -> float:
    took_s = arrivals[-1].at_s - arrivals[0].at_s if arrivals else 0.0
    return (len(arrivals) - 1) / took_s if took_s > 0 else 0.0


def _latency_ms(arrival: Arrival) -> float:
    """The value says when the driver reported it, where the run was paced."""
    found = _VALUE.search(arrival.rest)
    return 1e3 * arrival.at_s - int(found[1]) / 1e3 if found else 0.0


def quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else float("nan")


@dataclass(frozen=True, slots=True)
class Start:
    """From the start of a process to its first event at the subscriber; for bare Python to its end."""

    wall_s: float
    cpu_s: float


def start_run(port: int, folder: Path, n: int) -> Start:
    """`gateway run` with one device, as systemd would start it."""
    name = f"start-{n}"
    with tempfile.TemporaryDirectory(dir=folder) as own:
        service = Service(configuration(Path(own), name, f"mqtt://127.0.0.1:{port}", 10), Path(own))
        ear = Subscriber(port, f"gateway/{name}/event/#")
        begun = monotonic()
        service.start()
        try:
            ear.take(1, 10)
            assert service.process is not None
            return Start(ear.arrivals[0].at_s - begun, measure(service.process.pid).cpu_s)
        finally:
            service.kill()
            ear.close()


def python_start() -> Start:
    """The bare baseline of a start: Python that imports asyncio and sqlite3, and ends."""
    begun, before = monotonic(), _children_cpu_s()
    subprocess.run([sys.executable, "-c", "import asyncio, sqlite3"], check=True)
    return Start(monotonic() - begun, _children_cpu_s() - before)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def bytes_run(folder: Path) -> dict[str, float]:
    """Bytes written per event at 100 per commit: `log` through the event log, `file` as flushed JSON lines."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.disk", own], capture_output=True, text=True, check=True, timeout=60,
            cwd=CONF.parents[2],
        )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


def log_run(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Appends, reads and device bytes of the event log alone: see `log.py`."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        done = subprocess.run(
            [sys.executable, "-m", "tests.bench.log", own, *(["--quick"] if quick else [])],
            capture_output=True, text=True, check=True, timeout=120, cwd=CONF.parents[2],
        )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def syscalls_run(
    port: int, folder: Path, count: int, recorded: list[Arrival] | None = None
) -> tuple[float, Counter[str]] | str:
    """System calls per message of a gateway (of the bare client where `recorded` is given), and the names of most;
    or why nobody can count them here.
    """
    strace = shutil.which("strace")
    if strace is None:
        return "strace is not installed"
    with tempfile.TemporaryDirectory(dir=folder) as own, listening(port) as ear:
        if recorded is None:
            child = Child("load", own, port, WINDOW, count, 0, 0)
        else:
            file = Path(own) / "recorded"
            file.write_bytes(pickle.dumps(recorded[:count]))
            child = Child("bare", port, file, WINDOW, 0)
        with child:
            calls = _straced(strace, child, ear, count, Path(own) / "calls")
    return calls if isinstance(calls, str) else (calls.total() / count, calls)


def _straced(strace: str, child: Child, ear: Subscriber, count: int, out: Path) -> Counter[str] | str:
    command = [strace, "-f", "-c", "-o", str(out), "-p", str(child.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        if "attached" not in said:
            return f"strace may not look: {said.strip()}"
        child.order("go")
        complete = ear.take(count, ARRIVE_WITHIN_S)
        process.send_signal(signal.SIGINT)
        process.wait(10)
    child.stop()
    if not complete:
        return "under strace the events did not arrive in time"
    rows = (line.split() for line in out.read_text().splitlines())
    return Counter({row[-1]: int(row[3]) for row in rows if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"})
