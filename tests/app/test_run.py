"""`gateway run` as a user runs it: its own process, watched from outside."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.brokers import Mosquitto, free_port
from tests.service import Service, Tail, configuration, subscribed, wait_until


@pytest.fixture
def service(tmp_path):
    """A gateway whose broker is not there: everything must work without it."""
    file = configuration(tmp_path, "lonely", f"mqtt://127.0.0.1:{free_port()}", 20)
    service = Service(file, tmp_path)
    yield service
    if service.process is not None and service.process.poll() is None:
        service.kill()


def tail(service, *words, lines):
    """The first `lines` lines of `gateway tail --json`."""
    command = service.command("tail", "--json", "--gateway", service.id, *words)
    with subprocess.Popen(command, env=service.environ, stdout=subprocess.PIPE, text=True) as process:
        found = [json.loads(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == 0
    return found


def test_a_second_gateway_on_one_log_is_refused_naming_the_first(service, tmp_path):
    service.start()
    second = subprocess.run(
        service.command("run", "--config", str(service.file)), env=service.environ, capture_output=True, text=True
    )
    assert second.returncode == 1
    assert str(service.process.pid) in second.stderr
    assert "one log has one writer" in second.stderr
    assert "Traceback" not in second.stderr
    service.stop()


def test_sigterm_commits_everything_and_says_goodbye_in_the_log(service):
    service.start()
    wait_until(lambda: service.status()["log"]["events"] > 20, 10, "events are recorded")
    service.stop()
    service.start()
    first = tail(service, "--from", "1", lines=2)
    everything = tail(service, "--from", "1", lines=service.status()["log"]["events"])
    service.stop()
    assert first[0]["type"].endswith("gateway.started.v1")
    starts = [e for e in everything if e["type"].endswith("gateway.started.v1")]
    stops = [e for e in everything if e["type"].endswith("gateway.stopped.v1")]
    assert [e["data"]["clean"] for e in starts] == [True, True]
    assert len(stops) == 1
    assert 0 < starts[1]["data"]["gap_ns"] < 60e9
    assert int(starts[1]["sequence"]) == int(stops[0]["sequence"]) + 1


def test_after_a_kill_the_next_start_says_that_it_was_not_clean(service):
    service.start()
    wait_until(lambda: service.status()["log"]["events"] > 20, 10, "events are recorded")
    service.kill()
    service.start()
    events = tail(service, "--from", "1", lines=service.status()["log"]["events"])
    service.stop()
    assert [e["data"]["clean"] for e in events if "gateway.started" in e["type"]] == [True, False]


def test_without_its_broker_the_gateway_records_and_says_what_is_wrong(service):
    service.start()
    wait_until(lambda: service.status()["log"]["events"] > 20, 10, "events are recorded")
    (sink,) = service.status()["sinks"]
    service.stop()
    assert not sink["connected"]
    assert "refused" in sink["last_error"].lower()
    assert sink["lag_events"] >= 20
    assert sink["cursor"] == 1
    assert service.stderr.read_text().count("WARNING") == 1, "trouble is said once, not once a second"


def test_tail_shows_an_event_only_after_its_commit_and_in_the_order_of_the_log(service):
    service.start()
    events = tail(service, "--from", "1", lines=30)
    service.stop()
    assert [int(e["sequence"]) for e in events] == list(range(1, 31))
    assert [e.get("previous") for e in events] == [None, *(e["sequence"] for e in events[:-1])]
    accepted = service.accepted()
    assert [e["id"] for e in events] == accepted[:30]


def test_tail_starts_at_a_time_or_now(service):
    service.start()
    wait_until(lambda: service.status()["log"]["events"] > 40, 10, "events are recorded")
    old = tail(service, "--from", "1", lines=20)
    since = tail(service, "--since", old[-1]["recordedtime"], lines=3)
    live = tail(service, lines=3)
    service.stop()
    assert since[0]["recordedtime"] >= old[-1]["recordedtime"]
    assert int(since[0]["sequence"]) <= int(old[-1]["sequence"])
    assert int(live[0]["sequence"]) > 40


def test_simulation_prints_events_and_leaves_the_real_log_and_broker_alone(tmp_path):
    port = free_port()
    file = configuration(tmp_path, "shy", f"mqtt://127.0.0.1:{port}", 20)
    service = Service(file, tmp_path, "--simulate")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", "--config", str(file), "--simulate"],
        env=service.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    events = [json.loads(process.stdout.readline()) for _ in range(10)]
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=15)
    assert process.returncode == 0, stderr
    assert {e["source"] for e in events} == {"//gateway/shy-sim"}
    assert all(e["simulated"] for e in events if "reading" in e["type"])
    assert not (tmp_path / "shy.db").exists()
    assert (tmp_path / "state" / "gateway" / "shy-sim" / "events.db").exists()


@pytest.mark.parametrize("path", ["/proc/nowhere/events.db", "missing"])
def test_a_log_that_cannot_be_made_is_one_clear_sentence(tmp_path, path):
    file = configuration(tmp_path, "nowhere", "mqtt://127.0.0.1", 20)
    if path == "missing":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("path: nowhere.db", f"path: {path}"))
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "run", "--config", str(file)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert str(file) in done.stderr or ("/proc/nowhere" in done.stderr and "`buffer.path`" in done.stderr)


@pytest.mark.mosquitto
def test_a_kill_at_the_worst_moment_loses_nothing_that_tail_has_shown(tmp_path, mosquitto: Mosquitto):
    service = Service(configuration(tmp_path, "once", f"mqtt://127.0.0.1:{mosquitto.port}", 200), tmp_path)
    with subscribed(mosquitto.port, "once") as subscriber:
        service.start()
        shown = Tail(service, 1)
        wait_until(lambda: len(shown.seen) > 300, 20, "the tail shows events")
        service.kill()
        seen = shown.end()
        service.start()
        service.stop()
        accepted = service.accepted()
        wait_until(lambda: subscriber.has(accepted), 10, "everything accepted arrives")
        verdict = subscriber.judge(accepted)
    assert not set(seen) - set(accepted)
    assert verdict.clean(), verdict


def test_a_wrong_configuration_is_shown_as_check_shows_it(service):
    service.file.write_text("gateway: {id: lonely}\ndevices: [{id: ä, driver: button, pin: 99}]\n")
    run, check = (
        subprocess.run(service.command(*words), env=service.environ, capture_output=True, text=True)
        for words in (("run", "--config", str(service.file)), ("check", str(service.file)))
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == check.stdout
    assert run.stderr.count("^") == 2
