"""`gateway status`: the page, the JSON, and what is said when there is nothing to ask."""

from __future__ import annotations

import copy
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner

from gateway.cli.look import width
from gateway.cli.reach import Ambiguous
from gateway.cli.status import page, status
from gateway.errors import NotRunning
from tests.cli.canned import STATUS, Serve, call

NOW_S = 1795413600.0
"""2026-11-23T06:00:00Z"""

PAGE = """\
greenhouse-pi  up 3 h 20 min · version 0.1.0 · pid 4242
  config  /etc/gateway/gateway.yaml (a1b2c3d4e5f6)
  labels  site=north, room=温室

Log
  file     /var/lib/gateway/events.db
  size     [##------------------] 8.6 %, 44.1 MB of 512 MB
  events   1 234 567, offsets 1 to 1234567
  from     2026-11-20 06:00:00
  to       2026-11-23 06:00:00
  pending  3 events not yet committed
  store    ok

Sinks
  SINK   KIND  STATE                        BEHIND  DELIVERED  DEAD  EVICTED
  home   mqtt  connected 3 h 19 min              0  1 234 567     0        0
  cloud  mqtt  disconnected 5 min    4 568 (5 min)  1 209 697     2      300
    not selected: 20 000
    dead letters: 2 too large
    evicted unread: 300 trimmed
    last error: broker.example:8883: nothing listens there (connection refused); the next attempt is in 4 s

Devices
  DEVICE  DRIVER              STATE                 READINGS        LAST
  air     bme280              available 3 h 19 min     7 200     2 s ago
  door    button              unavailable 12 min           3  60 min ago
    GPIO 17 is in use
  tank    signal (simulated)  not known yet                0           –"""


def test_the_page_shows_gateway_log_sinks_and_devices(home: Path) -> None:
    assert unstyle(page(STATUS, NOW_S, None)) == PAGE


def test_on_a_terminal_of_80_columns_nothing_is_cut_or_broken(home: Path) -> None:
    shown = unstyle(page(STATUS, NOW_S, 80))
    assert max(map(width, shown.splitlines())) <= 80
    assert shown.split() == PAGE.split()


BUSY = {
    "actions": [
        {
            "name": "rule/cellar-hot/do/webhook",
            "action": "webhook",
            "connected": False,
            "since": "2026-11-23T05:55:00.000000Z",
            "cursor": 1230000,
            "lag_events": 4568,
            "lag_s": 7.5,
            "waits": {"id": "5f0c9a31d2e47b88-1230400", "type": "rule.raised", "time": "2026-11-23T05:58:00.000000Z"},
            "last_error": "https://home.example: no answer within 10 s",
            "done": 11,
            "refused": 2,
            "dead_letters": 1,
        },
        {
            "name": "rule/door/do/log",
            "action": "log",
            "connected": True,
            "since": "2026-11-23T05:00:00.000000Z",
            "cursor": 1234568,
            "lag_events": 0,
            "lag_s": 0,
            "waits": None,
            "last_error": "",
            "done": 3,
            "refused": 0,
            "dead_letters": 0,
        },
    ],
    "consumers": [
        {
            "name": "meter",
            "attended": True,
            "cursor": 1234500,
            "lag_events": 68,
            "lag_s": 3.5,
            "in_flight": 4,
            "delivered": 100,
            "redelivered": 5,
            "dead_letters": 6,
            "protect": False,
        },
    ],
    "rules": [
        {"id": "cellar-hot", "operator": "hold", "state": "in force", "reason": "", "derived": 11, "keys": 1},
        {"id": "door", "operator": "event", "state": "failed", "reason": "KeyError: 'x'", "derived": 3, "keys": 0},
    ],
}
BUSY_PARTS = """\
  labels  site=north, room=温室
  rules   1 in force, 1 failed (door: KeyError: 'x')
---
Actions
  ACTION                      STATE              BEHIND  DONE  REFUSED  DEAD
  rule/cellar-hot/do/webhook  away 5 min    4 568 (8 s)    11        2     1
    waits: rule.raised 5f0c9a31d2e47b88-1230400, 2 min ago
    last error: https://home.example: no answer within 10 s
  rule/door/do/log            ready 60 min            0     3        0     0

Consumers
  CONSUMER  READER   CURSOR    BEHIND  OPEN  DEAD
  meter     reads   1234500  68 (4 s)     4     6

Devices
"""


def test_the_page_shows_actions_named_consumers_and_rules_where_there_are_any(home: Path) -> None:
    shown = unstyle(page({**STATUS, **BUSY}, NOW_S, None))
    for part in BUSY_PARTS.split("---\n"):
        assert part in shown
    assert not {"Actions", "Consumers"} & set(PAGE.splitlines())
    assert max(map(width, unstyle(page({**STATUS, **BUSY}, NOW_S, 80)).splitlines())) <= 80


def test_long_ids_are_cut_on_a_narrow_terminal_only(home: Path) -> None:
    document = copy.deepcopy(STATUS)
    document["devices"][0]["id"] = "the-temperature-in-the-far-corner-of-the-greenhouse"
    assert max(map(width, unstyle(page(document, NOW_S, 80)).splitlines())) <= 80
    assert document["devices"][0]["id"] in page(document, NOW_S, None)


def test_an_empty_gateway_says_what_is_not_there(home: Path) -> None:
    document = copy.deepcopy(STATUS)
    document["sinks"], document["devices"] = [], []
    document["gateway"]["labels"] = {}
    document["log"] |= {"events": 0, "next_offset": 1, "oldest": None, "newest": None, "pending": 0, "bytes": 0}
    shown = unstyle(page(document, NOW_S, 80))
    for line in ("  events  none yet; the next is offset 1", "  none configured: events stay in the log"):
        assert line in shown.splitlines()
    assert "labels" not in shown
    assert "pending" not in shown


def test_events_that_are_in_memory_only_and_a_copied_card_are_named(home: Path) -> None:
    document = copy.deepcopy(STATUS)
    document["log"] |= {"held": 12, "cloned": True, "store": "attempt to write a readonly database"}
    shown = unstyle(page(document, NOW_S, None)).splitlines()
    assert "  held     12 events in memory only: a crash loses them" in shown
    assert any(line.startswith("  cloned   another machine wrote this log") for line in shown)
    assert not any("held" in line for line in unstyle(page(STATUS, NOW_S, None)).splitlines())


def test_in_a_simulated_gateway_the_real_device_is_the_one_that_is_marked(home: Path) -> None:
    document = copy.deepcopy(STATUS)
    document["gateway"]["simulated"] = True
    shown = unstyle(page(document, NOW_S, None))
    assert "pid 4242 · simulated" in shown
    assert "bme280 (real)" in shown
    assert "signal (simulated)" not in shown


def test_a_broken_store_and_foreign_control_codes_are_shown_harmlessly(home: Path) -> None:
    document = copy.deepcopy(STATUS)
    document["log"]["store"] = "disk full\x1b[2J"
    document["sinks"][1]["last_error"] = "evil\x1b]0;title\x07\nline"
    shown = unstyle(page(document, NOW_S, None))
    assert "disk full\\x1b[2J" in shown
    assert "last error: evil\\x1b]0;title\\x07\\nline" in shown


def test_a_piped_status_has_no_colour(serve: Serve, environ: dict[str, str]) -> None:
    path = serve("greenhouse-pi", {"status": call(STATUS)})
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "status", "--socket", path], capture_output=True, text=True, env=environ
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert done.stdout.startswith("greenhouse-pi  up 3 h 20 min")


def test_a_terminal_gets_colours_and_its_own_width(serve: Serve, environ: dict[str, str]) -> None:
    serve("greenhouse-pi", {"status": call(STATUS)})
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    running = subprocess.Popen(
        [sys.executable, "-m", "gateway", "status", "--gateway", "greenhouse-pi"],
        stdout=terminal,
        env=environ | {"TERM": "xterm"},
    )
    os.close(terminal)
    shown = b""
    try:
        while part := os.read(master, 4096):
            shown += part
    except OSError:  # Linux answers EIO when the other side of a terminal is closed
        pass
    os.close(master)
    assert running.wait(10) == 0
    assert b"\x1b[32mconnected\x1b[0m" in shown
    assert b"\x1b[31munavailable\x1b[0m" in shown
    assert b"    last error: broker.example:8883: nothing listens there\r\n" in shown


def test_json_is_the_whole_document(serve: Serve) -> None:
    serve("greenhouse-pi", {"status": call(STATUS)})
    done = CliRunner().invoke(status, ["--json"])
    assert json.loads(done.stdout) == STATUS
    assert list(json.loads(done.stdout)) == ["gateway", "log", "sinks", "devices"]


def test_without_a_service_one_sentence_says_how_to_start_one(home: Path, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "status", "--socket", home / "none.sock"],
        capture_output=True,
        text=True,
        env=environ,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"no gateway listens on {home}/none.sock: start one with `gateway run`, "
        "or with `sudo systemctl start gateway` where it is installed\n"
    )


def _named(gateway_id: str) -> dict[str, Any]:
    return STATUS | {"gateway": STATUS["gateway"] | {"id": gateway_id}}


def test_the_only_gateway_that_runs_is_found(serve: Serve, home: Path) -> None:
    dead = home / "run" / "gateway" / "dead"
    dead.mkdir(parents=True)
    (dead / "control.sock").touch()
    serve("one", {"status": call(_named("one"))})
    assert CliRunner().invoke(status, []).stdout.startswith("one  up")


def test_several_gateways_are_listed_and_one_is_chosen_by_its_id(serve: Serve) -> None:
    paths = [serve(gateway_id, {"status": call(_named(gateway_id))}) for gateway_id in ("one", "two-sim")]
    done = CliRunner().invoke(status, [])
    assert isinstance(done.exception, Ambiguous)
    assert done.exception.exit_code == 2
    assert str(done.exception).startswith("2 gateways are running; choose one with --gateway ID:\n")
    assert [line.split() for line in str(done.exception).splitlines()[1:]] == [
        ["one", str(paths[0])],
        ["two-sim", str(paths[1])],
    ]
    assert CliRunner().invoke(status, ["--gateway", "two-sim"]).stdout.startswith("two-sim  up")


def test_an_unknown_id_is_answered_with_those_that_run(serve: Serve) -> None:
    serve("one", {"status": call(_named("one"))})
    done = CliRunner().invoke(status, ["--gateway", "three"])
    assert isinstance(done.exception, NotRunning)
    assert "no gateway 'three' is running (running: one)" in str(done.exception)


def test_nothing_found_is_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.locations.find_sockets", lambda _environ: ())
    done = CliRunner().invoke(status, [])
    assert isinstance(done.exception, NotRunning)
    assert str(done.exception).startswith("no gateway is running: start one with")


WRITTEN = {
    "bytes": 44_100_000, "bytes_per_day": 210_000_000, "limit_bytes_per_day": None,
    "commit_within_s": 1.0, "mode": "free",
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({}, None),
        ({"limit_bytes_per_day": 300_000_000}, "below 300 MB/day; readings wait 1 s for their commit"),
        (
            {"limit_bytes_per_day": 200_000_000, "mode": "spread", "commit_within_s": 4.25},
            "kept below 200 MB/day: readings wait 4.2 s for their commit",
        ),
        (
            {"limit_bytes_per_day": 200_000_000, "mode": "over", "commit_within_s": 60.0},
            "more than 200 MB/day, although readings wait 60 s for their commit",
        ),
    ],
)
def test_what_is_written_and_what_wear_does_about_it_are_shown(
    home: Path, more: dict[str, Any], line: str | None
) -> None:
    document = copy.deepcopy(STATUS)
    document["log"]["written"] = WRITTEN | more
    shown = unstyle(page(document, NOW_S, None))
    assert "  written  44.1 MB since the start, 210 MB/day at the pace of the last hour\n" in shown
    assert (f"  wear     {line}\n" in shown) if line else ("wear" not in shown)


def test_in_the_first_minute_no_rate_is_shown(home: Path) -> None:
    document = copy.deepcopy(STATUS)
    document["log"]["written"] = WRITTEN | {"bytes_per_day": None}
    assert unstyle(page(document, NOW_S, None)) == PAGE
