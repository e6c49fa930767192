"""Every installed driver keeps the driver contract: ours, and whatever else registers itself."""

from __future__ import annotations

from gateway.plugins import Plugins
from gateway.testing.drivers import DriverContract

PLUGINS = Plugins()


def contract_of(name: str) -> type[DriverContract]:
    return type(f"Test_{name}", (DriverContract,), {"driver": PLUGINS.driver(name)})


globals().update({suite.__name__: suite for suite in map(contract_of, PLUGINS.driver_names())})


def test_our_drivers_are_registered() -> None:
    ours = {
        "adc",
        "button",
        "buzzer",
        "contact",
        "distance",
        "hwmon",
        "iio",
        "motion",
        "output",
        "pwm",
        "signal",
        "system",
    }
    ours |= {"thermal", "w1"}
    assert ours <= set(PLUGINS.driver_names())


def test_a_driver_is_registered_by_the_name_that_it_gives_itself() -> None:
    assert {name: PLUGINS.driver(name).name for name in PLUGINS.driver_names()} == {
        name: name for name in PLUGINS.driver_names()
    }
