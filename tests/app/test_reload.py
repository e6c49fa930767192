"""A reload as a user sees it: the service is its own process, the broker is real."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.brokers import Mosquitto, free_port
from tests.service import Service, wait_until

AIR = "  - {id: air, driver: signal, every: 50ms, signals: {t: {quantity: temperature, constant: 20}}}\n"
TANK = "  - {id: tank, driver: signal, every: 50ms, signals: {t: {quantity: temperature, constant: 5}}}\n"


def write(file, *devices, port, head="gateway: {id: pi}"):
    sinks = f"sinks:\n  - {{id: home, sink: mqtt, url: 'mqtt://127.0.0.1:{port}'}}\n"
    file.write_text(f"{head}\ndevices:\n{''.join(devices)}{sinks}buffer: {{path: pi.db}}\n", encoding="utf-8")


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path / "pi.yaml", tmp_path)
    yield service
    if service.process is not None and service.process.poll() is None:
        service.kill()


def command(service, *words):
    return subprocess.run(service.command(*words), env=service.environ, capture_output=True, text=True)


def test_the_command_shows_what_changed_or_what_is_wrong(service):
    port = free_port()
    write(service.file, AIR, TANK, port=port)
    service.start()
    write(service.file, AIR.replace("50ms", "1s"), port=port)
    done = command(service, "reload", "--gateway", "pi")
    assert done.returncode == 0, done.stderr
    first, second, third, *rest = done.stdout.splitlines()
    assert (first, second, third) == ("- device tank", "~ device air (every 50ms -> 1s)", "= 1 untouched")
    assert all(line.startswith("warning: ") for line in rest)
    hash_before = service.status()["gateway"]["config_hash"]
    write(service.file, AIR.replace("50ms", "5"), port="nothing", head="gateway: {id: po}")
    done, checked = command(service, "reload", "--gateway", "pi"), command(service, "check", str(service.file))
    assert done.returncode == checked.returncode == 2
    assert done.stdout == checked.stdout
    assert "2 problems" in done.stdout
    write(service.file, AIR, port=port, head="gateway: {id: po}")
    done = command(service, "reload", "--gateway", "pi", "--json")
    assert done.returncode == 2
    (problem,) = json.loads(done.stdout)["problems"]
    assert (problem["path"], problem["line"]) == ("gateway.id", 1)
    status = service.status()
    assert status["gateway"]["config_hash"] == hash_before
    assert [device["id"] for device in status["devices"]] == ["air"]
    service.stop()


def test_sighup_reloads_and_says_in_the_journal_what_is_wrong(service):
    port = free_port()
    write(service.file, AIR, port=port)
    service.start()
    write(service.file, AIR, TANK, port=port)
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reloaded: " in service.stderr.read_text(), 10, "the reload")
    wait_until(lambda: service.status()["devices"][1]["available"], 10, "the new device answers")
    service.file.write_text("devices: 5\n")
    service.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "not reloaded: " in service.stderr.read_text(), 10, "the refusal")
    assert f"{service.file}:1:10 devices: found 5" in service.stderr.read_text()
    assert len(service.status()["devices"]) == 2
    service.stop()
    assert "Traceback" not in service.stderr.read_text()


def test_a_terminal_that_is_closed_ends_the_gateway_in_good_order(service):
    write(service.file, AIR, port=free_port())
    ours, theirs = os.openpty()

    def take_terminal():
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with service.stderr.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--config", str(service.file)],
            env=service.environ, stdin=theirs, stdout=subprocess.DEVNULL, stderr=stderr,
            preexec_fn=take_terminal,  # noqa: PLW1509 - no other way to a terminal of its own; no thread runs here
        )  # fmt: skip
    os.close(theirs)
    try:
        wait_until(lambda: " runs: " in service.stderr.read_text(), 20, "the start")
        process.send_signal(signal.SIGHUP)  # the terminal is still there
        wait_until(lambda: "reloaded: " in service.stderr.read_text(), 10, "a reload")
        os.close(ours)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
    assert service.stderr.read_text().rstrip().endswith("stopped")


@pytest.mark.mosquitto
def test_the_broker_gets_another_birth_and_what_the_yaml_lost_is_cleared(service, mosquitto: Mosquitto):
    write(service.file, AIR, TANK, port=mosquitto.port)
    retained: dict[str, bytes] = {}

    def note(client, userdata, message):
        if message.payload:
            retained[message.topic.removeprefix("gateway/pi/")] = message.payload
        else:
            retained.pop(message.topic.removeprefix("gateway/pi/"), None)

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = note
    client.on_connect = lambda client, *_: [
        client.subscribe(f"gateway/pi/{what}") for what in ("status", "state/#", "availability/#")
    ]
    client.connect("127.0.0.1", mosquitto.port)
    client.loop_start()
    try:
        service.start()
        everything = {"status", "state/air/t", "state/tank/t", "availability/air", "availability/tank"}
        wait_until(lambda: retained.keys() == everything, 10, "the whole picture")
        birth = json.loads(retained["status"])
        write(service.file, AIR, port=mosquitto.port, head="gateway: {id: pi, labels: {site: north}}")
        assert command(service, "reload", "--gateway", "pi").returncode == 0
        wait_until(lambda: retained.keys() == {"status", "state/air/t", "availability/air"}, 10, "the tank is gone")
        wait_until(lambda: json.loads(retained["status"])["labels"] == {"site": "north"}, 10, "another birth")
        again = json.loads(retained["status"])
        assert again["session"] == birth["session"], "the same connection"
        assert again["config"] != birth["config"]
        assert again["devices"] == {"air": "signal"}
        (sink,) = service.status()["sinks"]
        assert sink["connected"]
        service.stop()
    finally:
        client.disconnect()
        client.loop_stop()
