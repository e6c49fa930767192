"""The device that is made of signals."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.signal.driver import SignalDevice, SignalOptions
from gateway.driver import World
from gateway.errors import PluginError
from gateway.event import Reading

GREENHOUSE = {
    "temperature": {"quantity": "temperature", "ramp": {"from": 10, "to": 20, "period": "10s"}},
    "window": {"quantity": "contact", "square": {"period": "10s"}},
    "mode": {"quantity": "text", "constant": "day"},
    "bell": {"quantity": "occurrence", "constant": "ring"},
}


def options(**signals: Any) -> SignalOptions:
    return SignalOptions.model_validate({"signals": signals})


def test_its_channels_are_its_signals() -> None:
    channels = SignalDevice.channels(options(**GREENHOUSE))
    assert [(channel.name, channel.quantity, channel.kind) for channel in channels] == [
        ("temperature", "temperature", "reading"),
        ("window", "contact", "state"),
        ("mode", "text", "state"),
        ("bell", "occurrence", "input"),
    ]


def test_it_follows_its_signals_by_the_clock_of_the_world() -> None:
    now_s = 0.0
    device = SignalDevice.simulate(options(**GREENHOUSE), World({}, lambda: now_s))
    assert {reading.channel: reading.value for reading in device.read()}["temperature"] == 10.0
    now_s = 6.0
    assert device.read() == (
        Reading("temperature", 16.0),
        Reading("window", value=True),
        Reading("mode", "day"),
        Reading("bell", "ring"),
    )


def test_an_empty_word_is_no_occurrence_but_is_a_text() -> None:
    values = {"steps": {"values": ["ann", ""], "each": "1s"}}
    device = SignalDevice.simulate(
        options(scan={"quantity": "occurrence", **values}, note={"quantity": "text", **values}),
        World({}, lambda: now_s),
    )
    now_s = 0.5
    assert device.read() == (Reading("scan", "ann"), Reading("note", "ann"))
    now_s = 1.5
    assert device.read() == (Reading("note", ""),)


def test_an_unplugged_signal_makes_the_whole_read_fail() -> None:
    unplugged = {"quantity": "load", "constant": 1, "unplugged": {"every": "10s", "for": "2s"}}
    device = SignalDevice.simulate(options(a={"quantity": "load", "constant": 1}, b=unplugged), World({}, lambda: 9.0))
    with pytest.raises(OSError, match="unplugged"):
        device.read()


def test_it_has_no_hardware_and_says_so() -> None:
    assert SignalDevice.synthetic
    with pytest.raises(PluginError, match="no hardware"):
        SignalDevice.create(options(**GREENHOUSE))


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({}, "at least 1"),
        ({"a": {"quantity": "temprature", "constant": 1}}, "did you mean 'temperature'"),
        ({"a": {"constant": 1}}, "quantity"),
        ({"a": {"quantity": "temperature"}}, "exactly one of"),
        ({"a": {"quantity": "temperature", "constant": "warm"}}, "temperature must give numbers, this one gives words"),
        ({"a": {"quantity": "contact", "constant": 1}}, "contact must give true and false"),
        ({"A b": {"quantity": "load", "constant": 1}}, "pattern"),
    ],
)
def test_signals_that_cannot_work_are_refused(signals: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        options(**signals)
