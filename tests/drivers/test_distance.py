"""Distance: gpiozero and our driver are real, the sensor is not."""

from __future__ import annotations

import math
import threading
from typing import Any, Self

import gpiozero
import pytest
from pydantic import ValidationError

from drivers.distance import driver as distance_driver
from drivers.distance.driver import Distance, DistanceOptions, Edge, judge
from drivers.distance.simulator import NOTHING_S, Sonar, echo_s
from gateway.errors import DeviceError
from gateway.event import Reading
from tests.drivers.worlds import DEADLINE_S, Stage, elsewhere

OPTIONS = DistanceOptions(trigger=23, echo=24)


class Bench:
    """A sensor on a desk, whose echo pin the test may also move by hand."""

    def __init__(self, distance_m: object = 1.0, *, answers: bool = True, **options: object) -> None:
        self.options = DistanceOptions.model_validate({"trigger": 23, "echo": 24, **options})
        self.stage = Stage(Distance, self.options, distance=distance_m)
        self.sonar = Sonar(self.options, self.stage.world)
        self.echo = self.sonar._echo
        self.device = Distance(self.options, self.sonar.factory)
        self.answers = answers

    def __enter__(self) -> Self:
        self.device.open()
        if self.answers:
            self.sonar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.device.close()
        self.sonar.stop()

    def report(self, level: bool, ticks: float = 0.0) -> None:
        elsewhere(lambda: self.echo.report(level=level, ticks=ticks))


def let_wait(monkeypatch: pytest.MonkeyPatch, **limits_s: float) -> None:
    for name, limit_s in limits_s.items():
        monkeypatch.setattr(distance_driver, f"{name.upper()}_S_MAX", limit_s)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine the test's edges come late; where one is awaited in vain, the test says how long."""
    let_wait(monkeypatch, rise=2 * DEADLINE_S, fall=2 * DEADLINE_S)


@pytest.mark.parametrize("metres", [0.021, 0.1, 1.0, 2.5, 3.999])
def test_the_distance_is_half_the_way_of_the_sound(metres: float) -> None:
    with Bench(metres) as bench:
        (reading,) = bench.device.read()
    assert reading.quality == "good"
    assert reading.value == pytest.approx(metres, abs=1e-6)


def test_a_metre_is_an_echo_of_5_83_ms() -> None:
    assert echo_s(1.0) == pytest.approx(0.00583, abs=1e-5)
    assert judge(0.00583, max_m=4.0).value == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("metres", "options", "said"),
    [
        (4.2, {}, 4.0),
        (1.01, {"max": 1.0}, 1.0),
        (100.0, {"max": 6.0}, 6.0),
        (math.nan, {}, 4.0),
        (0.01, {}, 0.02),
        (0.0, {}, 0.02),
    ],
)
def test_what_is_out_of_range_is_uncertain_and_at_its_limit(
    metres: float, options: dict[str, object], said: float
) -> None:
    with Bench(metres, **options) as bench:
        assert list(bench.device.read()) == [Reading("distance", said, quality="uncertain", reason="limit")]


def test_where_nothing_reflects_the_echo_is_as_long_as_the_manual_says() -> None:
    assert echo_s(100.0) == echo_s(math.nan) == NOTHING_S
    assert judge(NOTHING_S, max_m=6.0).reason == "limit"


def test_the_length_of_an_echo_is_told_by_its_edges_and_not_by_their_arrival() -> None:
    with Bench(answers=False) as bench:
        reader = Reader(bench.device)
        reader.until_it_listens()
        bench.report(True, ticks=1000.0)
        bench.report(False, ticks=1000.01)
        (reading,) = reader.result()
    assert reading.value == pytest.approx(0.01 * 343 / 2)


class Reader:
    """One read, on the device's own thread."""

    def __init__(self, device: Distance) -> None:
        self.device = device
        self.said: Any = None
        self.thread = threading.Thread(target=self._read, name="device", daemon=True)
        self.thread.start()

    def _read(self) -> None:
        try:
            self.said = self.device.read()
        except Exception as error:  # noqa: BLE001 - the test judges it
            self.said = error

    def until_it_listens(self) -> None:
        """Return when the trigger has been pulsed: the driver waits for the echo to rise."""
        bench_pulses = self.device._trigger.pin._pulses
        assert bench_pulses.get(timeout=DEADLINE_S)

    def result(self) -> Any:
        self.thread.join(DEADLINE_S)
        assert not self.thread.is_alive()
        return self.said


def test_a_sensor_that_does_not_answer_is_a_failing_device_and_says_which_wires_to_look_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_wait(monkeypatch, rise=0.02)
    with Bench(answers=False) as bench, pytest.raises(DeviceError, match=r"GPIO 24\) stays low.*VCC.*GPIO 23"):
        bench.device.read()


def test_an_echo_that_does_not_end_is_a_failing_device_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    let_wait(monkeypatch, fall=0.02)
    with Bench(answers=False) as bench:
        reader = Reader(bench.device)
        reader.until_it_listens()
        bench.report(True)
        assert "stays high" in str(reader.result())
        with pytest.raises(DeviceError, match="high before the measurement"):
            bench.device.read()
        bench.report(False)
        let_wait(monkeypatch, fall=DEADLINE_S)
        bench.sonar.start()
        (reading,) = bench.device.read()
        assert reading.value == pytest.approx(1.0)


def test_an_edge_that_was_missed_is_a_failing_device() -> None:
    with Bench(answers=False) as bench:
        reader = Reader(bench.device)
        reader.until_it_listens()
        bench.report(False)
        assert "an edge was missed" in str(reader.result())


def test_edges_between_two_measurements_are_not_taken_for_an_echo() -> None:
    with Bench(1.0) as bench:
        for n in range(10):
            bench.report(True, ticks=n)
            bench.report(False, ticks=n + 0.003)
        (reading,) = bench.device.read()
        assert reading.value == pytest.approx(1.0)


def test_edges_that_a_failed_measurement_left_are_forgotten() -> None:
    with Bench(1.0) as bench:
        bench.device._edges.put(Edge(0.0, is_high=True))
        (reading,) = bench.device.read()
        assert reading.value == pytest.approx(1.0)


def test_the_turn_is_kept_until_the_sound_has_died_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert distance_driver.CYCLE_S >= 0.06
    monkeypatch.setattr(distance_driver, "CYCLE_S", 10 * DEADLINE_S)
    with Bench(0.1) as bench:
        reader = Reader(bench.device)
        reader.thread.join(0.1)
        assert reader.thread.is_alive()
        assert gpiozero.DistanceSensor.ECHO_LOCK.locked()
        elsewhere(bench.device.close)
        (reading,) = reader.result()
    assert reading.value == pytest.approx(0.1)


def test_closing_during_a_measurement_ends_it_at_once() -> None:
    for rises in (False, True):
        with Bench(answers=False) as bench:
            reader = Reader(bench.device)
            reader.until_it_listens()
            if rises:
                bench.report(True)
            elsewhere(bench.device.close)
            assert isinstance(error := reader.result(), DeviceError)
            assert "closed during a measurement" in str(error)


def test_after_close_reading_is_an_error_and_the_pins_are_free() -> None:
    with Bench() as bench:
        bench.device.close()
        with pytest.raises(DeviceError, match="not open"):
            bench.device.read()
        again = Distance(bench.options, bench.sonar.factory)
        again.open()
        (reading,) = again.read()
        again.close()
    assert reading.value == pytest.approx(1.0)


def test_edges_after_close_go_nowhere() -> None:
    with Bench() as bench:
        bench.device.close()
        elsewhere(lambda: bench.device._changed(1.0, 1))
        assert bench.device._edges.get_nowait() is None  # what woke up a measurement that was not there
        assert bench.device._edges.empty()


@pytest.mark.parametrize("taken", [23, 24])
def test_pins_that_are_taken_are_a_failing_device_and_nothing_is_kept(taken: int) -> None:
    with Bench(answers=False) as bench:
        pins = {"trigger": taken, "echo": 25} if taken == 23 else {"trigger": 25, "echo": taken}
        second = Distance(DistanceOptions(**pins), bench.sonar.factory)
        with pytest.raises(DeviceError, match=r"already in use.*another program"):
            second.open()
        gpiozero.OutputDevice(25, pin_factory=bench.sonar.factory()).close()
        bench.device.close()
        third = Distance(DistanceOptions(**pins), bench.sonar.factory)
        third.open()
        third.close()


def test_sensors_take_turns() -> None:
    with Bench(1.0) as bench:
        with gpiozero.DistanceSensor.ECHO_LOCK:
            reader = Reader(bench.device)
            reader.thread.join(0.05)
            assert reader.thread.is_alive()
            assert bench.device._trigger.pin._pulses.empty()
        assert reader.result() != ()
        assert not isinstance(reader.said, Exception)


def test_a_turn_that_does_not_come_is_a_failing_device(monkeypatch: pytest.MonkeyPatch) -> None:
    let_wait(monkeypatch, turn=0.02)
    with Bench(1.0) as bench, gpiozero.DistanceSensor.ECHO_LOCK, pytest.raises(DeviceError, match="took turns"):
        bench.device.read()


def test_a_measurement_that_fails_leaves_the_turn_to_the_next() -> None:
    with Bench(answers=False) as bench:
        bench.report(True)
        with pytest.raises(DeviceError):
            bench.device.read()
    assert not gpiozero.DistanceSensor.ECHO_LOCK.locked()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trigger": 24, "echo": 24}, "a pin of its own"),
        ({"trigger": 23, "echo": 2}, "pull-up resistor on the board"),
        ({"trigger": 23, "echo": 24, "max": 7}, "less than or equal to 6"),
        ({"trigger": 23, "echo": 24, "max": 0.01}, "greater than 0.02"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DistanceOptions.model_validate(options)


def test_it_claims_both_pins() -> None:
    assert Distance.claims(OPTIONS) == ("GPIO 23", "GPIO 24")


# The simulated sensor


def test_the_simulated_sensor_follows_the_world(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(Distance, OPTIONS, distance={"ramp": {"from": 1.0, "to": 2.0, "period": "10s"}})
    device = Distance.simulate(OPTIONS, stage.world)
    device.open()
    found = []
    for stage.now_s in (0.0, 5.0, 10.0):
        found.append(device.read()[0].value)
    stage.values["distance"] = OSError("unplugged")
    with monkeypatch.context() as hurry:
        let_wait(hurry, rise=0.02)
        with pytest.raises(DeviceError, match="stays low"):
            device.read()
    stage.values["distance"] = 0.5
    found.append(device.read()[0].value)
    device.close()
    assert found == pytest.approx([1.0, 1.5, 2.0, 0.5])


def test_the_simulated_sensor_answers_from_a_foreign_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    plain = Distance._changed

    def changed(self: Distance, ticks: float, state: int) -> None:
        threads.add(threading.current_thread().name)
        plain(self, ticks, state)

    monkeypatch.setattr(Distance, "_changed", changed)
    device = Distance.simulate(OPTIONS, Stage(Distance, OPTIONS).world)
    device.open()
    device.read()
    device.close()
    assert threads == {"simulated distance sensor on GPIO 24"}
