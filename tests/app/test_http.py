"""`http:` of a whole gateway, as a scraper and a curious neighbour meet it."""

import asyncio
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.app import Gateway
from gateway.config import parse_config
from gateway.errors import StoreUnavailable
from gateway.plugins import Plugins
from tests.brokers import free_port
from tests.service import Service, configuration, wait_until
from tests.spine.conftest import until

CANARY = "kanarienvogel-42"


def page(port, path):
    """(status, body)."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(port):
    text = page(port, "/metrics")[1]
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def service(tmp_path, port):
    """A gateway with `http:`, and a broker that is not there, whose password is the canary."""
    login = f", username: pi, password: {CANARY}"
    file = configuration(tmp_path, "watched", f"mqtt://127.0.0.1:{free_port()}", 50, sink=login)
    file.write_text(file.read_text() + f"http: {{listen: 127.0.0.1:{port}}}\n")
    service = Service(file, tmp_path, "--log-level", "debug", "--log", "json")
    yield service
    if service.process is not None and service.process.poll() is None:
        service.kill()


def test_the_pages_tell_what_the_commands_tell_and_no_secret_is_anywhere(service, port, tmp_path):
    service.start()
    wait_until(
        lambda: metrics(port).get(("gateway_events_recorded_total", "reading"), 0) > 50, 20, "readings are counted"
    )
    shown, told = metrics(port), json.loads(page(port, "/status")[1])
    by_command = service.status()
    health, body = page(port, "/healthz")
    texts = [page(port, path)[1] for path in ("/metrics", "/status", "/healthz")]
    service.stop()
    assert shown["gateway_sink_connected", "home"] == 0
    assert shown["gateway_sink_lag_events", "home"] > 50
    assert shown["gateway_device_available", "d0"] == 1
    assert shown["gateway_batches_total",] <= shown["gateway_commit_seconds_count",]
    assert shown["gateway_written_bytes_total",] > 0
    assert told.keys() == by_command.keys()
    assert told["gateway"]["run"] == by_command["gateway"]["run"]
    assert (health, json.loads(body)) == (200, {"ok": True, "reasons": []}), "a sink may be away for a minute"
    logged = service.stderr.read_text()
    assert all(json.loads(line)["level"] for line in logged.splitlines())
    raw = sqlite3.connect(service.log_path)
    texts += [logged, json.dumps(by_command), str(raw.execute("SELECT sql FROM sqlite_schema").fetchall())]
    raw.close()
    assert all(CANARY not in text for text in texts)
    for file in tmp_path.glob("watched.db*"):
        assert CANARY.encode() not in file.read_bytes()


async def test_a_gateway_whose_disk_refuses_is_not_healthy_and_says_why(tmp_path, port, monkeypatch, caplog):
    text = f"gateway: {{id: ill}}\nbuffer: {{path: {tmp_path}/e.db}}\nhttp: {{listen: 127.0.0.1:{port}}}\n"
    async with Gateway(parse_config(text, "g.yaml", Plugins())) as gateway:
        await gateway.recorder.flush()

        async def refuse(*args, **at):
            raise StoreUnavailable("database or disk is full (SQLITE_FULL)")

        with monkeypatch.context() as patch:
            patch.setattr(gateway.log, "append", refuse)
            gateway.recorder.note("clock.step", {})
            await until(lambda: gateway.recorder.trouble)
            health, body = await asyncio.to_thread(page, port, "/healthz")
            shown = await asyncio.to_thread(metrics, port)
        await until(lambda: gateway.recorder.trouble is None)
        healthy, _ = await asyncio.to_thread(page, port, "/healthz")
    assert (health, healthy) == (503, 200)
    assert json.loads(body)["reasons"] == ["the store is in trouble: database or disk is full (SQLITE_FULL)"]
    assert shown["gateway_store_ok",] == 0
    assert caplog.text.count("the disk refuses") == 1
    assert caplog.text.count("the disk takes events again") == 1


def test_a_port_that_is_taken_keeps_nothing_from_being_recorded(service, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        service.start()
        wait_until(lambda: service.status()["log"]["events"] > 20, 20, "events are recorded")
    service.stop()
    assert service.stderr.read_text().count("cannot listen on") == 1


UNASKED = {
    "prometheus_client", "gateway.http", "gateway.eventlog.salvage", "gateway.rules.engine", "gateway.sinks", "paho",
    "gpiozero", "psutil", "difflib",
}  # fmt: skip


def test_a_gateway_listens_nowhere_and_loads_no_library_that_its_configuration_does_not_ask_for(tmp_path):
    code = (
        "import asyncio, sys; from pathlib import Path; from gateway.app import Gateway\n"
        "from gateway.config import load_config; from gateway.plugins import Plugins\n"
        "async def main():\n"
        "    async with Gateway(load_config(Path('g.yaml'), Plugins())): pass\n"
        f"asyncio.run(main()); print(sorted({UNASKED!r} & set(sys.modules)))"
    )
    (tmp_path / "g.yaml").write_text("gateway: {id: quiet}\nbuffer: {path: e.db}\n")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_simulation_leaves_the_port_to_production_and_marks_every_event(tmp_path, port):
    file = configuration(tmp_path, "shy", f"mqtt://127.0.0.1:{free_port()}", 50)
    file.write_text(file.read_text() + f"http: {{listen: 127.0.0.1:{port}}}\n")
    service = Service(file, tmp_path, "--simulate")
    with socket.socket() as production:
        production.bind(("127.0.0.1", port))
        production.listen()
        process = subprocess.Popen(
            service.command("run", "--config", str(file), "--simulate"),
            env={**os.environ, **service.environ}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        said = ""
        while "listening" not in said:
            said = process.stderr.readline()
            assert said
            assert "cannot listen" not in said
        events = [json.loads(process.stdout.readline()) for _ in range(20)]
        own = int(re.search(r"http://127\.0\.0\.1:(\d+)", said)[1])
        info = metrics(own)
        process.terminate()
        process.communicate(timeout=15)
    assert own != port
    assert any(key[0] == "gateway_info" and {"shy-sim", "true"} <= set(key) for key in info)
    assert {"gateway.started", "config.loaded", "reading"} <= {e["type"].split(".", 2)[2][:-3] for e in events}
    assert all(e["simulated"] for e in events)
    assert {e["source"] for e in events} == {"//gateway/shy-sim"}


def test_a_reload_moves_the_pages_to_another_port_and_takes_them_away(service, port):
    service.start()
    assert page(port, "/healthz")[0] in {200, 503}
    other = free_port()
    text = service.file.read_text()
    service.file.write_text(text.replace(f":{port}}}", f":{other}}}"))
    assert f"~ http (listen 127.0.0.1:{port} -> 127.0.0.1:{other})" in reload(service)
    assert page(other, "/status")[0] == 200
    with pytest.raises(urllib.error.URLError):
        page(port, "/status")
    service.file.write_text("".join(line for line in text.splitlines(keepends=True) if not line.startswith("http:")))
    assert f"listen 127.0.0.1:{other} -> nothing" in reload(service)
    with pytest.raises(urllib.error.URLError):
        page(other, "/status")
    service.stop()


def reload(service):
    command = service.command("reload", "--gateway", service.id)
    return subprocess.run(command, env=service.environ, capture_output=True, text=True, check=True).stdout
