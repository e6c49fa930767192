"""The steps together: their order, and a question that wants an answer at once."""

from __future__ import annotations

from gateway.config.channel import ChannelConfig
from gateway.event import Reading
from gateway.normalize import Normalizer
from tests.normalize.kit import at, found, normalizer, recorded, told

EVERYTHING = ChannelConfig(
    unit="degF",
    expression="value * 1",
    scale=1,
    bias=0,
    calibration={"polynomial": [0, 1]},
    spike={"jump": 50, "of": 3},
    filter={"median": 3},
    average_s="20s",
    range=(32, 86),
    deadband=["1%", 0.5],
    heartbeat_s="5m",
    min_interval_s="20s",
    rate_limit={"events": 100, "per": "1h"},
)


def hour(normalize: Normalizer, *values: float | None) -> list[tuple[object, object, str]]:
    return told(normalize, "temperature", *((index * 10, value) for index, value in enumerate(values)))


def test_the_whole_chain_at_work() -> None:
    normalize = normalizer(every_s=10.0, temperature=EVERYTHING)
    values = [20.0, 20.0, 20.2, 99.0, 20.0, 20.0, 20.1, 20.0, 20.0, *[31.0] * 12, None, 31.0, 31.0, 31.0]
    assert hour(normalize, *values) == [
        (20.0, "uncertain", "initial"),
        (20.0, "good", ""),
        (25.5, "good", ""),
        (31.0, "uncertain", "range"),
        (None, "bad", "sensor"),
        (31.0, "uncertain", "range"),
    ]


def test_a_spike_is_no_part_of_the_median() -> None:
    normalize = normalizer(temperature=ChannelConfig(spike={"jump": 5, "of": 1}, filter={"mean": 2}))
    assert recorded(normalize, "temperature", (0, 10.0), (1, 99.0), (2, 12.0)) == [10.0, 11.0]


def test_the_filter_sees_corrected_values_and_no_impossible_ones() -> None:
    normalize = normalizer(temperature=ChannelConfig(scale=10, filter={"mean": 2}))
    assert recorded(normalize, "temperature", (0, 1.0), (1, 500.0), (2, 3.0)) == [10.0, None, 20.0]


def test_the_range_judges_what_is_recorded_not_what_went_into_it() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"median": 3}, range=(0, 50)))
    assert told(normalize, "temperature", *enumerate([20.0, 20.0, 99.0, 20.0]))[2:] == [(20.0, "good", "")] * 2


def test_the_deadband_sees_the_filtered_value() -> None:
    normalize = normalizer(temperature=ChannelConfig(filter={"mean": 2}, deadband=2))
    assert recorded(normalize, "temperature", *enumerate([10.0, 10.0, 13.0, 13.0])) == [10.0, 10.0, 13.0]


def test_a_question_gets_its_answer_at_once() -> None:
    ask = normalizer(at_once=True, temperature=EVERYTHING, click=ChannelConfig(rate_limit={"events": 1, "per": "1h"}))
    for _ in range(3):
        said = ask([Reading("temperature", 40.0), Reading("open", True), Reading("click", 1)], at(0))
        assert [found(event) for event in said] == [(40.0, "uncertain", "range"), (True, "good", ""), (1, "good", "")]
    assert ask.heartbeat_due_ns() is None
