"""Consumers and the commands of the stream beside a gateway that runs, and what a kill -9 leaves of them."""

import asyncio
import json
import queue
import shutil
import signal
import sqlite3
import subprocess
import threading

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway.clock import SystemClock
from gateway.event import Event
from gateway.eventlog import EventLog
from tests.brokers import Mosquitto, free_port
from tests.service import Service, configuration, wait_until

EVENTS = {"backup": 300_000, "export": 75_000}
"""So many that a copy takes a second at least: it shall be killed in the middle."""


@pytest.fixture
def service(tmp_path):
    """A gateway whose broker is not there, at 200 events a second."""
    service = Service(configuration(tmp_path, "stream", f"mqtt://127.0.0.1:{free_port()}", 200), tmp_path)
    yield service
    if service.process is not None and service.process.poll() is None:
        service.kill()


def run(service, *words, code=0):
    done = subprocess.run(
        service.command(*words), env=service.environ, capture_output=True, text=True, cwd=service.folder, timeout=60
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


class Consumer:
    """`gateway consume NAME --json`, followed by a thread."""

    def __init__(self, service, *words):
        self.ids = []
        self.process = subprocess.Popen(
            service.command("consume", *words, "--json", "--gateway", service.id),
            env=service.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self):
        for line in self.process.stdout:
            self.ids.append(json.loads(line)["id"])

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        self.process.wait(10)
        self._thread.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        return self.ids


def log_of(service):
    return json.loads(run(service, "log", "--json", "--gateway", service.id).stdout)


def test_a_consumer_misses_nothing_across_kills_of_the_gateway_and_of_itself(service):
    service.start()
    consumer, seen = Consumer(service, "mine", "--from", "earliest"), []
    for kill_reader in (False, True, False):
        reached = len(consumer.ids) + 150
        wait_until(lambda ids=consumer.ids, reached=reached: len(ids) >= reached, 30, "events are consumed")
        if kill_reader:
            seen += consumer.end(signal.SIGKILL)
            consumer = Consumer(service, "mine")
        else:
            service.kill()
            service.start()
    reached = len(consumer.ids) + 150
    wait_until(lambda: len(consumer.ids) >= reached, 30, "it goes on by itself")
    seen += consumer.end()
    service.kill()
    accepted = service.accepted()
    first = list(dict.fromkeys(seen))
    assert first == accepted[: len(first)], "every event, in order, from the first on"
    assert len(first) >= 300, "some of the 600 came again"


def test_what_a_command_does_not_acknowledge_is_given_again_also_after_a_kill(service, tmp_path):
    service.start()
    done = tmp_path / "done"
    script = f"echo $GATEWAY_EVENT_OFFSET $GATEWAY_EVENT_DELIVERIES >> {done}; test $GATEWAY_EVENT_OFFSET -ne 2"
    words = ("consume", "act", "--from", "earliest", "--count", "4", "--exec", script, "--gateway", service.id)
    wait_until(lambda: service.status()["log"]["events"] > 20, 20, "events are recorded")
    run(service, *words)
    wait_until(lambda: _stored(service, "act") == (5,), 20, "what is settled is written")
    service.kill()
    service.start()
    run(service, *words)
    lines = [tuple(map(int, line.split())) for line in done.read_text().splitlines()]
    assert lines[:4] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert (2, 2) in lines[4:]
    assert not {offset for offset, _ in lines[4:]} & {1, 3, 4}


def _stored(service, name):
    with sqlite3.connect(service.log_path) as raw:
        found = raw.execute("SELECT next_offset FROM consumer WHERE name = ?", (name,)).fetchone()
    raw.close()
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """(kind) -> a log with as many events as a copy of this kind takes a while for; made once."""
    made = {}

    async def fill(path, count):
        log = await EventLog.open(path, SystemClock())
        for n in range(0, count, 3000):
            events = [Event("reading", f"d/c{k % 50}", k, k, k * 0.7919, "Cel", "good") for k in range(n, n + 3000)]
            await log.append(events)
        await log.close()

    def of(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("filled") / f"{kind}.db"
            asyncio.run(fill(made[kind], EVENTS[kind]))
        return made[kind]

    return of


@pytest.fixture
def kind():
    return "export"


@pytest.fixture
def big(service, filled, kind):
    """The same with a log of many events, so that copying it takes a while."""
    shutil.copy(filled(kind), service.log_path)
    return service


COPIES = {"backup": ("backup", "copy.db"), "export": ("export", "copy.jsonl")}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_that_is_killed_leaves_no_half_file_and_the_next_is_whole(big, kind):
    big.start()
    words = (*COPIES[kind], "--gateway", big.id)
    target = big.folder / words[1]
    copying = subprocess.Popen(big.command(*words), env=big.environ, cwd=big.folder, stdout=subprocess.DEVNULL)
    partial = target.with_name(f".{target.name}.partial")
    wait_until(lambda: partial.exists() and partial.stat().st_size > 100_000, 20, "it copies")
    copying.kill()
    assert copying.wait(10) == -signal.SIGKILL, "it was killed in the middle"
    assert not target.exists()
    run(big, *words)
    big.stop()
    _is_whole(big, target, kind)


@pytest.mark.parametrize("kind", COPIES)
def test_a_gateway_that_is_killed_while_it_is_copied_loses_nothing_and_leaves_no_half_file(big, kind):
    big.start()
    words = (*COPIES[kind], "--gateway", big.id)
    target = big.folder / words[1]
    before = big.status()["log"]["next_offset"]
    copying = subprocess.Popen(
        big.command(*words),
        env=big.environ,
        cwd=big.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    partial = target.with_name(f".{target.name}.partial")
    wait_until(lambda: partial.exists() and partial.stat().st_size > 100_000, 20, "it copies")
    big.kill()
    _, said = copying.communicate(timeout=20)
    assert copying.returncode == 1
    assert "closed the connection" in said or "no gateway listens" in said, "between two pages there is no connection"
    assert "Traceback" not in said
    assert not list(big.folder.glob("*copy*"))
    big.start()
    wait_until(lambda: big.status()["log"]["next_offset"] > before, 20, "it goes on")
    run(big, *words)
    big.stop()
    assert len(big.accepted()) >= before - 1
    _is_whole(big, target, kind)


def _is_whole(service, target, kind):
    assert not list(service.folder.glob(".*partial*"))
    accepted = service.accepted()
    if target.suffix == ".jsonl":
        with target.open(encoding="utf-8") as lines:
            copied = [json.loads(line)["id"] for line in lines]
    else:
        service.log_path = target
        copied = service.accepted()
    assert copied == accepted[: len(copied)]
    assert len(copied) >= EVENTS[kind]


def test_a_live_log_is_copied_while_it_grows_and_the_gateway_does_not_wait(big):
    big.start()
    before = big.status()["log"]["next_offset"]
    run(big, "backup", "copy.db", "--gateway", big.id)
    run(big, "restore", "copy.db", "--log", "restored.db")
    wait_until(lambda: big.status()["log"]["next_offset"] > before, 20, "it records all the while")
    document = json.loads(run(big, "log", "--log", "restored.db", "--json").stdout)
    assert document["next_offset"] >= before
    assert document["first_offset"] == 1
    big.stop()


def test_a_purge_beside_a_running_gateway_lets_it_go_on(big):
    big.start()
    said = run(big, "purge", "--before", "48001", "--yes", "--gateway", big.id).stdout
    assert "48 000 events purged" in said
    assert "wear levelling" in said
    before = log_of(big)
    assert before["first_offset"] == 48_001
    wait_until(lambda: big.status()["log"]["next_offset"] > before["next_offset"], 20, "it goes on")
    big.stop()


@pytest.mark.mosquitto
def test_replay_sends_marked_events_to_the_sink_and_touches_no_state(tmp_path, mosquitto: Mosquitto):
    file = configuration(tmp_path, "replayed", f"mqtt://127.0.0.1:{mosquitto.port}", 20)
    service = Service(file, tmp_path).start()
    wait_until(lambda: service.status()["sinks"][0]["cursor"] > 60, 30, "events are delivered")
    service.stop()
    arrived: queue.SimpleQueue[mqtt.MQTTMessage] = queue.SimpleQueue()
    ready = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect = lambda client, *_: client.subscribe("gateway/replayed/#", qos=1)
    client.on_subscribe = lambda *_: ready.set()
    client.on_message = lambda client, userdata, message: arrived.put(message)
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    try:
        assert ready.wait(10)
        words = ("replay", "--from", "10", "--to", "51", "--sink", "home", "--config", str(file))
        assert "41 events accepted by home" in run(service, *words).stdout
        messages = []
        while len([m for m in messages if not m.retain]) < 41:
            messages.append(arrived.get(timeout=10))
    finally:
        client.disconnect()
        client.loop_stop()
    live = [message for message in messages if not message.retain]
    assert {message.topic.split("/")[2] for message in live} == {"event"}
    sent = [json.loads(message.payload) for message in live]
    assert all(event["historical"] for event in sent)
    assert [event["id"] for event in sent] == service.accepted()[9:50]
