"""`gateway sinks` and `gateway sinks test`, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import commands
from tests.brokers import Mosquitto, Subscriber, free_port
from tests.service import Service, configuration

YAML = """
gateway: {{id: sinks-pi}}
sinks:
  - {{id: home, sink: mqtt, url: '{url}', username: pi, password: hunter2}}
  - {{id: cloud, sink: mqtt, url: ['mqtt://127.0.0.1:{dead}', 'mqtts://two.example:8884'],
      events: {{types: [state, device.*], subjects: [air/*], quality: [good]}}}}
  - {{id: paper, sink: console}}
"""


def written(folder: Path, url: str = "mqtt://127.0.0.1") -> Path:
    file = folder / "gateway.yaml"
    file.write_text(YAML.format(url=url, dead=free_port()))
    return file


def run(*words: str) -> Result:
    return CliRunner().invoke(commands, ["sinks", *words])


def test_the_list_says_where_events_go_and_which(home: Path) -> None:
    file = written(home)
    done = run("--config", str(file))
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines] == ["SINK", "home", "cloud", "paper"]
    assert "mqtts://two.example:8884" in lines[2]
    assert "types state, device.*; subjects air/*; quality good" in lines[2]
    assert "hunter2" not in done.output
    document = json.loads(run("--config", str(file), "--json").output)
    assert document["sinks"][1]["events"] == {
        "types": ["state", "device.*"],
        "subjects": ["air/*"],
        "quality": ["good"],
    }
    assert document["sinks"][2] == {"id": "paper", "sink": "console", "where": "", "events": {}}


def test_an_unknown_sink_is_named_with_the_nearest(home: Path) -> None:
    done = run("test", "hoem", "--config", str(written(home)))
    assert done.exit_code == 1 or done.exception is not None
    assert "unknown sink 'hoem' (did you mean 'home'?)" in str(done.exception)


@pytest.mark.mosquitto
@pytest.mark.parametrize("where", [["--config"], ["test", "home", "--config"]])
def test_one_event_is_sent_and_the_answer_is_told(home: Path, mosquitto: Mosquitto, where: list[str]) -> None:
    file = str(written(home, f"mqtt://127.0.0.1:{mosquitto.port}"))
    words = ["test", "home", "--config", file] if "test" in where else ["--config", file, "test", "home"]
    with Subscriber(mosquitto.port, ["gateway/sinks-pi/#"]) as subscriber:
        done = run(*words)
        subscriber.wait(lambda: len(subscriber.messages) >= 1)
    assert done.exit_code == 0, done.output
    assert "connected in " in done.output
    assert "accepted after " in done.output
    [message] = subscriber.messages
    assert message.topic == "gateway/sinks-pi/event/sink/home"
    assert json.loads(message.payload)["type"] == "io.sensor-event-gateway.sink.test.v1"


@pytest.mark.mosquitto
def test_a_refusal_is_told_with_its_code_and_is_exit_code_1(home: Path) -> None:
    home.chmod(0o755)
    access = home / "access"
    access.write_text("topic read #\n")
    access.chmod(0o644)
    with Mosquitto(f"acl_file {access}") as broker:
        done = run("test", "home", "--json", "--config", str(written(home, f"mqtt://127.0.0.1:{broker.port}")))
    assert done.exit_code == 1
    document = json.loads(done.output)
    assert (document["verdict"], document["reason"]) == ("held", "Not authorized (0x87)")
    assert document["connected_ms"] > 0


def test_a_sink_that_cannot_be_reached_says_why(home: Path) -> None:
    done = run("test", "cloud", "--config", str(written(home)))
    assert done.exit_code == 1
    assert "not connected: 127.0.0.1:" in done.output
    assert "nothing listens there (connection refused); two.example:8884: " in done.output


@pytest.mark.mosquitto
def test_a_gateway_that_runs_is_not_disturbed(tmp_path: Path, mosquitto: Mosquitto) -> None:
    service = Service(configuration(tmp_path, "calm", f"mqtt://127.0.0.1:{mosquitto.port}", 20), tmp_path)
    service.start()
    with Subscriber(mosquitto.port, ["gateway/calm/status", "gateway/calm/event/sink/#"]) as subscriber:
        command = [sys.executable, "-m", "gateway", "sinks", "test", "home", "--config", str(service.file)]
        done = subprocess.run(command, env=service.environ, capture_output=True, text=True)
        subscriber.wait(lambda: any("sink/home" in one.topic for one in subscriber.messages))
    [sink] = service.status()["sinks"]
    service.stop()
    assert (done.returncode, done.stderr) == (0, "")
    assert sink["connected"]
    assert not sink["last_error"]
    assert [json.loads(m.payload)["state"] for m in subscriber.messages if m.topic.endswith("status")] == ["online"]
