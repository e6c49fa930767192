"""The reference page says what the code does."""

from __future__ import annotations

import re

import pytest

import gateway.config
from gateway.config.channel import CalibrationConfig, ChannelConfig, FilterConfig, RateConfig, SpikeConfig
from gateway.config.model import (
    BufferConfig,
    DeviceEntry,
    EventsConfig,
    GatewayConfig,
    HttpConfig,
    KeepConfig,
    SinkEntry,
)
from gateway.config.scalars import resolve
from gateway.config.schema import describe
from gateway.config.yaml import DEPTH_MAX, INCLUDES_MAX, NODES_MAX
from gateway.event import RESERVED_IDS
from gateway.expression import CHARACTERS_MAX, FUNCTIONS
from gateway.units import QUANTITIES
from tests.pages import page_of, tables_of

PAGE = page_of(gateway.config)
TABLES = tables_of(PAGE)
MODELS = (
    GatewayConfig,
    DeviceEntry,
    ChannelConfig,
    CalibrationConfig,
    SpikeConfig,
    FilterConfig,
    RateConfig,
    SinkEntry,
    EventsConfig,
    BufferConfig,
    KeepConfig,
    HttpConfig,
)


@pytest.mark.parametrize(("model", "table"), list(zip(MODELS, TABLES, strict=True)), ids=[m.__name__ for m in MODELS])
def test_each_table_has_the_models_keys_defaults_and_meanings(model, table):
    schema = describe(model)
    machine_gives = {(GatewayConfig, "id"), (BufferConfig, "path")}
    assert table.keys() == schema["properties"].keys()
    for key, described in schema["properties"].items():
        required = key in schema.get("required", []) and (model, key) not in machine_gives
        default = "required" if required else f"`{described['default']}`" if "default" in described else ""
        assert table[key] == (default, described["description"])


def test_what_the_page_says_of_bare_words_is_so():
    assert [resolve(word) for word in ("on", "yes", "off", "no", "1:30", "1_000", "0b11")] == [
        "on", "yes", "off", "no", "1:30", "1_000", "0b11",
    ]  # fmt: skip
    assert [resolve(word) for word in ("12e3", "0x1F", "0o17")] == [12000.0, 31, 15]
    assert "| 12000.0, 31, 15 |" in PAGE


def test_the_bounds_on_the_page_are_those_of_the_code():
    assert (INCLUDES_MAX, NODES_MAX, DEPTH_MAX) == (100, 100_000, 64)
    assert "at most 100 files, 100 000 values once aliases are expanded,\nand 64 levels" in PAGE
    assert {"gateway", "rule", "sink", "consumer"} == RESERVED_IDS


def test_the_table_of_quantities_is_that_of_the_code():
    rows = re.findall(r"^\| (\w+) \| `(.+?)` \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    shown = {name: (unit, possible, tuple(re.findall(r"`(.+?)`", others))) for name, unit, possible, others in rows}
    assert shown == {
        name: (
            quantity.unit,
            f"{quantity.plausible[0]:g} to {quantity.plausible[1]:g}" if quantity.plausible else "",
            tuple(quantity.other),
        )
        for name, quantity in QUANTITIES.items()
        if quantity.unit is not None
    }


def test_the_page_names_what_an_expression_may_hold():
    assert f"`{' '.join(FUNCTIONS)}`\nand at most {CHARACTERS_MAX} characters" in PAGE
    assert list(describe(ChannelConfig)["properties"]) == list(TABLES[MODELS.index(ChannelConfig)])
