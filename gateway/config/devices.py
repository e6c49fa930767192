"""`devices:` of the configuration: each entry judged by the common keys and by its driver, then all together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.config.channel import heartbeat_of
from gateway.config.findings import Findings, keys_of, split, without_wrong
from gateway.config.model import ChannelConfig, DeviceConfig, DeviceEntry
from gateway.config.nodes import BrokenNode, MapNode, Node, Path, Place, ScalarNode, at, found, plain, scalars
from gateway.config.sentences import unknown_key
from gateway.config.suits import contradictions, unsuitable
from gateway.driver import Channel, Driver, OutputDriver, Signal
from gateway.errors import PluginError
from gateway.event import RESERVED_IDS, Value
from gateway.options import Options, did_you_mean
from gateway.plugins import Plugins
from gateway.simulate.signals import parse_signal

_LEADING_PATH = re.compile(r"[\w.]+")


@dataclass(frozen=True, slots=True)
class Resting:
    """A signal that does not move: simulated channels that the YAML does not name."""

    value: Value

    def __call__(self, t_s: float) -> Value:
        del t_s
        return self.value


@dataclass(frozen=True, slots=True)
class _Claim:
    """A device that uses a piece of hardware, and where the YAML says so."""

    device: str
    place: Place
    path: Path


class Devices:
    """Reads the entries of `devices:` one after the other and remembers what must not be used twice."""

    def __init__(self, findings: Findings, plugins: Plugins, *, simulate: bool) -> None:
        self._findings, self._plugins, self._simulate = findings, plugins, simulate
        self._claims: dict[str, _Claim] = {}

    def read(self, node: Node | None) -> tuple[DeviceConfig, ...]:
        """Every device that is right. What is wrong is in the findings."""
        entries = self._findings.entries(node, ("devices",), "a device: a mapping with `id` and `driver`")
        check_ids(self._findings, entries, "device", RESERVED_IDS)
        devices = [self._device(entry, path) for entry, path in entries]
        return tuple(device for device in devices if device is not None)

    def _device(self, node: MapNode, path: Path) -> DeviceConfig | None:
        common, own = split(node, DeviceEntry)
        entry = self._findings.check(DeviceEntry, common, path)
        driver = self._driver(common, own, path)
        if driver is None:
            return None
        options = self._findings.check(driver.Options, own, path, also_known=keys_of(DeviceEntry))
        self._check_every(driver, common, path)
        self._check_simulate(driver, common, path)
        declared = self._declared(driver, options, node, path) if options else _likely_channels(driver, own)
        channels = self._channels(entry, declared, common, path, driver.every_s)
        simulate = self._signals(declared, common, path)
        if options is None:
            return None
        self._claim(driver, options, node, path)
        self._findings.caution_open_secrets(options, own, path)
        if entry is None:
            return None
        return DeviceConfig(
            id=entry.id,
            driver=driver,
            options=options,
            every_s=driver.every_s if entry.every_s is None else entry.every_s,
            timeout_s=entry.timeout_s,
            declared=declared,
            channels=channels,
            simulate=simulate if self._simulate else None,
            bus=self._bus(driver, options, node, path),
        )

    def _driver(self, common: MapNode, own: MapNode, path: Path) -> type[Driver] | None:
        name = common.nodes.get("driver")
        if name is None:  # a misspelt `driver:` is the likely reason
            for key in own.keys:
                if did_you_mean(key, ["driver"]):
                    self._findings.problem(own.keys[key], (*path, key), unknown_key(key, keys_of(DeviceEntry)))
        if not isinstance(name, ScalarNode) or not isinstance(name.value, str):
            return None
        try:
            return self._plugins.driver(name.value)
        except PluginError as error:
            self._findings.problem(name.place, (*path, "driver"), str(error))
            return None

    def _check_every(self, driver: type[Driver], common: MapNode, path: Path) -> None:
        if driver.every_s is None and "every" in common.keys:
            how = "acts when it is told" if issubclass(driver, OutputDriver) else "speaks when something happens"
            self._findings.problem(
                common.keys["every"],
                (*path, "every"),
                f"driver {driver.name!r} {how} and is never read: remove `every`",
            )

    def _check_simulate(self, driver: type[Driver], common: MapNode, path: Path) -> None:
        if driver.synthetic and "simulate" in common.keys:
            self._findings.problem(
                common.keys["simulate"],
                (*path, "simulate"),
                f"driver {driver.name!r} has no hardware that could be simulated: remove `simulate`",
            )

    def _declared(self, driver: type[Driver], options: Options, node: MapNode, path: Path) -> tuple[Channel, ...]:
        try:
            return driver.channels(options)
        except Exception as error:  # noqa: BLE001 - a driver is other people's code: said once, with its name
            self._findings.problem(node.place, path, _driver_bug(driver, "channels", error))
            return ()

    def _bus(self, driver: type[Driver], options: Options, node: MapNode, path: Path) -> str | None:
        try:
            return driver.bus(options)
        except Exception as error:  # noqa: BLE001 - as for channels
            self._findings.problem(node.place, path, _driver_bug(driver, "bus", error))
            return None

    def _claim(self, driver: type[Driver], options: Options, node: MapNode, path: Path) -> None:
        try:
            claimed = driver.claims(options)
        except Exception as error:  # noqa: BLE001 - as for channels
            self._findings.problem(node.place, path, _driver_bug(driver, "claims", error))
            return
        for hardware in claimed:
            claim = _claim_of(hardware, node, path)
            first = self._claims.setdefault(hardware, claim)
            if first is not claim:
                where = first.place.seen_from(claim.place)
                self._findings.problem(
                    claim.place,
                    claim.path,
                    f"{hardware} is used by device {first.device!r} already ({where}): give {claim.device!r} another",
                )

    def _channels(
        self,
        entry: DeviceEntry | None,
        declared: tuple[Channel, ...],
        common: MapNode,
        path: Path,
        default_every_s: float | None,
    ) -> Mapping[str, ChannelConfig]:
        named = self._known(common, "channels", declared, path)
        written = entry.channels if entry else {}
        every_s = (entry and entry.every_s) or default_every_s
        for channel in declared:
            node = named.get(channel.name)
            if isinstance(node, MapNode):
                self._check_suits(channel, node, written.get(channel.name), every_s, (*path, "channels", channel.name))
        return {channel.name: _with_heartbeat(written.get(channel.name, ChannelConfig())) for channel in declared}

    def _check_suits(
        self, channel: Channel, node: MapNode, config: ChannelConfig | None, every_s: float | None, path: Path
    ) -> None:
        wrong = list(unsuitable(channel, node.keys))
        if config is not None and not wrong:
            wrong = list(contradictions(channel, config, every_s))
        for key, sentence in wrong:
            self._findings.problem(node.keys.get(key, node.place), (*path, key), sentence)

    def _signals(self, declared: tuple[Channel, ...], common: MapNode, path: Path) -> Mapping[str, Signal] | None:
        """A signal for every channel; None for a device that stays real."""
        node = common.nodes.get("simulate")
        if isinstance(node, ScalarNode) and node.value is False:
            return None
        signals: dict[str, Signal] = {channel.name: Resting(channel.rest) for channel in declared}
        quantities = {channel.name: channel.measures for channel in declared}
        inputs = {channel.name for channel in declared if channel.kind == "input"}
        for name, spec in self._known(common, "simulate", declared, path).items():
            if isinstance(node, MapNode) and name in inputs:
                self._findings.problem(node.keys[name], (*path, "simulate", name), f"{name!r} {_NO_LEVEL}")
                continue
            try:
                signals[name] = parse_signal(plain(spec), quantities[name])
            except ValueError as error:
                self._wrong_signal(spec, (*path, "simulate", name), str(error))
        return signals

    def _wrong_signal(self, spec: Node, path: Path, said: str) -> None:
        if any(isinstance(node, BrokenNode) for node in _all(spec)):
            return
        leading = _LEADING_PATH.match(said)
        node, _ = at(spec, leading[0].split(".") if leading else ())
        last = leading[0].split(".")[-1] if leading else ""
        place = node.keys[last] if isinstance(node, MapNode) and last in node.keys else node.place
        what = f"found {found(spec)}, " if isinstance(spec, ScalarNode) and said.startswith("expected") else ""
        self._findings.problem(place, path, f"{what}{said}")

    def _known(self, common: MapNode, key: str, declared: tuple[Channel, ...], path: Path) -> dict[str, Node]:
        """The entries below `key` that name a channel of the device; others are problems."""
        node = common.nodes.get(key)
        if not isinstance(node, MapNode):
            return {}
        names = [channel.name for channel in declared]
        for name, place in node.keys.items():
            if declared and name not in names:
                known = f"its channels are: {', '.join(names)}"
                message = f"the device has no channel {name!r}{did_you_mean(name, names)}; {known}"
                self._findings.problem(place, (*path, key, name), message)
        return {name: inner for name, inner in node.nodes.items() if name in names}


_NO_LEVEL = "is an input, no level that a signal could give: remove it, and simulate what it comes from"


def _likely_channels(driver: type[Driver], own: MapNode) -> tuple[Channel, ...]:
    """The channels of a device whose options are wrong, so that what is said about them is judged all the same."""
    try:
        return driver.channels(without_wrong(driver.Options, own))
    except Exception:  # noqa: BLE001 - the channels hang on what is wrong: they are judged once that is right
        return ()


def check_ids(
    findings: Findings, entries: list[tuple[MapNode, Path]], what: str, reserved: frozenset[str] = frozenset()
) -> None:
    """Ids are unique, and none is a word that the gateway needs for itself."""
    first: dict[str, Place] = {}
    for entry, path in entries:
        node = entry.nodes.get("id")
        if not isinstance(node, ScalarNode) or not isinstance(node.value, str):
            continue
        place, name = node.place, node.value
        if name in reserved:
            findings.problem(
                place, (*path, "id"), f"{name!r} is the first word of the gateway's own subjects: choose another id"
            )
        elif name in first:
            where = first[name].seen_from(place)
            findings.problem(place, (*path, "id"), f"{what} {name!r} is there already ({where}): choose another id")
        else:
            first[name] = place


def _claim_of(hardware: str, node: MapNode, path: Path) -> _Claim:
    """Who claims `GPIO 17`, and the key whose value is the 17; the entry itself where no value says so."""
    word = hardware.rpartition(" ")[2]
    name = node.nodes.get("id")
    device = str(name.value) if isinstance(name, ScalarNode) else "this device"
    for key, inner in node.nodes.items():
        for scalar in scalars(inner):
            if key != "id" and str(plain(scalar)) == word:
                return _Claim(device, scalar.place, (*path, key))
    return _Claim(device, node.place, path)


def _with_heartbeat(channel: ChannelConfig) -> ChannelConfig:
    return channel.model_copy(update={"heartbeat_s": heartbeat_of(channel)})


def _driver_bug(driver: type[Driver], method: str, error: Exception) -> str:
    return f"driver {driver.name!r} fails in {method}(), which is a bug in the driver: {type(error).__name__}: {error}"


def _all(node: Node) -> list[Node]:
    below = node.nodes.values() if isinstance(node, MapNode) else getattr(node, "nodes", ())
    return [node, *(deeper for inner in below for deeper in _all(inner))]
