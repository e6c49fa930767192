"""The driver contract suite notices drivers that break their promises: one defect each, and the test that must fail."""

from __future__ import annotations

import itertools
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from gateway.driver import Channel, Driver, Emit, PolledDriver, PushDriver, World
from gateway.event import Reading
from gateway.options import Options
from gateway.testing.drivers import DriverContract
from tests.drivers import contract

COUNTER = itertools.count()
README = "options: `port`; channels: `temperature` `open`"
SAMPLE = "devices: [{id: x, driver: good, port: 1, simulate: {temperature: 20}}]"


class GoodOptions(Options):
    port: int = Field(1, description="where it is plugged in")


class Good(PolledDriver):
    """A thermometer that keeps the contract."""

    name = "good"
    summary = "a good thermometer"
    Options = GoodOptions

    def __init__(self, options: Any, value: Callable[[str], Any]) -> None:
        self.options, self.value = options, value

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("temperature", "temperature", "of the air", rest=20.0),)

    @classmethod
    def create(cls, options: Any) -> Driver:
        return cls(options, lambda channel: 21.0)

    @classmethod
    def simulate(cls, options: Any, world: World) -> Driver:
        return cls(options, lambda channel: world.signals[channel](world.now_s()))

    def read(self) -> Sequence[Reading]:
        return (Reading("temperature", self.value("temperature")),)


class GoodPush(PushDriver):
    """A contact that keeps the contract."""

    name = "good"
    summary = "a good contact"
    Options = GoodOptions
    started = False

    def __init__(self, options: Any, value: Callable[[str], Any]) -> None:
        self.value, self.stop = value, threading.Event()
        self.thread = threading.Thread(target=self.watch, name="good contact", daemon=True)

    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("open", "contact", "of the door", kind="state", rest=False),)

    @classmethod
    def create(cls, options: Any) -> Driver:
        return cls(options, lambda channel: False)

    @classmethod
    def simulate(cls, options: Any, world: World) -> Driver:
        return cls(options, lambda channel: world.signals[channel](world.now_s()))

    def open(self, emit: Emit) -> None:
        self.emit, self.last = emit, self.value("open")
        emit((Reading("open", self.last),))
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        if self.thread.is_alive():
            self.thread.join()

    def watch(self) -> None:
        while not self.stop.wait(0.01):
            try:
                new = self.value("open")
            except OSError:
                continue
            if new != self.last:
                self.last = new
                self.emit((Reading("open", new),))


def suite_of(broken: type[Driver], folder: Path, readme: str = README, sample: str = SAMPLE) -> type[DriverContract]:
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    (folder / "sample.yaml").write_text(sample.replace("temperature", broken.channels(None)[0].name), encoding="utf-8")

    class Suite(DriverContract):
        driver = broken
        options = {}  # noqa: RUF012 - as a user of the suite writes it

        def _folder(self) -> Path:
            return folder

    return Suite


@pytest.mark.parametrize("good", [Good, GoodPush])
def test_a_good_driver_passes(good: type[Driver], tmp_path: Path) -> None:
    sample = SAMPLE if good is Good else SAMPLE.replace("20", "true")
    ran = contract.run(suite_of(good, tmp_path / "folder", sample=sample), tmp_path / "runs")
    assert {name: error for name, error in ran.items() if error} == {}


class TwoLines(Good):
    summary = "one\ntwo"


class BadName(Good):
    name = "Good Driver"


class NoInterval(Good):
    every_s = None


class LaxOptions(Good):
    class Options(BaseModel):
        port: int = Field(1, description="x")


class HidesADeviceKey(Good):
    class Options(Options):
        rate: int = Field(1, alias="every", description="x")


class SilentOption(Good):
    class Options(Options):
        port: int = 1


class UnknownQuantity(Good):
    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("temperature", "warmth", "of the air", rest=20.0),)


class NameTwice(Good):
    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return 2 * super().channels(options)


class RestDoesNotSuit(Good):
    @classmethod
    def channels(cls, options: Any) -> tuple[Channel, ...]:
        return (Channel("temperature", "temperature", "of the air", rest="warm"),)


class ClaimsWander(Good):
    @classmethod
    def claims(cls, options: Any) -> tuple[str, ...]:
        return (f"bus {next(COUNTER)}",)


class BusWanders(Good):
    @classmethod
    def bus(cls, options: Any) -> str | None:
        return f"i2c-{next(COUNTER)}"


class BusIsNumber(Good):
    @classmethod
    def bus(cls, options: Any) -> str | None:
        return 1


class CreateOpens(Good):
    @classmethod
    def create(cls, options: Any) -> Driver:
        Path(tempfile.gettempdir(), "claimed").touch()
        return super().create(options)


class Undeclared(Good):
    def read(self) -> Sequence[Reading]:
        return (*super().read(), Reading("humidity", 50.0))


class StrangeUnit(Good):
    def read(self) -> Sequence[Reading]:
        return (Reading("temperature", 20.0, "parsec"),)


class WrongFactor(Good):
    def read(self) -> Sequence[Reading]:
        return (Reading("temperature", self.value("temperature") * 10),)


class SaysNothing(Good):
    def read(self) -> Sequence[Reading]:
        return ()


class HidesFailure(Good):
    def read(self) -> Sequence[Reading]:
        try:
            return super().read()
        except OSError:
            return (Reading("temperature", 0.0),)


class FailsAsABug(Good):
    def read(self) -> Sequence[Reading]:
        try:
            return super().read()
        except OSError as error:
            raise KeyError("bus") from error


class NeverRecovers(Good):
    def __init__(self, options: Any, value: Callable[[str], Any]) -> None:
        super().__init__(options, value)

    dead = False

    def read(self) -> Sequence[Reading]:
        if type(self).dead:
            raise OSError("still claimed by the first")
        try:
            return super().read()
        except OSError:
            type(self).dead = True
            raise


class ClosesOnce(Good):
    closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


class LeavesAFile(Good):
    def open(self) -> None:
        Path(tempfile.gettempdir(), f"lock-{id(self)}").touch()


class LeavesADescriptor(Good):
    kept: list[Any] = []  # noqa: RUF012 - the defect

    def open(self) -> None:
        self.kept.append(Path("/dev/null").open("rb"))  # noqa: SIM115 - the defect


class LeavesOnFailure(Good):
    def read(self) -> Sequence[Reading]:
        try:
            return super().read()
        except OSError:
            Path(tempfile.gettempdir(), "half-open").touch()
            raise


class SilentAtOpen(GoodPush):
    def open(self, emit: Emit) -> None:
        super().open(lambda readings: emit(readings) if threading.current_thread() is self.thread else None)


class OneThreadOnly(GoodPush):
    def watch(self) -> None:
        return


class LeavesAThread(GoodPush):
    left: list[GoodPush] = []  # noqa: RUF012 - so that the test can tidy up

    def close(self) -> None:
        self.left.append(self)

    @classmethod
    def stop_them(cls) -> None:
        while cls.left:
            GoodPush.close(cls.left.pop())


class SpeaksAfterClose(GoodPush):
    def close(self) -> None:
        super().close()
        threading.Timer(0.05, self.emit, [(Reading("open", value=True),)]).start()


DEFECTS = [
    (TwoLines, "test_it_has_a_name_and_says_in_a_line_what_it_is", "more than one line"),
    (BadName, "test_it_has_a_name_and_says_in_a_line_what_it_is", "Good Driver"),
    (NoInterval, "test_it_has_one_of_the_shapes", "every_s"),
    (LaxOptions, "test_its_options_are_strict_described_and_its_own", "gateway.options.Options"),
    (HidesADeviceKey, "test_its_options_are_strict_described_and_its_own", "'every' hides"),
    (SilentOption, "test_its_options_are_strict_described_and_its_own", "no description"),
    (UnknownQuantity, "test_its_channels_are_known_without_hardware", "unknown quantity 'warmth'"),
    (NameTwice, "test_its_channels_are_known_without_hardware", "used twice"),
    (RestDoesNotSuit, "test_its_channels_are_known_without_hardware", "must give numbers"),
    (ClaimsWander, "test_its_claims_are_words_that_stay_the_same", "differ"),
    (BusWanders, "test_its_bus_is_a_word_that_stays_the_same", "differs"),
    (BusIsNumber, "test_its_bus_is_a_word_that_stays_the_same", "expected a word"),
    (CreateOpens, "test_create_opens_nothing", "claimed"),
    (Undeclared, "test_it_reports_only_what_it_declared", "does not declare"),
    (StrangeUnit, "test_it_reports_only_what_it_declared", "parsec"),
    (WrongFactor, "test_it_reports_what_the_simulated_world_is_like", "200"),
    (SaysNothing, "test_it_reports_what_the_simulated_world_is_like", "nothing said of"),
    (HidesFailure, "test_an_unplugged_device_raises_what_means_try_again_and_a_new_object_recovers", "must raise"),
    (HidesFailure, "test_a_device_that_is_pulled_while_it_works_is_noticed_and_comes_back", "DID NOT RAISE"),
    (FailsAsABug, "test_an_unplugged_device_raises_what_means_try_again_and_a_new_object_recovers", "KeyError"),
    (NeverRecovers, "test_an_unplugged_device_raises_what_means_try_again_and_a_new_object_recovers", "still claimed"),
    (ClosesOnce, "test_it_may_be_closed_twice_and_unopened", ""),
    (LeavesAFile, "test_it_leaves_nothing_behind", "lock-"),
    (LeavesADescriptor, "test_it_leaves_nothing_behind", "/dev/null"),
    (LeavesOnFailure, "test_a_failed_open_or_read_leaves_nothing_behind", "half-open"),
    (SilentAtOpen, "test_it_reports_what_the_simulated_world_is_like", "nothing said of"),
    (OneThreadOnly, "test_what_it_pushes_comes_from_a_thread_of_its_own", "nothing was emitted"),
    (LeavesAThread, "test_it_leaves_nothing_behind", "good contact"),
    (SpeaksAfterClose, "test_it_is_silent_after_close", "emitted after close"),
]


@pytest.mark.parametrize(
    ("broken", "test", "said"), DEFECTS, ids=[f"{row[0].__name__}-{row[1][5:]}" for row in DEFECTS]
)
def test_a_defect_is_found(
    broken: type[Driver], test: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.testing.rig.DEADLINE_S", 0.5)
    monkeypatch.setattr("gateway.testing.rig.THREAD_ENDS_WITHIN_S", 0.2)
    error = contract.run_one(suite_of(broken, tmp_path / "folder"), test, tmp_path / "run")
    LeavesAThread.stop_them()
    assert error is not None
    assert said in f"{type(error).__name__}: {error}"


def test_a_readme_that_leaves_an_option_out_is_found(tmp_path: Path) -> None:
    suite = suite_of(Good, tmp_path / "folder", readme="channels: `temperature`")
    error = contract.run_one(suite, "test_readme_tells_every_option_and_channel", tmp_path / "run")
    assert "does not name `port`" in str(error)


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("devices: [{id: x, driver: other}]", "no device with driver: good"),
        ("devices: [{id: x, driver: good, prot: 1}]", "prot"),
        ("devices: [{id: x, driver: good, channels: {humidity: {deadband: 1}}}]", "humidity"),
        ("devices: [{id: x, driver: good, simulate: {temperature: {sin: 1}}}]", "did you mean 'sine'"),
        ("- nothing", "must be a mapping"),
    ],
)
def test_a_sample_that_does_not_work_is_found(sample: str, said: str, tmp_path: Path) -> None:
    suite = suite_of(Good, tmp_path / "folder", sample=sample)
    error = contract.run_one(suite, "test_sample_is_a_configuration_that_works", tmp_path / "run")
    assert said in str(error)
