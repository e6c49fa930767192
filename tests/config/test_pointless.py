"""What `simulate:` cannot do is said where it stands."""

import pytest

from gateway.config import parse_config
from gateway.errors import ConfigError
from gateway.plugins import Plugins
from tests.config.parts import HOST

SIGNAL = "devices: [{id: a, driver: signal, signals: {t: {quantity: load, constant: 1}}, simulate: %s}]"
BUTTON = "devices: [{id: a, driver: button, pin: 4, simulate: {%s: true}}]"


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "g.yaml", Plugins(), host=HOST)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("spec", ["{t: 1}", "false"])
def test_a_device_without_hardware_is_not_simulated(spec):
    assert problems(SIGNAL % spec) == [
        "g.yaml:1:80 devices[0].simulate: driver 'signal' has no hardware that could be simulated: remove `simulate`"
    ]


def test_an_input_follows_no_signal():
    (problem,) = problems(BUTTON % "click")
    assert problem == (
        "g.yaml:1:54 devices[0].simulate.click: 'click' is an input, no level that a signal could give: "
        "remove it, and simulate what it comes from"
    )
    assert parse_config(BUTTON % "pressed", "g.yaml", Plugins(), host=HOST).warnings == ()
