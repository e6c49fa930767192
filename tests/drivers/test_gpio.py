"""The real pin factory, which all drivers of GPIO pins share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import gpiozero
import pytest
from gpiozero.pins.mock import MockFactory

from drivers._gpio import check_pull, pi_pin_factory
from drivers.button.driver import Button, ButtonOptions
from gateway.errors import DeviceError
from tests.drivers.worlds import Ear, elsewhere

DOWN, UP = ("pressed", True), ("pressed", False)


@pytest.fixture
def no_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setenv("LG_WD", "/nowhere")  # so that what the driver sets is taken back after the test
    monkeypatch.delenv("LG_WD")


@pytest.mark.usefixtures("no_factory")
def test_without_lgpio_opening_says_what_to_do_and_tries_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lgpio", None)
    monkeypatch.delitem(sys.modules, "gpiozero.pins.lgpio", raising=False)
    with pytest.raises(DeviceError, match=r"lgpio.*pip install lgpio; elsewhere: gateway run --simulate"):
        pi_pin_factory()
    assert gpiozero.Device.pin_factory is None


@pytest.mark.usefixtures("no_factory")
def test_the_environment_may_name_another_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "mock")
    ear = Ear()
    button = Button.create(ButtonOptions(pin=17))
    button.open(ear)
    assert isinstance(gpiozero.Device.pin_factory, MockFactory)
    elsewhere(gpiozero.Device.pin_factory.pin(17).drive_low)
    button.close()
    assert ear.said == [UP, DOWN]


@pytest.mark.usefixtures("no_factory")
def test_lgpio_leaves_nothing_in_the_working_directory_and_does_not_change_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, working = tmp_path / "run", tmp_path / "work"
    runtime.mkdir()
    working.mkdir()
    monkeypatch.chdir(working)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{runtime}:/run/other")
    libraries = tmp_path / "lib"
    libraries.mkdir()
    (libraries / "lgpio.py").write_text(
        "import os\nos.chdir(os.environ.get('LG_WD', '.'))\nopen('.lgd-nfy0', 'w').close()\n"
        "SET_PULL_NONE = BOTH_EDGES = RISING_EDGE = FALLING_EDGE = 0\n"
        "class error(Exception): pass\n"
        "def gpiochip_open(chip): raise error('can not open gpiochip')\n",
        encoding="ascii",
    )
    monkeypatch.syspath_prepend(libraries)
    monkeypatch.setattr("gpiozero.pins.local.get_pi_revision", lambda: 0xC03111)
    try:
        with pytest.raises(DeviceError, match=r"no GPIO: can not open gpiochip.*group gpio"):
            pi_pin_factory()
    finally:
        for name in ("lgpio", "gpiozero.pins.lgpio"):
            sys.modules.pop(name, None)
    assert Path.cwd() == working
    assert not list(working.iterdir())
    assert [path.name for path in runtime.iterdir()] == [".lgd-nfy0"]
    assert os.environ["LG_WD"] == str(runtime)


@pytest.mark.parametrize("pin", [2, 3])
def test_a_pin_with_a_resistor_on_the_board_is_pulled_up_or_not_used(pin: int) -> None:
    check_pull(pin, "up")
    with pytest.raises(ValueError, match="pull-up resistor on the board"):
        check_pull(pin, "down")
    check_pull(pin + 2, "down")
