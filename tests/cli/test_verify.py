"""`gateway verify` against a real gateway and real brokers, one of which forgets what it acknowledged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.brokers import Mosquitto
from tests.service import Service, configuration, wait_until

pytestmark = pytest.mark.mosquitto

WANTED = ", events: {subjects: [d0/c0, gateway]}"


def verify(service: Service, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(service, *words), env=service.environ, capture_output=True, text=True, timeout=60)


def verify_twice(service: Service, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """(as a person sees it, as a machine does), listening at the same time."""
    with subprocess.Popen(
        _command(service, *words, "--json"), env=service.environ, stdout=subprocess.PIPE, text=True
    ) as other:
        done = verify(service, *words)
        document: dict[str, Any] = json.loads(other.communicate(timeout=60)[0])
    assert other.returncode == done.returncode, done.stderr
    return done, document


def _command(service: Service, *words: str) -> list[str]:
    return service.command("verify", "--sink", "home", "--gateway", service.id, *words)


@contextmanager
def running(folder: Path, url: str, *, sink: str = "") -> Iterator[Service]:
    service = Service(configuration(folder, "proof-pi", url, 50, sink=sink), folder).start()
    try:
        wait_until(lambda: service.status()["sinks"][0]["connected"], 20, "the sink is connected")
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()


@contextmanager
def forgetful_bridge(source: int, target: int, forgets: str) -> Iterator[list[int]]:
    """Passes on from one broker to another what it has acknowledged, but for some. Yields the sequences it forgot."""
    forgot: list[int] = []
    out, into = (mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5) for _ in range(2))

    def pass_on(_client, _data, message):
        event = json.loads(message.payload)
        if event["sequence"].endswith(forgets):
            forgot.append(int(event["sequence"]))
        else:
            into.publish(message.topic, message.payload, qos=1)

    out.on_message = pass_on
    out.on_connect = lambda client, *_: client.subscribe("gateway/proof-pi/event/#", qos=1)
    for client, port in ((into, target), (out, source)):
        client.connect("127.0.0.1", port)
        client.loop_start()
    try:
        yield forgot
    finally:
        for client in (out, into):
            client.disconnect()
            client.loop_stop()


def test_a_sink_that_misses_nothing_is_proven_to_all_who_ask_at_the_same_time(tmp_path: Path) -> None:
    with Mosquitto() as broker, running(tmp_path, f"mqtt://127.0.0.1:{broker.port}", sink=WANTED) as service:
        done, proof = verify_twice(service, "--for", "2s")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "proven: the chain is whole" in done.stdout
        assert proof["proven"]
        assert proof["expected"] == proof["heard"] > 0
        assert proof["missing"] == proof["holes"] == []
        assert proof["until"] - proof["since"] > proof["expected"], "what the sink does not select is no hole"


def test_what_a_broker_acknowledged_and_forgot_is_named(tmp_path: Path) -> None:
    """The gateway cannot know: only a subscriber can. It listens where the events should come out."""
    with (
        Mosquitto() as near,
        Mosquitto() as far,
        forgetful_bridge(near.port, far.port, forgets="7") as forgot,
        running(tmp_path, f"mqtt://127.0.0.1:{near.port}") as service,
    ):
        other = tmp_path / "far.yaml"
        other.write_text(service.file.read_text().replace(str(near.port), str(far.port)))
        done, proof = verify_twice(service, "--for", "2s", "--config", str(other))
        assert not proof["proven"]
        lost = [offset for offset in forgot if proof["since"] <= offset < proof["until"]]
        assert lost
        assert [one["first"] for one in proof["missing"]] == lost
        assert {one["why"] for one in proof["missing"]} == {"lost"}
        assert done.returncode == 1
        assert "acknowledged them, and they never arrived here" in done.stdout


def test_a_restart_in_between_is_no_loss(tmp_path: Path) -> None:
    with Mosquitto() as broker, running(tmp_path, f"mqtt://127.0.0.1:{broker.port}") as service:
        socket = tmp_path / "run" / "gateway" / service.id / "control.sock"
        listening = subprocess.Popen(
            service.command("verify", "--sink", "home", "--socket", str(socket), "--for", "4s", "--json"),
            env=service.environ, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        before = service.status()["log"]["next_offset"]
        wait_until(lambda: service.status()["log"]["next_offset"] > before + 20, 20, "events go on")
        service.kill()
        service.start()
        proof = json.loads(listening.communicate(timeout=60)[0])
        assert proof["proven"], proof
        assert proof["heard"] > 50


def test_a_console_cannot_be_verified(tmp_path: Path) -> None:
    with running_console(tmp_path) as service:
        done = verify(service)
        assert done.returncode == 2
        assert "of which nothing can be heard" in done.stderr


@contextmanager
def running_console(folder: Path) -> Iterator[Service]:
    file = folder / "proof-pi.yaml"
    file.write_text("gateway: {id: proof-pi}\nsinks: [{id: home, sink: console}]\nbuffer: {path: proof-pi.db}\n")
    service = Service(file, folder).start()
    try:
        yield service
    finally:
        service.stop()
