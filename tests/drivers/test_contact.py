"""A door contact: gpiozero and our driver are real, the circuit is not."""

from __future__ import annotations

import pytest
from gpiozero.pins.mock import MockFactory
from pydantic import ValidationError

from drivers._mockpins import BOARD, SwitchPin
from drivers.contact.driver import Contact, ContactOptions
from gateway.errors import DeviceError
from tests.drivers.worlds import Ear, Stage, elsewhere

OPEN, SHUT = ("contact", True), ("contact", False)


class Circuit:
    """A contact whose circuit the test closes and breaks, from a thread of its own."""

    def __init__(self, *, closed: bool, **options: object) -> None:
        self.options = ContactOptions.model_validate({"pin": 27, **options})
        self.factory = MockFactory(BOARD, SwitchPin)
        self.pin = self.factory.pin(27)
        self.pin.wire(active_high=self.options.pull == "down", pressed=closed)
        self.contact = Contact(self.options, lambda: self.factory)
        self.ear = Ear()

    def is_closed(self, closed: bool, now_s: float) -> None:
        elsewhere(lambda: self.pin.touch(pressed=closed, now_s=now_s))
        elsewhere(lambda: self.pin.settle(now_s + 0.06))


@pytest.mark.parametrize("pull", ["up", "down"])
@pytest.mark.parametrize("closed_when", ["shut", "open"])
def test_each_wiring_tells_an_open_door_as_open(pull: str, closed_when: str) -> None:
    circuit = Circuit(closed=closed_when == "shut", pull=pull, closed_when=closed_when)
    circuit.contact.open(circuit.ear)
    circuit.is_closed(closed_when == "open", now_s=1.0)
    circuit.is_closed(closed_when == "shut", now_s=2.0)
    circuit.contact.close()
    assert circuit.ear.said == [SHUT, OPEN, SHUT]


def test_a_loose_wire_reads_as_an_open_door() -> None:
    circuit = Circuit(closed=False)
    circuit.contact.open(circuit.ear)
    circuit.contact.close()
    assert circuit.ear.said == [OPEN]


def test_rattling_that_is_shorter_than_the_bounce_time_is_not_told() -> None:
    circuit = Circuit(closed=True)
    circuit.contact.open(circuit.ear)
    elsewhere(lambda: circuit.pin.touch(pressed=False, now_s=1.0))
    elsewhere(lambda: circuit.pin.settle(1.049))
    elsewhere(lambda: circuit.pin.touch(pressed=True, now_s=1.049))
    elsewhere(lambda: circuit.pin.settle(2.0))
    circuit.contact.close()
    assert circuit.ear.said == [SHUT]


def test_after_close_nothing_is_told() -> None:
    circuit = Circuit(closed=True)
    circuit.contact.open(circuit.ear)
    circuit.contact.close()
    elsewhere(circuit.contact._broken)
    assert circuit.ear.said == [SHUT]


def test_a_pin_that_another_one_has_is_named_and_released() -> None:
    first, second = Circuit(closed=True), Circuit(closed=True)
    second.contact._pin_factory = lambda: first.factory
    first.contact.open(first.ear)
    with pytest.raises(DeviceError, match="GPIO 27"):
        second.contact.open(second.ear)
    first.contact.close()
    second.contact.open(second.ear)
    second.contact.close()


def test_a_pin_with_a_resistor_on_the_board_is_not_pulled_down() -> None:
    with pytest.raises(ValidationError, match="GPIO 3 has a pull-up"):
        ContactOptions.model_validate({"pin": 3, "pull": "down"})


@pytest.mark.parametrize("pull", ["up", "down"])
@pytest.mark.parametrize("closed_when", ["shut", "open"])
def test_the_simulated_door_is_as_the_world_says(pull: str, closed_when: str) -> None:
    options = ContactOptions.model_validate({"pin": 27, "pull": pull, "closed_when": closed_when})
    stage = Stage(Contact, options, tick_s=0.01, contact=False)
    ear = Ear()
    contact = Contact.simulate(options, stage.world)
    contact.open(ear)
    stage.values["contact"] = True
    assert ear.hears(SHUT, OPEN)
    stage.values["contact"] = False
    assert ear.hears(SHUT, OPEN, SHUT)
    contact.close()
