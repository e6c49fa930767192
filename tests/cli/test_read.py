"""`gateway read`: through the running gateway, or by opening the device here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click import unstyle
from click.testing import CliRunner

from gateway.cli.look import width
from gateway.cli.read import UnknownDevice, read, text
from gateway.errors import ControlError, NotRunning
from tests.cli.canned import STATUS, Serve, call

ROWS: list[dict[str, Any]] = [
    {
        "channel": "temperature",
        "raw": 21534,
        "raw_unit": "mCel",
        "value": 21.534,
        "unit": "Cel",
        "quality": "good",
        "reason": "",
    },
    {
        "channel": "humidity",
        "raw": 0.123456789012,
        "raw_unit": "/",
        "value": None,
        "unit": "%RH",
        "quality": "bad",
        "reason": "range",
    },
    {
        "channel": "contact",
        "raw": True,
        "raw_unit": None,
        "value": True,
        "unit": None,
        "quality": "uncertain",
        "reason": "initial",
    },
]

TABLE = """\
CHANNEL      RAW                   VALUE      QUALITY    REASON
temperature  21534 mCel        ->  21.534 °C  good
humidity     0.123456789012 /  ->  –          bad        range
contact      true              ->  true       uncertain  initial"""

CONFIG = """\
gateway: {id: pi}
devices:
  - {id: air, driver: signal, signals: {temperature: {quantity: temperature, constant: 21.5}}}
  - {id: door, driver: button, pin: 17}
sinks: []
buffer: {path: events.db}
"""


def test_raw_and_normalised_stand_side_by_side() -> None:
    assert unstyle(text(ROWS, None)) == TABLE
    assert unstyle(text(ROWS[:1], None)).splitlines()[0].split() == ["CHANNEL", "RAW", "VALUE", "QUALITY"]
    assert text([], None) == "the device answered, and had nothing to say"


def test_long_texts_give_way_on_a_terminal() -> None:
    long = ROWS[0] | {"raw": "x" * 300, "value": "温" * 300, "raw_unit": None, "unit": None}
    assert max(width(line) for line in text([*ROWS, long], 80).splitlines()) <= 80


Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


def asked_read(asked: list[dict[str, Any]]) -> Answer:
    async def answer(args: dict[str, Any]) -> dict[str, Any]:
        asked.append(args)
        return {"readings": ROWS}

    return answer


def test_a_running_gateway_is_asked(serve: Serve) -> None:
    asked: list[dict[str, Any]] = []
    serve("pi", {"status": call(STATUS), "read": asked_read(asked)})
    done = CliRunner().invoke(read, ["air", "--timeout", "1m"])
    assert done.stdout == TABLE + "\n"
    assert asked == [{"device": "air", "timeout_s": 60.0}]
    assert json.loads(CliRunner().invoke(read, ["air", "--json"]).stdout) == {"readings": ROWS}


def test_an_unknown_device_is_answered_with_the_nearest_before_anything_is_read(serve: Serve) -> None:
    asked: list[dict[str, Any]] = []
    serve("pi", {"status": call(STATUS), "read": asked_read(asked)})
    error = CliRunner().invoke(read, ["dor"]).exception
    assert isinstance(error, UnknownDevice)
    assert error.exit_code == 2
    expected = "unknown device 'dor' (did you mean 'door'?); /etc/gateway/gateway.yaml has: air, door, tank"
    assert str(error) == expected
    assert asked == []


def test_a_refusal_of_the_gateway_is_passed_on(serve: Serve) -> None:
    async def refuse(args: dict[str, Any]) -> dict[str, Any]:
        raise ControlError("device air said nothing within 10 s")

    serve("pi", {"status": call(STATUS), "read": refuse})
    error = CliRunner().invoke(read, ["air"]).exception
    assert isinstance(error, ControlError)
    assert str(error) == "device air said nothing within 10 s"


@pytest.fixture
def config(home: Path) -> Path:
    file = home / "gateway.yaml"
    file.write_text(CONFIG)
    return file


def test_the_configuration_says_which_gateway_is_asked(serve: Serve, config: Path) -> None:
    """A gateway with another id does not hold this configuration's devices, so the device is opened here."""
    serve("other", {"status": call(STATUS)})
    done = CliRunner().invoke(read, ["air", "--config", str(config)])
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines()[1].split() == ["temperature", "21.5", "Cel", "->", "21.5", "°C", "good"]
    serve("pi", {"status": call(STATUS | {"gateway": STATUS["gateway"] | {"id": "pi"}}), "read": asked_read([])})
    assert CliRunner().invoke(read, ["air", "--config", str(config)]).stdout == TABLE + "\n"


def test_without_a_service_the_device_is_opened_here(config: Path, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "read", "door", "--simulate", "--config", config, "--json"],
        capture_output=True,
        text=True,
        env=environ,
        cwd=config.parent,
    )
    assert (done.returncode, done.stderr) == (0, "")
    (reading,) = json.loads(done.stdout)["readings"]
    assert (reading["channel"], reading["raw"], reading["value"], reading["quality"]) == (
        "pressed",
        False,
        False,
        "good",
    )
    assert sorted(path.name for path in config.parent.iterdir()) == ["gateway.yaml"]  # nothing was recorded


def test_an_unknown_device_of_a_file_exits_with_2(config: Path, environ: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "read", "dor", "--config", config],
        capture_output=True,
        text=True,
        env=environ,
    )
    assert done.returncode == 2
    assert done.stderr == f"unknown device 'dor' (did you mean 'door'?); {config} has: air, door\n"


def test_with_neither_gateway_nor_configuration_both_are_said(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.locations.find_sockets", lambda _environ: ())
    monkeypatch.chdir(home)
    error = CliRunner().invoke(read, ["air"]).exception
    assert isinstance(error, NotRunning)
    assert str(error).startswith("no gateway is running that could be asked, and no configuration: looked for ")


def test_a_timeout_without_a_unit_is_refused(home: Path) -> None:
    done = CliRunner().invoke(read, ["air", "--timeout", "10"])
    assert done.exit_code == 2
    assert "expected a duration such as 10s" in " ".join(done.stderr.split())
