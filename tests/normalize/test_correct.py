"""What a reading really is: expression, scale and bias, calibration, units of the entry."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.channel import ChannelConfig
from gateway.event import Reading
from gateway.normalize.correct import Table, polynomial
from tests.normalize.kit import at, found, normalizer, one

FREEZING_AND_BOILING = [[0.6, 0.0], [99.1, 100.0]]


def value_of(reading: Reading, **channels: ChannelConfig) -> object:
    return one(reading, **channels).value


def test_scale_comes_before_bias() -> None:
    config = ChannelConfig(scale=2, bias=-1.5)
    assert value_of(Reading("temperature", 10.0), temperature=config) == 18.5


def test_the_order_is_expression_then_scale_and_bias_then_calibration() -> None:
    config = ChannelConfig(expression="value + 1", scale=10, bias=5, calibration={"polynomial": [0, 0, 1]})
    assert value_of(Reading("temperature", 1.0), temperature=config) == 625.0


def test_corrections_see_what_people_see_and_not_what_the_chip_says() -> None:
    config = ChannelConfig(bias=-0.5)
    assert value_of(Reading("temperature", 21_500, "mCel"), temperature=config) == 21.0


def test_with_a_unit_the_numbers_of_the_entry_are_in_it_and_events_are_not() -> None:
    config = ChannelConfig(unit="hPa", bias=1.5, range=(950, 1050))
    event = one(Reading("pressure", 100_000.0), pressure=config)
    assert (event.value, event.unit, event.quality) == (100_150.0, "Pa", "good")
    outside = one(Reading("pressure", 1.1, "bar"), pressure=config)
    assert found(outside) == (pytest.approx(110_150.0), "uncertain", "range")


def test_a_voltage_may_stand_for_a_temperature() -> None:
    config = ChannelConfig(quantity="temperature", expression="(value - 0.5) * 100")
    event = one(Reading("voltage", 750, "mV"), voltage=config)
    assert (event.value, event.unit) == (25.0, "Cel")
    config = ChannelConfig(quantity="temperature", unit="degF", expression="value * 100")
    assert value_of(Reading("voltage", 2.12), voltage=config) == pytest.approx(100.0)


def test_what_the_correction_makes_is_judged_not_what_it_was_made_of() -> None:
    config = ChannelConfig(quantity="ratio", scale=1)
    assert found(one(Reading("voltage", 1.1), voltage=config)) == (None, "bad", "range")
    assert value_of(Reading("temperature", 2100.0), temperature=ChannelConfig(scale=0.5)) == 1050.0


@pytest.mark.parametrize("expression", ["1 / value", "log(value)", "value ** -1", "1e300 * (value + 1) * 1e300"])
def test_where_there_is_no_result_the_reading_is_impossible(expression: str) -> None:
    config = ChannelConfig(expression=expression)
    assert found(one(Reading("voltage", 0.0), voltage=config)) == (None, "bad", "range")


def test_the_drivers_doubt_survives_a_correction() -> None:
    reading = Reading("temperature", 1.0, quality="uncertain", reason="warming up")
    assert found(one(reading, temperature=ChannelConfig(bias=1))) == (2.0, "uncertain", "warming up")


def test_levels_and_words_are_not_corrected() -> None:
    config = ChannelConfig(expression="value * 2", filter={"median": 3}, average_s="1m", range=(0, 1))
    readings = [Reading("open", True), Reading("label", "a"), Reading("click", 3)]
    events = normalizer(open=config, label=config, click=config)(readings, at(0))
    assert [found(event) for event in events] == [(True, "good", ""), ("a", "good", ""), (3, "good", "")]


def test_a_table_is_straight_between_its_rows() -> None:
    config = ChannelConfig(calibration={"table": [[0, 0], [10, 100], [20, 120]]})
    assert [value_of(Reading("temperature", raw), temperature=config) for raw in (0, 5, 10, 15, 20)] == [
        0.0, 50.0, 100.0, 110.0, 120.0,
    ]  # fmt: skip


def test_beyond_the_table_its_line_goes_on_in_doubt() -> None:
    config = ChannelConfig(calibration={"table": FREEZING_AND_BOILING})
    value, *doubt = found(one(Reading("temperature", -9.25), temperature=config))
    assert value == pytest.approx(-10.0)
    assert doubt == ["uncertain", "calibration"]
    assert found(one(Reading("temperature", 99.1), temperature=config)) == (100.0, "good", "")


def test_a_polynomial_begins_with_its_constant() -> None:
    assert polynomial([1, 2, 3])(2.0) == 1 + 2 * 2 + 3 * 4


rows = st.lists(
    st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=2, max_size=20, unique_by=lambda row: row[0]
)


@given(rows=rows.map(sorted), raw=st.floats(-2e6, 2e6))
def test_a_table_meets_its_rows_and_stays_between_neighbours(rows: list[tuple[float, float]], raw: float) -> None:
    table = Table(rows)
    assert [table(x) for x, _ in rows] == [y for _, y in rows]
    true = table(raw)
    assert math.isfinite(true) or not table.covers(raw)
    for (x0, y0), (x1, y1) in pairwise(rows):
        if x0 <= raw <= x1:
            slack = 1e-9 * max(abs(y0), abs(y1))
            assert min(y0, y1) - slack <= true <= max(y0, y1) + slack
