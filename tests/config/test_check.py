"""`gateway check` and `gateway schema`, as a person or a program calls them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from gateway.cli.check import blotted, check
from gateway.cli.schema import schema

RIGHT = """\
gateway: {id: pi}
devices:
  - {id: door, driver: button, pin: 17}
  - {id: cpu, driver: thermal, every: 90s}
sinks:
  - {id: home, sink: mqtt, url: mqtt://broker.local, username: a, password: hunter2}
"""
NAME = "lower-case letters, digits, - and _, beginning with a letter or a digit"
WRONG = """\
gateway: {id: pi}
devices:
  - {id: ä, driver: button, pin: 99}
"""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "gateway.yaml"


def _run(*arguments, text=None, file=None):
    if text is not None:
        file.write_text(text, "utf-8")
    return CliRunner().invoke(check, [str(argument) for argument in arguments])


def test_what_a_full_log_gives_up_is_shown(file):
    text = RIGHT + "buffer: {keep: {count: 50000, when_full: refuse}}\n"
    result = _run(file, text=text, file=file)
    assert "  keeps  30d, at most 512MB and 50 000 events, then refuse" in result.output.splitlines()
    shown = json.loads(_run("--json", file).output)["buffer"]
    assert (shown["keep_events_max"], shown["when_full"]) == (50_000, "refuse")


def test_a_right_file_is_shown_on_one_page(file):
    result = _run(file, text=RIGHT, file=file)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "pi  ok"
    assert "  keeps  30d, at most 512MB" in lines
    assert [line.split()[:3] for line in lines if line.startswith(("  door", "  cpu"))] == [
        ["door", "button", "on"],
        ["cpu", "thermal", "90s"],
    ]
    assert "2 devices" in lines
    assert "1 sink" in lines


def test_what_weakens_a_promise_is_a_warning(file):
    result = _run(file, text=RIGHT, file=file)
    warnings = [line for line in result.output.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert any(f"{file}:6:67 sinks[0].password: the secret stands in this file" in line for line in warnings)
    assert "hunter2" not in result.output


def test_each_problem_shows_its_line_and_a_caret(file):
    result = _run(file, text=WRONG, file=file)
    assert result.exit_code == 2
    assert result.output.splitlines() == [
        f"{file}:3:10 devices[0].id: found 'ä', expected {NAME}",
        "  3 |   - {id: ä, driver: button, pin: 99}",
        "    |          ^",
        "",
        f"{file}:3:34 devices[0].pin: found 99, expected a whole number from 0 to 27",
        "  3 |   - {id: ä, driver: button, pin: 99}",
        "    |                                  ^",
        "",
        "2 problems: this configuration cannot be used",
    ]


def test_a_caret_stands_below_wide_characters_and_in_long_lines(file):
    result = _run(file, text=f"gateway: {{labels: {{a: '{'漢' * 10}', b: {'x' * 200}}}, id: A}}", file=file)
    source, caret = (line for line in result.output.splitlines() if " | " in line)
    before = source[: source.index("A}")]
    assert len(caret) - 1 == len(before)
    result = _run(file, text=f"gateway: {{labels: {{a: '{'漢' * 10}'}}, id: A}}", file=file)
    source, caret = (line for line in result.output.splitlines() if " | " in line)
    assert len(caret) - 1 == len(source[: source.index("A}")]) + 10


def test_problems_and_summary_can_be_read_by_programs(file):
    right = json.loads(_run(file, "--json", text=RIGHT, file=file).output)
    assert right["ok"] is True
    assert right["devices"][0] == {"id": "door", "driver": "button", "every_s": None, "channels": ["pressed", "click"]}
    assert right["sinks"] == [{"id": "home", "sink": "mqtt"}]
    assert "hunter2" not in json.dumps(right)
    result = _run(file, "--json", text=WRONG, file=file)
    wrong = json.loads(result.output)
    assert result.exit_code == 2
    assert wrong["ok"] is False
    assert wrong["problems"][1] == {
        "file": str(file),
        "line": 3,
        "column": 34,
        "path": "devices[0].pin",
        "message": "found 99, expected a whole number from 0 to 27",
    }


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"\x89PNG", b"a: [", b"%", b"\0" * 100, b"- " * 100])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_rubbish_is_a_problem_and_never_a_traceback(file, content, more):
    file.write_bytes(content)
    result = _run(file, *more)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)


def test_a_file_that_is_not_there_is_a_problem(file):
    result = _run(file)
    assert result.exit_code == 2
    assert result.output.splitlines()[0] == f"{file}:1:1 no such file"


def test_without_a_name_the_usual_file_is_checked(file, monkeypatch):
    file.write_text(RIGHT)
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    assert _run().output.startswith("pi  ok")


def test_a_terminal_gets_no_commands_from_a_file(file):
    result = _run(file, text='gateway: {labels: {"\\e[2Ja": x}}\n"\\e]0;x\\a": 1', file=file)
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert click.unstyle(result.output) == result.output


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("password: a,b", "password: ***"),
        ("- {id: a, password: hunter2, window: 3}", "- {id: a, password: *******, window: 3}"),
        ("- {api_token: 'a,b', window: 3}", "- {api_token: *****, window: 3}"),
        ("password: a{b, c", "password: ******"),
        ("password: !secret mqtt", "password: !secret mqtt"),
        ("url: mqtt://pi:hunter2@broker", "url: mqtt://**********@broker"),
        ("driver: key", "driver: key"),
    ],
)
def test_a_line_with_a_secret_is_shown_with_stars(line, shown):
    assert blotted(line) == shown


def test_the_schema_is_nothing_but_json():
    result = CliRunner().invoke(schema)
    assert result.exit_code == 0
    assert json.loads(result.stdout)["type"] == "object"
    assert result.stderr == ""


def test_the_installed_command_checks(file):
    file.write_text(WRONG, "utf-8")
    command = Path(sys.executable).with_name("gateway")
    done = subprocess.run([command, "check", file], capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 2
    assert done.stdout.endswith("2 problems: this configuration cannot be used\n")
    assert done.stderr == ""
