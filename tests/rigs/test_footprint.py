"""What the gateway costs: bytes that reach the card, memory, and the CPU until the first event is delivered.

The kernel's own counts of the process: `write_bytes` is what was sent towards the disk, in whole pages of the page
cache; `wchar` is what write calls carried. Both are printed, the larger one is judged.
"""

import threading
from itertools import cycle, islice
from pathlib import Path
from time import monotonic

import pytest

from gateway.budget import TRIM_BYTES, Assumptions, cost
from gateway.config import load_config
from gateway.plugins import Plugins
from gateway.wear import CREDIT_S, DAY_S
from tests.brokers import Mosquitto, free_port, make_certificates
from tests.service import Service, configuration, measure, subscribed, wait_until

MEASURED_S = 60.0
RSS_KIB_MAX = 55 * 1024
CPU_S_MAX = 0.7
STARTS = 3
"""The least CPU of so many starts: neighbours on the machine only ever add to it."""


@pytest.mark.rig
@pytest.mark.mosquitto
@pytest.mark.parametrize(("events_per_s", "bytes_max"), [(20, 700), (1, 6000)])
def test_few_bytes_reach_the_card_for_an_event(tmp_path, mosquitto: Mosquitto, capsys, events_per_s, bytes_max):
    name = f"bytes-{events_per_s}"
    service = Service(configuration(tmp_path, name, f"mqtt://127.0.0.1:{mosquitto.port}", events_per_s), tmp_path)
    with subscribed(mosquitto.port, name) as subscriber:
        service.start()
        wait_until(lambda: subscriber.arrivals, 10, "events flow")
        before, events = measure(service.process.pid), service.status()["log"]["events"]
        threading.Event().wait(MEASURED_S)
        after, events = measure(service.process.pid), service.status()["log"]["events"] - events
        service.stop()
    sent = (after.written_bytes - before.written_bytes) / events
    called = (after.write_calls_bytes - before.write_calls_bytes) / events
    with capsys.disabled():
        print(
            f"\n  {events_per_s}/s for {MEASURED_S:g} s: {events} events, {sent:.0f} bytes to the disk per event "
            f"(write calls: {called:.0f}), bar {bytes_max}; {1000 * (after.cpu_s - before.cpu_s) / events:.2f} ms CPU"
        )
    assert events >= 0.9 * events_per_s * MEASURED_S
    assert max(sent, called) <= bytes_max
    config = load_config(service.file, Plugins())
    trimmed = events / MEASURED_S * TRIM_BYTES * DAY_S  # the budget is that of a full log, and this one is young
    per_day = cost(config, "busy", Assumptions(), 1).written_bytes_per_day - trimmed
    estimated = per_day / DAY_S * MEASURED_S / events
    with capsys.disabled():
        print(f"  `gateway budget` says {estimated:.0f} bytes an event")
    assert 0.8 <= estimated / max(sent, called) <= 2.0, "at most as many commits as are possible: never less, by much"


WEAR_PER_S, WEAR_LIMIT = 2, 20_000_000


@pytest.mark.rig
@pytest.mark.mosquitto
def test_wear_makes_a_real_gateway_commit_more_rarely_until_its_limit_is_kept(tmp_path, mosquitto: Mosquitto, capsys):
    """The credit of an hour at 20 MB/day is 833 kB: half of it is gone after a minute and a half.

    Commits are counted, not bytes: SQLite folds the write-ahead log in at once, every 100 commits or so.
    """
    file = configuration(tmp_path, "wear", f"mqtt://127.0.0.1:{mosquitto.port}", WEAR_PER_S)
    file.write_text(file.read_text().replace("wear.db", "wear.db, wear: 20MB/day"))
    service = Service(file, tmp_path)
    with subscribed(mosquitto.port, "wear") as subscriber:
        service.start()
        begun, began = measure(service.process.pid), monotonic()
        wait_until(lambda: service.status()["log"]["written"]["commit_within_s"] > 10, 300, "readings wait for long")
        before, since = service.status()["log"], monotonic()
        threading.Event().wait(MEASURED_S)
        after, took_s = service.status()["log"], monotonic() - since
        written, lasted_s = measure(service.process.pid).written_bytes - begun.written_bytes, monotonic() - began
        service.stop()
        accepted = service.accepted()
        wait_until(lambda: subscriber.has(accepted), 10, "everything accepted arrives")
    commits = after["batches"] - before["batches"]
    with capsys.disabled():
        print(
            f"\n  wear: 20MB/day: {commits} commits in {took_s:.0f} s, at last readings wait "
            f"{after['written']['commit_within_s']:.0f} s; {written / 1e6:.2f} MB in {lasted_s:.0f} s"
        )
    assert service.stderr.read_text().count("readings wait longer for their commit") == 1
    assert 1 <= commits <= took_s / 9 + 1
    assert written <= WEAR_LIMIT * (lasted_s + CREDIT_S) / DAY_S


STORM_PER_S = 200
STORM_JUDGED_S = 8.0
STORM_SUBJECTS = ("door/pressed", "door/click")


@pytest.mark.rig
@pytest.mark.mosquitto
def test_a_storm_of_urgent_events_stops_wearing_the_card_after_ten_seconds(tmp_path, mosquitto: Mosquitto, capsys):
    """The same contact in the same run, while its events are urgent and after they lost that."""
    file = tmp_path / "storm.yaml"
    file.write_text(
        "gateway: {id: storm}\n"
        "devices:\n"
        "  - id: door\n"
        "    driver: button\n"
        "    pin: 17\n"
        "    bounce: 0s\n"
        "    simulate: {pressed: {square: {period: 30ms}}}\n"
        f"sinks: [{{id: home, sink: mqtt, url: 'mqtt://127.0.0.1:{mosquitto.port}'}}]\n"
        "buffer: {path: storm.db}\n",
        encoding="utf-8",
    )
    service = Service(file, tmp_path, "--simulate", "--live-sinks")
    service.log_path = tmp_path / "state/gateway/storm-sim/events.db"
    with subscribed(mosquitto.port, "storm-sim") as subscriber:
        service.start()
        wait_until(lambda: len(subscriber.arrivals) > 20, 10, "events flow")
        urgent = bytes_per_event(service)
        for subject in STORM_SUBJECTS:
            wait_until(lambda subject=subject: said(service, subject), 15, "it is said")
        demoted = bytes_per_event(service)
        service.stop()
        accepted = service.accepted()
        wait_until(lambda: subscriber.has(accepted), 10, "everything accepted arrives")
    with capsys.disabled():
        print(
            f"\n  a button that flutters and bounces: {urgent[0]:.0f} bytes an event while urgent "
            f"({urgent[1]:.0f}/s), "
            f"{demoted[0]:.0f} after it lost that ({demoted[1]:.0f}/s)"
        )
    assert [said(service, subject) for subject in STORM_SUBJECTS] == [1, 1], "once for each"
    assert min(urgent[1], demoted[1]) > 0.6 * STORM_PER_S
    assert demoted[0] < urgent[0] / 5


def said(service: Service, subject: str) -> int:
    return service.stderr.read_text().count(f"{subject}: more than 20 urgent events a second")


def bytes_per_event(service: Service) -> tuple[float, float]:
    """(bytes that reached the card per event, events a second) over the next seconds."""
    before, events, began = measure(service.process.pid), service.status()["log"]["events"], monotonic()
    threading.Event().wait(STORM_JUDGED_S)
    after, events, took_s = (
        measure(service.process.pid),
        service.status()["log"]["events"] - events,
        monotonic() - began,
    )
    sent, called = after.written_bytes - before.written_bytes, after.write_calls_bytes - before.write_calls_bytes
    return max(sent, called) / events, events / took_s


@pytest.mark.rig
@pytest.mark.mosquitto
def test_memory_and_the_way_to_the_first_event_are_short(tmp_path, capsys):
    ca, certificate, key = make_certificates(tmp_path)
    plain = free_port()
    with Mosquitto(f"certfile {certificate}", f"keyfile {key}", f"listener {plain} 127.0.0.1") as broker:
        service = Service(twenty_devices(tmp_path, broker.port, ca), tmp_path, "--simulate", "--live-sinks")
        first_cpu_s = min(cpu_until_delivered(service, plain) for _ in range(STARTS))
        with subscribed(plain, service.id) as subscriber:
            service.start()
            threading.Event().wait(MEASURED_S)
            used, delivered = measure(service.process.pid), len(subscriber.arrivals)
            service.stop()
    with capsys.disabled():
        print(
            f"\n  TLS sink, 20 devices, {MEASURED_S:g} s after start: {used.rss_kib / 1024:.1f} MB RSS (bar 55), "
            f"{first_cpu_s:.2f} s CPU to the first delivered event (bar {CPU_S_MAX}), {delivered} delivered"
        )
    assert delivered > 0
    assert used.rss_kib <= RSS_KIB_MAX
    assert first_cpu_s <= CPU_S_MAX


def cpu_until_delivered(service: Service, port: int) -> float:
    """CPU seconds from the start until the first event is at a subscriber."""
    with subscribed(port, service.id) as subscriber:
        service.start()
        wait_until(lambda: subscriber.arrivals, 10, "the first event is delivered")
        cpu_s = measure(service.process.pid).cpu_s
        service.stop()
    return cpu_s


KINDS = (
    "{{id: pi{n}, driver: system, simulate: false}}",
    "{{id: cpu{n}, driver: thermal, simulate: {{temperature: {{sine: {{min: 40, max: 60, period: 60s}}}}}}}}",
    "{{id: b{n}, driver: button, pin: {pin}, simulate: {{pressed: {{presses: {{every: 3s, hold: 200ms}}}}}}}}",
    "{{id: s{n}, driver: signal, signals: {{t: {{quantity: temperature, sine: {{min: 0, max: 9, period: 60s}}}}}}}}",
    "{{id: w{n}, driver: w1, sensor: 28-{n:012}, simulate: {{temperature: {{ramp: {{from: 5, to: 9, period: 1m}}}}}}}}",
    "{{id: m{n}, driver: motion, pin: {pin}, simulate: {{motion: {{presses: {{every: 5s, hold: 1s}}}}}}}}",
)


def twenty_devices(folder: Path, port: int, ca: Path) -> Path:
    """Of six kinds. Pins, zones and buses are simulated at the lowest seam, the system is the machine's own."""
    kinds = islice(cycle(KINDS), 20)
    rows = "".join(f"  - {kind.format(n=n // len(KINDS), pin=n + 2)}\n" for n, kind in enumerate(kinds))
    sink = f"{{id: home, sink: mqtt, url: 'mqtts://localhost:{port}', ca: {ca}}}"
    file = folder / "twenty.yaml"
    file.write_text(
        f"gateway: {{id: twenty}}\ndevices:\n{rows}sinks:\n  - {sink}\nbuffer: {{path: twenty.db}}\n", encoding="utf-8"
    )
    return file
