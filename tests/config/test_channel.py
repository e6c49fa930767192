"""`channels:` as it is read: what is refused, what is understood, what suits which channel."""

from __future__ import annotations

import pytest

from gateway.config.channel import ChannelConfig, Deadband, heartbeat_of, quantity_of
from gateway.config.suits import unsuitable
from gateway.driver import Channel
from tests.config.parts import parse, wrong

NUMBER = "expected a number of at least 0, a part such as 2%, or a list of both"


def refused(entry: str, channel: str = "temperature") -> tuple[str, ...]:
    """`path below the channel: message` of each problem."""
    problems = wrong(f"devices: [{{id: a, driver: chip, channels: {{{channel}: {entry}}}}}]")
    return tuple(str(problem).partition(f"channels.{channel}.")[2] for problem in problems)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{deadband: two percent}", f"deadband: found 'two percent', {NUMBER}"),
        ("{deadband: [1, 2]}", f"deadband: {NUMBER}"),
        ("{filter: {}}", "filter: found none: expected exactly one of median, mean, quantile"),
        ("{filter: {median: 5, mean: 3}}", "filter: found median and mean: expected exactly one of"),
        ("{filter: {median: 1}}", "filter.median: found 1, expected a whole number from 2 to 1000"),
        ("{filter: median}", "filter: found 'median', expected a mapping"),
        ("{filter: {quantile: 0.9}}", "filter: `quantile` and `of` belong together: write {quantile: 0.9, of: 20}"),
        ("{filter: {median: 5, of: 3}}", "filter: `quantile` and `of` belong together"),
        ("{spike: {jump: 0}}", "spike.jump: found 0, expected more than 0"),
        ("{spike: {}}", "spike.jump: missing, expected a number above 0"),
        ("{spike: {jump: 1, confirm: 1}}", "spike.confirm: found 1, expected a whole number from 2 to 1000"),
        ("{rate_limit: {events: 5}}", "rate_limit.per: missing, expected a duration"),
        ("{range: [5]}", "range: expected a list of two numbers, found 1"),
        ("{range: [50, 5]}", "range: expected the lower bound first: found 50, then 5"),
        ("{range: [0, x]}", "range[1]: found 'x', expected a number"),
        ("{range: 5}", "range: found 5, expected a list"),
        ("{range: [3000, 4000]}", "range: temperature lies between -273.15 and 2000 Cel: no value can be in this"),
        ("{unit: degF, range: [-1000, -500]}", "range: temperature lies between -273.15 and 2000 Cel"),
        ("{calibration: {}}", "calibration: found none: expected exactly one of table, polynomial"),
        ("{calibration: {table: [[1, 2]]}}", "calibration.table: expected at least two rows of [raw, true]"),
        ("{calibration: {table: [[1, 2], [1, 3]]}}", "calibration.table: raw values must rise from row to row"),
        ("{calibration: {table: [[1, 2], [3]]}}", "calibration.table[1]: expected a list of two numbers, found 1"),
        ("{calibration: {polynomial: [1]}}", "calibration.polynomial: expected at least two coefficients"),
        ("{calibration: {polynomial: [1, .nan]}}", "calibration.polynomial[1]: found .nan, expected a finite number"),
        ("{expression: value +}", "expression: found 'value +': at character 8: this is no arithmetic"),
        ("{expression: 3}", "expression: found 3, expected a text; put it in quotes"),
        ("{expression: __import__('os')}", 'expression: found "__import__(\'os\')": at character 12: found "\'"'),
        ("{scale: .inf}", "scale: found .inf, expected a finite number"),
        ("{unit: degf}", "unit: temperature in 'degf': expected one of Cel, mCel, K, degF (did you mean 'degF'?)"),
        ("{quantity: preasure, scale: 2}", "quantity: found 'preasure', expected one of temperature, humidity"),
        ("{quantity: contact, scale: 2}", "quantity: found 'contact', expected one of"),
        ("{quantity: pressure}", "quantity: the driver measures temperature, and nothing makes it pressure: add an"),
        ("{average: 15s}", "average: 'temperature' is read every 10s: expected at least 20s"),
        ("{average: 1m, heartbeat: 30s}", "heartbeat: `average` allows one record in 1m: expected a heartbeat of"),
        ("{min_interval: 10m, heartbeat: 5m}", "heartbeat: `min_interval` allows one record in 10m"),
        ("{rate_limit: {events: 2, per: 1h}, heartbeat: 5m}", "heartbeat: `rate_limit` allows one record in 30m"),
    ],
)
def test_what_nobody_can_mean_is_refused(entry: str, said: str) -> None:
    (problem,) = refused(entry)
    assert problem.startswith(said)


def test_each_wrong_key_is_named() -> None:
    assert len(refused("{unit: V, average: 1s, range: [2, 1], scale: x}")) == 2, "first what is no value at all"
    assert [problem.partition(":")[0] for problem in refused("{unit: V, quantity: pressure, average: 1s}")] == [
        "unit", "quantity", "average",
    ]  # fmt: skip


KEYS = ("unit", "expression", "scale", "calibration", "spike", "filter", "average", "range", "deadband")


@pytest.mark.parametrize(
    ("channel", "taken"),
    [
        (Channel("a", "temperature", ""), {*KEYS, "heartbeat", "min_interval", "rate_limit", "urgent"}),
        (Channel("a", "text", ""), {"heartbeat", "min_interval", "rate_limit", "urgent"}),
        (Channel("a", "contact", "", kind="state"), {"heartbeat", "min_interval", "rate_limit", "urgent"}),
        (Channel("a", "occurrence", "", kind="input"), {"rate_limit", "urgent"}),
    ],
)
def test_a_channel_takes_what_suits_it(channel: Channel, taken: set[str]) -> None:
    keys = dict.fromkeys((*KEYS, "heartbeat", "min_interval", "rate_limit", "urgent"))
    assert {key for key, _ in unsuitable(channel, keys)} == keys.keys() - taken


def test_a_filter_on_a_contact_is_refused_at_its_key() -> None:
    (problem,) = wrong("devices: [{id: a, driver: key, pin: 1, channels: {state: {filter: {median: 5}}}}]")
    assert str(problem) == (
        "gateway.yaml:1:59 devices[0].channels.state.filter: "
        "channel 'state' is no measured quantity (state): remove `filter`"
    )


def test_everything_at_once_is_understood() -> None:
    config = parse(
        "devices: [{id: a, driver: chip, channels: {temperature: {quantity: pressure, unit: hPa, expression: value * 2,"
        " scale: 3, bias: -1, calibration: {table: [[0, 0], [1, 2]]}, spike: {jump: 2}, filter: {quantile: 0.5, of: 3},"
        " average: 1m, range: [0, 2000], deadband: [1, 2%], min_interval: 10s, rate_limit: {events: 9, per: 1m},"
        " urgent: true}}}]"
    )
    channel = config.devices[0].channels["temperature"]
    assert channel.deadband == Deadband(1.0, 2.0)
    assert (channel.spike.of, channel.spike.confirm, channel.range) == (5, 2, (0.0, 2000.0))
    assert channel.heartbeat_s == 300.0
    assert quantity_of(config.devices[0].declared[0], channel).name == "pressure"


@pytest.mark.parametrize(
    ("entry", "heartbeat_s"),
    [
        ({"deadband": 1}, 300.0),
        ({"deadband": 1, "average_s": "10m"}, 600.0),
        ({"deadband": 1, "min_interval_s": "1m"}, 300.0),
        ({"deadband": 1, "rate_limit": {"events": 2, "per": "1h"}}, 1800.0),
        ({"deadband": 1, "heartbeat_s": "1h"}, 3600.0),
        ({"min_interval_s": "1h"}, None),
    ],
)
def test_no_limit_forbids_the_heartbeat_that_a_deadband_implies(entry, heartbeat_s) -> None:
    assert heartbeat_of(ChannelConfig(**entry)) == heartbeat_s


def test_the_way_a_deadband_is_written_does_not_change_the_configurations_hash() -> None:
    texts = ("[2%, 1]", "[1.0, 2.0%]", "[1, 2 %]", "[1, 3%]")
    hashes = [
        parse(f"devices: [{{id: a, driver: chip, channels: {{humidity: {{deadband: {t}}}}}}}]").hash for t in texts
    ]
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]
