"""The driver contract as tests: every promise of `gateway.driver` that a simulated device can keep or break.

In the tests of a driver of one's own:

    from gateway.testing.drivers import DriverContract
    from my_drivers.scale.driver import Scale

    class TestScale(DriverContract):
        driver = Scale
        options = {"port": "/dev/ttyUSB0"}

`options` is what the YAML says, without the keys that every device has; it may be left out, then the first device of
`sample.yaml` is taken. `README.md` and `sample.yaml` are looked for beside the driver's module.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final, cast, get_args

import pytest
import yaml

from gateway.driver import Channel, Command, Driver, Kind, OutputDriver, PolledDriver, PushDriver, World
from gateway.errors import DeviceError, PluginError
from gateway.event import ID_PATTERN, Reading, Value
from gateway.options import Options
from gateway.simulate.signals import parse_signal
from gateway.testing import rig
from gateway.units import QUANTITIES

DEVICE_KEYS: Final = frozenset({"id", "driver", "every", "timeout", "channels", "simulate"})
"""Keys of every device in the YAML; a driver's own options are called something else."""


class DriverContract:
    """Derive from this, name the driver, and pytest does the rest."""

    driver: ClassVar[type[Driver]]
    options: ClassVar[Mapping[str, Any] | None] = None

    # What the driver says about itself, without hardware

    def test_it_has_a_name_and_says_in_a_line_what_it_is(self) -> None:
        assert re.fullmatch(ID_PATTERN, self.driver.name), f"{self.driver.name!r}: expected {ID_PATTERN}"
        assert self.driver.summary.strip(), "summary is empty"
        assert "\n" not in self.driver.summary, "summary has more than one line"

    def test_it_has_one_of_the_shapes(self) -> None:
        shapes = [shape for shape in (PolledDriver, PushDriver, OutputDriver) if issubclass(self.driver, shape)]
        assert len(shapes) == 1, "derive from PolledDriver, PushDriver or OutputDriver"
        every_s = self.driver.every_s
        assert (every_s or 0) > 0 if shapes == [PolledDriver] else every_s is None, f"every_s is {every_s}"
        for channel in self._channels():
            is_output = channel.kind == "output"
            assert is_output == (shapes == [OutputDriver]), f"{channel.name}: only an OutputDriver has outputs, and all"

    def test_its_options_are_strict_described_and_its_own(self) -> None:
        model = self.driver.Options
        assert issubclass(model, Options), "Options must derive from gateway.options.Options"
        assert model.model_config.get("extra") == "forbid", "Options must refuse unknown keys"
        for name, key, description in self._option_rows():
            assert not {name, key} & DEVICE_KEYS, f"option {key!r} hides the key that every device has"
            assert description, f"option {key!r} has no description"

    def test_its_channels_are_known_without_hardware(self) -> None:
        channels = self._channels()
        assert channels, "a device without channels"
        assert channels == self._channels(), "channels differ from call to call"
        names = [channel.name for channel in channels]
        assert len(set(names)) == len(names), f"a name is used twice: {names}"
        for channel in channels:
            assert re.fullmatch(ID_PATTERN, channel.name), f"{channel.name!r}: expected {ID_PATTERN}"
            assert channel.quantity in QUANTITIES, f"{channel.name}: unknown quantity {channel.quantity!r}"
            assert channel.kind in get_args(Kind), f"{channel.name}: unknown kind {channel.kind!r}"
            assert channel.summary.strip(), f"{channel.name} has no summary"
            if channel.rest is not None:
                parse_signal(channel.rest, channel.measures)  # raises where it does not suit the quantity

    def test_its_claims_are_words_that_stay_the_same(self) -> None:
        claims = self.driver.claims(self._options())
        assert claims == self.driver.claims(self._options()), "claims differ from call to call"
        for claim in cast("tuple[object, ...]", claims):
            assert isinstance(claim, str), f"{claim!r} is not a word"
            assert claim.strip(), "a claim is empty"

    def test_its_bus_is_a_word_that_stays_the_same(self) -> None:
        bus = cast("object", self.driver.bus(self._options()))
        assert bus == self.driver.bus(self._options()), "bus differs from call to call"
        if bus is not None:
            assert isinstance(bus, str), f"bus is {bus!r}: expected a word, or None"
            assert bus.strip(), "bus is an empty word: expected None where nothing is shared"

    def test_create_opens_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with self._nothing_left(tmp_path, monkeypatch), suppress(PluginError):  # an optional package is not installed
            created = self.driver.create(self._options())
            assert isinstance(created, self.driver), f"create returned {created!r}"

    def test_readme_tells_every_option_and_channel(self) -> None:
        text = (self._folder() / "README.md").read_text(encoding="utf-8")
        named = set(re.findall(r"`([^`\n]+)`", text))
        for what in [*(key for _, key, _ in self._option_rows()), *(channel.name for channel in self._channels())]:
            assert any(re.match(rf"{re.escape(what)}\b", word) for word in named), f"README.md does not name `{what}`"

    def test_sample_is_a_configuration_that_works(self) -> None:
        for device in self._sample():
            channels = {channel.name: channel for channel in self.driver.channels(self._parse(device))}
            for key in ("channels", "simulate"):
                unknown = set(device.get(key) or {}) - set(channels)
                assert not unknown, f"sample.yaml: {key} names {sorted(unknown)}, but there are {list(channels)}"
            for name, spec in (device.get("simulate") or {}).items():
                parse_signal(spec, channels[name].measures)

    # What the driver does, over a simulated device

    def test_it_reports_what_the_simulated_world_is_like(self) -> None:
        channels = {channel.name: channel for channel in self._channels()}
        found = {reading.channel: reading for reading in self._look(self._world(), often=0)}
        told = {"state", "output"}
        expected = {name for name, channel in channels.items() if channel.kind in told or self._is_polled(channel)}
        assert expected <= set(found), f"nothing said of {sorted(expected - set(found))} at open"
        for reading in found.values():
            if not self.driver.synthetic:
                assert rig.is_near(reading, channels[reading.channel]), f"{reading}: {channels[reading.channel]}"

    def test_it_reports_only_what_it_declared(self) -> None:
        channels = {channel.name: channel for channel in self._channels()}
        for reading in self._look(self._world(lively=True), often=5):
            rig.check_reading(reading, channels)

    def test_it_may_be_closed_twice_and_unopened(self) -> None:
        with rig.DeviceThread() as thread:
            device = self._simulate(self._world())
            thread.run(device.close)
            device = self._simulate(self._world())
            self._open(thread, device, rig.Ear())
            thread.run(device.close)
            thread.run(device.close)

    def test_it_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._look(self._world(), often=0)  # what is made once for the whole process is not a leftover
        with self._nothing_left(tmp_path, monkeypatch):
            self._look(self._world(lively=True), often=3)

    def test_a_failed_open_or_read_leaves_nothing_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._look(self._world(), often=0)
        with self._nothing_left(tmp_path, monkeypatch):
            self._fails(self._world(rig.Plug(plugged=False)))

    def test_an_unplugged_device_raises_what_means_try_again_and_a_new_object_recovers(self) -> None:
        plug = rig.Plug(plugged=False)
        error = self._fails(self._world(plug))
        assert self.driver.synthetic or isinstance(error, (DeviceError, OSError)), (
            f"an unplugged device must raise DeviceError or OSError from open or read, got {error!r}"
        )
        plug.plugged = True
        assert self._look(self._world(plug, lively=True)), "a new object over the same device says nothing"

    def test_a_device_that_is_pulled_while_it_works_is_noticed_and_comes_back(self) -> None:
        plug = rig.Plug()
        with rig.DeviceThread() as thread:
            device = self._simulate(self._world(plug))
            self._open(thread, device, rig.Ear())
            plug.plugged = False
            if isinstance(device, PolledDriver) and not self.driver.synthetic:
                with pytest.raises((DeviceError, OSError)):
                    thread.run(device.read)
            elif isinstance(device, OutputDriver) and not self.driver.synthetic:
                for command in self._commands():
                    with pytest.raises((DeviceError, OSError)):
                        thread.run(partial(device.apply, command))
            thread.run(device.close)
        plug.plugged = True
        assert self._look(self._world(plug, lively=True)), "a new object over the same device says nothing"

    def test_what_it_pushes_comes_from_a_thread_of_its_own(self) -> None:
        with rig.DeviceThread() as thread:
            device = self._simulate(self._world(lively=True))
            if not isinstance(device, PushDriver):
                return
            ear = rig.Ear()
            self._open(thread, device, ear)
            try:
                foreign = ear.heard_from_other_than(thread.ident)
            finally:
                thread.run(device.close)
        assert foreign, "nothing was emitted while the simulated world changed"

    def test_it_is_silent_after_close(self) -> None:
        with rig.DeviceThread() as thread:
            device = self._simulate(self._world(lively=True))
            ear = rig.Ear()
            self._open(thread, device, ear)
            thread.run(device.close)
            ear.closed = True
            if isinstance(device, PushDriver):
                assert not ear.late.wait(0.3), f"emitted after close: {ear.readings[-1]}"

    # What an output does, over a simulated device

    def test_an_output_tells_what_it_became_by_each_command(self) -> None:
        channels = {channel.name: channel for channel in self._channels()}
        for command, told in self._acts(self._commands()):
            found = {reading.channel: reading for reading in told}
            assert command.channel in found, f"{command} was applied, and nothing said of its channel"
            for reading in told:
                rig.check_reading(reading, channels)
            value = found[command.channel].value
            assert rig.is_like(value, command.value), f"{command} was applied, and the channel is {value!r}"

    def test_an_output_is_safe_in_one_place_whatever_it_was_told_before(self) -> None:
        if not issubclass(self.driver, OutputDriver):
            return
        unopened = self._safe_after(None)
        names = {channel.name for channel in self._channels()}
        assert set(unopened) == names, f"safe() said nothing of {sorted(names - set(unopened))}"
        for command in self._commands():
            assert self._safe_after(command) == unopened, f"safe() after {command} is not where it is without `open`"

    def test_an_output_may_be_made_safe_twice_and_unopened_and_leaves_nothing_behind(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not issubclass(self.driver, OutputDriver):
            return
        self._safe_after(None)
        with self._nothing_left(tmp_path, monkeypatch):
            self._safe_after(None)
            for command in self._commands():
                self._safe_after(command)

    def test_an_output_that_is_unplugged_says_so_when_it_is_made_safe(self) -> None:
        if not issubclass(self.driver, OutputDriver) or self.driver.synthetic:
            return
        with rig.DeviceThread() as thread:
            device = cast("OutputDriver", self._simulate(self._world(rig.Plug(plugged=False))))
            with pytest.raises((DeviceError, OSError)):
                thread.run(device.safe)
            thread.run(device.close)

    # How that is done

    def _commands(self) -> list[Command]:
        return [Command(channel.name, value) for channel in self._channels() for value in rig.settings(channel)]

    def _acts(self, commands: Sequence[Command]) -> list[tuple[Command, Sequence[Reading]]]:
        """Open an output, apply these, make it safe, close; each command with what was told."""
        with rig.DeviceThread() as thread:
            device = self._simulate(self._world())
            if not isinstance(device, OutputDriver):
                return []
            try:
                self._open(thread, device, rig.Ear())
                acts = [(command, thread.run(partial(device.apply, command))) for command in commands]
                thread.run(device.safe)
            finally:
                thread.run(device.close)
        return acts

    def _safe_after(self, command: Command | None) -> dict[str, Value]:
        """Where `safe` goes after a command, or without `open`; asked twice."""
        with rig.DeviceThread() as thread:
            device = cast("OutputDriver", self._simulate(self._world()))
            try:
                if command is not None:
                    self._open(thread, device, rig.Ear())
                    thread.run(partial(device.apply, command))
                found = [{one.channel: one.value for one in thread.run(device.safe)} for _ in range(2)]
            finally:
                thread.run(device.close)
        assert found[0] == found[1], f"safe() twice is first {found[0]}, then {found[1]}"
        return found[0]

    def _options(self) -> Options:
        if self.options is None:
            return self._parse(self._sample()[0])
        return self.driver.Options.model_validate(dict(self.options))

    def _parse(self, device: Mapping[str, Any]) -> Options:
        return self.driver.Options.model_validate({k: v for k, v in device.items() if k not in DEVICE_KEYS})

    def _option_rows(self) -> list[tuple[str, str, str | None]]:
        """(field, key in the YAML, description) of every option."""
        fields = self.driver.Options.model_fields.items()
        return [(name, info.alias or name, info.description) for name, info in fields]

    def _channels(self) -> tuple[Channel, ...]:
        return self.driver.channels(self._options())

    def _is_polled(self, channel: Channel) -> bool:
        return issubclass(self.driver, PolledDriver) and channel.kind != "input"

    def _folder(self) -> Path:
        file = sys.modules[self.driver.__module__].__file__
        assert file is not None, f"{self.driver.__module__} has no file"
        return Path(file).parent

    def _sample(self) -> list[dict[str, Any]]:
        sample = yaml.safe_load((self._folder() / "sample.yaml").read_text(encoding="utf-8"))
        assert isinstance(sample, dict), "sample.yaml must be a mapping with `devices:`"
        devices = sample.get("devices")
        assert isinstance(devices, list), "sample.yaml must have a list under `devices:`"
        mine = [device for device in devices if device.get("driver") == self.driver.name]
        assert mine, f"sample.yaml has no device with driver: {self.driver.name}"
        return mine

    def _world(self, plug: rig.Plug | None = None, *, lively: bool = False) -> World:
        signals = rig.lively(self._channels()) if lively else rig.at_rest(self._channels())
        return rig.world(signals, plug)

    def _simulate(self, world: World) -> Driver:
        return self.driver.simulate(self._options(), world)

    def _open(self, thread: rig.DeviceThread, device: Driver, ear: rig.Ear) -> None:
        if isinstance(device, PushDriver):
            thread.run(lambda: device.open(ear))
        elif isinstance(device, PolledDriver):
            thread.run(device.open)
            ear(thread.run(device.read))
        elif isinstance(device, OutputDriver):
            ear(thread.run(device.open))

    def _look(self, world: World, often: int = 1) -> Sequence[Reading]:
        """Open, read that often or hear that many readings, close, as the gateway does."""
        ear = rig.Ear()
        with rig.DeviceThread() as thread:
            device = self._simulate(world)
            try:
                self._open(thread, device, ear)
                if isinstance(device, PolledDriver):
                    for _ in range(often - 1):
                        ear(thread.run(device.read))
                elif isinstance(device, OutputDriver):
                    for command in self._commands() if often else ():
                        ear(thread.run(partial(device.apply, command)))
                else:
                    assert ear.heard(often), f"heard {len(ear.readings)} readings, expected {often}"
            finally:
                thread.run(device.close)
        return ear.readings

    def _fails(self, world: World) -> BaseException | None:
        """What opening and reading raises; the device is closed afterwards."""
        with rig.DeviceThread() as thread:
            device = self._simulate(world)
            try:
                self._open(thread, device, rig.Ear())
            except Exception as error:  # noqa: BLE001 - the caller judges it
                return error
            finally:
                thread.run(device.close)
        return None

    @contextmanager
    def _nothing_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Check that what happens inside leaves no thread, no file and nothing open."""
        temporary, working = tmp_path / "tmp", tmp_path / "cwd"
        temporary.mkdir()
        working.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(temporary))
        monkeypatch.chdir(working)
        left = rig.Leftovers([temporary, working])
        yield
        for what, found in (("threads", left.threads()), ("files", left.files()), ("open files", left.open_files())):
            assert not found, f"{what} left behind: {found}"
