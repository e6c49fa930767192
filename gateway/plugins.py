"""Finds drivers and sinks through entry points: ours are registered in `pyproject.toml` like anybody else's.

Names are known without importing anything; a class is imported only when the configuration uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from gateway.driver import Driver
from gateway.errors import PluginError
from gateway.options import did_you_mean as did_you_mean  # noqa: PLC0414 - offered here too, beside the names it corrects
from gateway.sink import Sink

DRIVERS = "gateway.drivers"
SINKS = "gateway.sinks"


class Plugins:
    """What is installed. Reads the entry points once, when it is made."""

    def __init__(
        self,
        *,
        drivers: Mapping[str, type[Driver]] | None = None,
        sinks: Mapping[str, type[Sink]] | None = None,
    ) -> None:
        """`drivers` and `sinks` add classes that are not installed: a test's own."""
        self._points = {group: {point.name: point for point in entry_points(group=group)} for group in (DRIVERS, SINKS)}
        self._given: dict[str, type[Driver]] = dict(drivers or {})
        self._given_sinks: dict[str, type[Sink]] = dict(sinks or {})

    def driver_names(self) -> list[str]:
        return sorted({*self._points[DRIVERS], *self._given})

    def sink_names(self) -> list[str]:
        return sorted({*self._points[SINKS], *self._given_sinks})

    def driver(self, name: str) -> type[Driver]:
        """The driver class of that name.

        Raises:
            PluginError: not installed, or it does not import; says which and what to do.
        """
        if name in self._given:
            return self._given[name]
        loaded = self._load(DRIVERS, "driver", name, self.driver_names())
        if not (isinstance(loaded, type) and issubclass(loaded, Driver)):
            raise PluginError(f"driver {name!r} is not a driver: {loaded!r} does not derive from gateway.driver.Driver")
        return loaded

    def sink(self, name: str) -> type[Sink]:
        """The sink class of that name.

        Raises:
            PluginError: as for `driver`.
        """
        if name in self._given_sinks:
            return self._given_sinks[name]
        loaded = self._load(SINKS, "sink", name, self.sink_names())
        if not (isinstance(loaded, type) and issubclass(loaded, Sink)):
            raise PluginError(f"sink {name!r} is not a sink: {loaded!r} does not derive from gateway.sink.Sink")
        return loaded

    def _load(self, group: str, what: str, name: str, names: list[str]) -> object:
        point = self._points[group].get(name)
        if point is None:
            raise PluginError(f"unknown {what} {name!r}{did_you_mean(name, names)}; installed are: {', '.join(names)}")
        return _import(point, what)


def _import(point: EntryPoint, what: str) -> object:
    try:
        return cast("object", point.load())
    except Exception as error:  # somebody else's code: whatever it raises, say whose it is
        origin = point.dist.name if point.dist else "an unknown distribution"
        why = f"{type(error).__name__}: {error}"
        raise PluginError(f"{what} {point.name!r} of {origin} does not import: {why}") from error
