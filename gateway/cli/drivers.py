"""`gateway drivers`: which drivers are installed, and what one of them wants in the YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from typing import Any, NamedTuple

import click

from gateway.cli import look
from gateway.cli.options import Option, described, duration_text
from gateway.driver import Channel, Driver, OutputDriver, PolledDriver
from gateway.errors import GatewayError
from gateway.plugins import DRIVERS, Plugins


class UnknownDriver(GatewayError):
    """No driver of that name is installed."""

    exit_code = 2


class Entry(NamedTuple):
    """One installed driver. `driver` is None where it cannot be loaded, and `error` says why."""

    name: str
    origin: str
    driver: type[Driver] | None
    error: str = ""


@click.command(short_help="List the drivers, or explain one.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def drivers(name: str | None, *, as_json: bool) -> None:
    """List the installed drivers, or show one driver's options, channels and an example."""
    plugins = Plugins()
    if name is None:
        entries = installed(plugins)
        _print_json([_summary(entry) for entry in entries]) if as_json else click.echo(listing(entries, look.columns()))
        return
    entry = find(plugins, name)
    if entry.driver is None:
        raise GatewayError(f"driver {entry.name!r} of {entry.origin} cannot be used: {entry.error}")
    _print_json(_details(entry, entry.driver)) if as_json else click.echo(page(entry, entry.driver, look.columns()))


def installed(plugins: Plugins) -> list[Entry]:
    """Every driver, the broken ones too."""
    points = {point.name: point for point in entry_points(group=DRIVERS)}
    return [_entry(plugins, name, points.get(name)) for name in plugins.driver_names()]


def find(plugins: Plugins, name: str) -> Entry:
    """The driver of that name.

    Raises:
        UnknownDriver: there is none.
    """
    from gateway.options import did_you_mean

    known = plugins.driver_names()
    if name not in known:
        near = did_you_mean(name, known)
        raise UnknownDriver(f"unknown driver {name!r}{near}; installed are: {', '.join(known) or '(none)'}")
    return _entry(plugins, name, {point.name: point for point in entry_points(group=DRIVERS)}.get(name))


def _entry(plugins: Plugins, name: str, point: EntryPoint | None) -> Entry:
    origin = f"{point.dist.name} {point.dist.version}" if point and point.dist else "this program"
    try:
        driver = plugins.driver(name)
        _ = (
            driver.name,
            driver.summary,
            driver.Options,
        )  # a driver without them is as broken as one that does not import
    except GatewayError as error:
        return Entry(name, origin, None, str(error))
    except Exception as error:  # noqa: BLE001 - somebody else's code is imported here, and may fail in any way
        return Entry(name, origin, None, f"{type(error).__name__}: {error}")
    return Entry(name, origin, driver)


def listing(entries: list[Entry], columns: int | None) -> str:
    if not entries:
        return "no driver is installed"
    rows = [(entry.name, _kind(entry), entry.origin, look.printable(_about(entry))) for entry in entries]
    return look.table(rows, ("DRIVER", "KIND", "FROM", "SUMMARY"), columns=columns)


def _about(entry: Entry) -> str:
    return entry.driver.summary if entry.driver else f"cannot be used: {entry.error}"


def _kind(entry: Entry) -> str:
    if entry.driver is None:
        return click.style("broken", fg="red")
    if issubclass(entry.driver, OutputDriver):
        return "output"
    return "polled" if issubclass(entry.driver, PolledDriver) else "push"


def page(entry: Entry, driver: type[Driver], columns: int | None) -> str:
    """Everything about one driver."""
    return "\n\n".join(_parts(entry, driver, columns))


def _parts(entry: Entry, driver: type[Driver], columns: int | None) -> Iterator[str]:
    how = "push: it speaks when something happens"
    if issubclass(driver, PolledDriver):
        how = f"polled: it is read every {duration_text(driver.every_s or 0)}, or as `every` says"
    elif issubclass(driver, OutputDriver):
        how = "output: it does what rules and commands say"
    title = f"{click.style(entry.name, bold=True)}  {look.printable(driver.summary)}"
    yield title + "\n" + look.fields([("kind", how), ("from", entry.origin)])
    own = described(driver.Options)
    yield _section("Options", _option_table(own, columns) if own else "  none of its own")
    yield _section("Options of every device", _option_table(_common(driver), columns))
    sample = sample_of(driver)
    channels = channels_of(driver, sample)
    yield _section("Channels", _channel_table(channels, columns) if channels else "  as its options say")
    if sample:
        yield _section("Example", "\n".join(f"  {line}".rstrip() for line in sample.strip().splitlines()))


def _section(title: str, text: str) -> str:
    return f"{click.style(title, bold=True)}\n{text}"


def _common(driver: type[Driver]) -> list[Option]:
    """What the YAML may say of any device, with this driver's defaults."""
    from gateway.config.model import DeviceEntry

    every = None if driver.every_s is None else duration_text(driver.every_s)
    rows = [option for option in described(DeviceEntry, deep=False) if option.name != "every" or every is not None]
    return [option._replace(default=every) if option.name == "every" and every else option for option in rows]


def _option_table(options: list[Option], columns: int | None) -> str:
    rows = [
        (option.name, option.shape, "required" if option.required else option.default or look.NOTHING, option.meaning)
        for option in options
    ]
    return look.table(rows, ("OPTION", "TYPE", "DEFAULT", "MEANING"), columns=columns, indent=2)


def _channel_table(channels: tuple[Channel, ...], columns: int | None) -> str:
    rows = [(c.name, c.kind, c.quantity, c.measures.unit or look.NOTHING, c.summary) for c in channels]
    return look.table(rows, ("CHANNEL", "KIND", "QUANTITY", "UNIT", "MEANING"), columns=columns, indent=2)


def sample_of(driver: type[Driver]) -> str | None:
    """The `sample.yaml` beside the driver's module, where it ships one."""
    package = driver.__module__.rpartition(".")[0]
    try:
        return (files(package) / "sample.yaml").read_text(encoding="utf-8") if package else None
    except (OSError, ModuleNotFoundError, UnicodeDecodeError):
        return None


def channels_of(driver: type[Driver], sample: str | None) -> tuple[Channel, ...]:
    """The channels of a device with default options, else of the example; none where neither can be known."""
    for options in ({}, _sample_options(driver, sample)):
        try:
            return driver.channels(driver.Options.model_validate(options))
        except ValueError:  # an option is required: pydantic's ValidationError is a ValueError
            continue
    return ()


def _sample_options(driver: type[Driver], sample: str | None) -> Mapping[str, Any]:
    """The driver's own options in its example: a list of devices, or a file that has one under `devices:`."""
    import yaml

    from gateway.config.model import DeviceEntry

    try:
        document = yaml.safe_load(sample or "")
    except yaml.YAMLError:
        return {}
    devices = document.get("devices") if isinstance(document, Mapping) else document
    ours = [d for d in devices or () if isinstance(d, Mapping) and d.get("driver") == driver.name]
    common = {field.alias or name for name, field in DeviceEntry.model_fields.items()}
    return {key: value for key, value in ours[0].items() if key not in common} if ours else {}


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "kind": click.unstyle(_kind(entry)),
        "from": entry.origin,
        "summary": entry.driver.summary if entry.driver else None,
        "error": entry.error or None,
    }


def _details(entry: Entry, driver: type[Driver]) -> dict[str, Any]:
    sample = sample_of(driver)
    channels = channels_of(driver, sample)
    return _summary(entry) | {
        "every_s": driver.every_s,
        "options": driver.Options.model_json_schema(),
        "channels": [
            {"name": c.name, "kind": c.kind, "quantity": c.quantity, "unit": c.measures.unit, "summary": c.summary}
            for c in channels
        ],
        "sample": sample,
    }


def _print_json(document: object) -> None:

    click.echo(look.document(document))
