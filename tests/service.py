"""The real gateway as a user runs it: its own process, a real broker, a real subscriber, a real `gateway tail`.

A rig judges by one oracle: what was *accepted* (read from the log, or seen on `gateway tail --json`) against what
*arrived* at the subscriber, by event id. Order is judged on first arrivals.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import monotonic, time
from typing import Any, Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

READY_S = 20.0


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's value once it is true; fails with `what` after the deadline."""
    deadline, tick = monotonic() + seconds, threading.Event()
    while not (found := condition()):
        assert monotonic() < deadline, f"waited {seconds:g} s in vain: {what}"
        tick.wait(0.01)
    return found


def configuration(folder: Path, gateway_id: str, url: str, events_per_s: int, *, sink: str = "") -> Path:
    """A YAML file whose devices make `events_per_s` events a second in all."""
    devices = max(1, events_per_s // 100)
    channels = min(events_per_s // devices, 100)
    every_ms = round(1000 * devices * channels / events_per_s)
    signals = "".join(
        f"      c{n}: {{quantity: load, sine: {{min: 0, max: {n + 1}, period: {7 + n}s}}}}\n" for n in range(channels)
    )
    listed = "".join(
        f"  - id: d{d}\n    driver: signal\n    every: {every_ms}ms\n    signals:\n{signals}" for d in range(devices)
    )
    file = folder / f"{gateway_id}.yaml"
    file.write_text(
        f"gateway: {{id: {gateway_id}}}\ndevices:\n{listed}"
        f"sinks:\n  - {{id: home, sink: mqtt, url: '{url}'{sink}}}\n"
        f"buffer: {{path: {gateway_id}.db}}\n",
        encoding="utf-8",
    )
    return file


class Service:
    """`gateway run` on a configuration file, started and ended as often as a rig wants."""

    def __init__(self, file: Path, folder: Path, *flags: str) -> None:
        self.file, self.folder, self._flags = file, folder, flags
        self.id = f"{file.stem}-sim" if "--simulate" in flags else file.stem
        self.log_path = folder / f"{self.id}.db"
        homes = {"XDG_RUNTIME_DIR": str(folder / "run"), "XDG_STATE_HOME": str(folder / "state")}
        self.environ = {**os.environ, **homes, "PYTHONUNBUFFERED": "1"}
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is installed was compiled once, not at every start
        (folder / "run").mkdir(mode=0o700, exist_ok=True)
        self.program = [sys.executable, "-m", "gateway"]
        self.process: subprocess.Popen[bytes] | None = None
        self.stderr = folder / f"{self.id}.stderr"

    def start(self) -> Self:
        """Returns when the gateway says that it is ready, the way systemd would learn it."""
        address = str(self.folder / f"{self.id}.notify")
        Path(address).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address)
            manager.settimeout(READY_S)
            with self.stderr.open("ab") as stderr:
                self.process = subprocess.Popen(
                    [*self.program, "run", "--config", str(self.file), *self._flags],
                    env={**self.environ, "NOTIFY_SOCKET": address}, stdout=subprocess.DEVNULL, stderr=stderr,
                )  # fmt: skip
            try:
                assert manager.recv(100) == b"READY=1"
            except TimeoutError:
                raise AssertionError(f"not ready within {READY_S:g} s:\n{self.stderr.read_text()}") from None
        return self

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(15) == 0, self.stderr.read_text()
        assert "--- Logging error ---" not in self.stderr.read_text()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "gateway", *words]

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            self.command("status", "--json", "--gateway", self.id), env=self.environ, capture_output=True, check=True
        )
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def accepted(self) -> list[str]:
        """The ids of all events in the log, in order of their offsets; checks the file on the way."""
        with closing(sqlite3.connect(self.log_path)) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = raw.execute(
                "SELECT nonce, base_offset, last_offset FROM batch JOIN run ON run.id = batch.run ORDER BY base_offset"
            ).fetchall()
        ids = [f"{nonce}-{offset}" for nonce, base, last in rows for offset in range(base, last + 1)]
        offsets = [int(i.split("-")[1]) for i in ids]
        assert offsets == list(range(1, len(ids) + 1)), "offsets have no holes"
        return ids


class Tail:
    """`gateway tail --json`, followed by a thread: what it has shown is what a user believes safe."""

    def __init__(self, service: Service, since: int) -> None:
        self.seen: list[str] = []
        self._process = subprocess.Popen(
            service.command("tail", "--json", "--from", str(since), "--gateway", service.id),
            env=service.environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("\n") and '"gap"' not in line[:10]:
                self.seen.append(json.loads(line)["id"])

    def end(self) -> list[str]:
        """After the service is gone the command ends by itself; returns every id it showed."""
        self._process.wait(10)
        self._thread.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self.seen


@dataclass
class Arrival:
    """One PUBLISH at the subscriber."""

    id: str
    sequence: int
    previous: int | None
    at: float
    wall_s: float
    payload: bytes


@dataclass
class Verdict:
    """Accepted against arrived."""

    accepted: int
    arrived: int
    duplicates: int
    lost: list[str]
    foreign: list[str]
    inversions: int
    chain_breaks: int
    altered: int

    def clean(self) -> bool:
        return not (self.lost or self.foreign or self.inversions or self.chain_breaks or self.altered)


class Subscriber:
    """A real MQTT subscriber that notes everything that arrives under one gateway's event topics."""

    def __init__(self, port: int, gateway_id: str, base: str = "gateway") -> None:
        self.arrivals: list[Arrival] = []
        self._ready: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{base}/{gateway_id}/event/#", qos=1)
        self._client.on_subscribe = lambda *_: self._ready.put(True)
        self._client.on_message = self._note
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._ready.get(timeout=10)

    def _note(self, client: mqtt.Client, userdata: object, message: mqtt.MQTTMessage) -> None:
        event = json.loads(message.payload)
        previous = event.get("previous")
        after = int(previous) if previous else None
        self.arrivals.append(Arrival(event["id"], int(event["sequence"]), after, monotonic(), time(), message.payload))

    def lag_s(self) -> float:
        """How old the newest arrival was when it arrived, from its recording on."""
        newest = self.arrivals[-1]
        return newest.wall_s - datetime.fromisoformat(json.loads(newest.payload)["recordedtime"]).timestamp()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def has(self, ids: list[str]) -> bool:
        return set(ids) <= {arrival.id for arrival in self.arrivals}

    def judge(self, accepted: list[str]) -> Verdict:
        """Compare with what the log holds."""
        first: dict[str, Arrival] = {}
        altered = 0
        for arrival in self.arrivals:
            known = first.setdefault(arrival.id, arrival)
            altered += known.payload != arrival.payload
        sequences = [arrival.sequence for arrival in first.values()]
        present, known_ids = set(sequences), set(accepted)
        return Verdict(
            accepted=len(accepted),
            arrived=len(first),
            duplicates=len(self.arrivals) - len(first),
            lost=[i for i in accepted if i not in first],
            foreign=[i for i in first if i not in known_ids],
            inversions=sum(later < earlier for earlier, later in itertools.pairwise(sequences)),
            chain_breaks=sum(a.previous is not None and a.previous not in present for a in first.values()),
            altered=altered,
        )


@contextmanager
def subscribed(port: int, gateway_id: str) -> Iterator[Subscriber]:
    subscriber = Subscriber(port, gateway_id)
    try:
        yield subscriber
    finally:
        subscriber.close()


@dataclass
class ProcessIo:
    """What the kernel counts of a process: bytes written and CPU seconds."""

    written_bytes: int
    write_calls_bytes: int
    cpu_s: float
    rss_kib: int
    fields: dict[str, int] = field(default_factory=dict)


def measure(pid: int) -> ProcessIo:
    """/proc/PID/io, stat and status, read together."""
    io = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    rss = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return ProcessIo(
        int(io["write_bytes"]), int(io["wchar"]), (int(stat[11]) + int(stat[12])) / ticks, int(rss.split()[1])
    )
