"""`gateway budget`: what a configuration will cost, before it runs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from gateway.cli import look
from gateway.errors import ConfigError
from gateway.options import parse_size_bytes

if TYPE_CHECKING:
    from gateway.budget import Assumptions, Case, Cost
    from gateway.config import Config

YEAR_S = 365.25 * 86400
YEARS_SHOWN_MAX = 100


class Disk(NamedTuple):
    """The file system that holds the log."""

    size_bytes: int
    free_bytes: int


class CardSize(click.ParamType[int]):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size_bytes(value)
        except ValueError as error:
            self.fail(f"found {value!r}, {error}", param, ctx)


@click.command(short_help="Estimate events, bytes to the card, and how long both last.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--card", type=CardSize(), help="Size of the card. [default: of the file system that holds the log]")
@click.option(
    "--overwrites", type=click.FloatRange(1), default=500, show_default=True,
    help="How often the card can be overwritten as a whole.",
)  # fmt: skip
@click.option(
    "--amplification", type=click.FloatRange(1), default=10, show_default=True,
    help="Bytes that the card writes for each byte that it is given.",
)  # fmt: skip
@click.option(
    "--changes", type=click.FloatRange(0), default=20, show_default=True,
    help="Times an hour that each level, input and output changes, in the busy case.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the estimate as JSON.")
def budget(
    file: Path | None, card: int | None, overwrites: float, amplification: float, changes: float, *, as_json: bool
) -> None:
    """Estimate what the configuration FILE will cost, by default the one that `gateway run` would use.

    Events a second, bytes a day to the card, days of outage that the log survives, years that the card lasts. Quiet:
    nothing changes, only heartbeats are recorded. Busy: every reading passes its deadband.
    """
    from gateway.budget import Assumptions
    from gateway.cli.check import wrong_document, wrong_page
    from gateway.config import load_config
    from gateway.locations import default_config
    from gateway.plugins import Plugins

    path = file or default_config(os.environ, Path.cwd())
    try:
        config = load_config(path, Plugins())
    except ConfigError as error:
        click.echo(_json(wrong_document(path, error)) if as_json else wrong_page(error))
        sys.exit(error.exit_code)
    disk = disk_of(config.buffer.path)
    told = document(path, config, Assumptions(changes, overwrites, amplification), disk, card or disk.size_bytes)
    click.echo(_json(told) if as_json else page(told, look.columns()))


def disk_of(log: Path) -> Disk:
    """The file system on which the log lies, or will lie."""
    there = next(folder for folder in (log.absolute(), *log.absolute().parents) if folder.exists())
    usage = shutil.disk_usage(there)
    return Disk(usage.total, usage.free)


def document(path: Path, config: Config, assumed: Assumptions, disk: Disk, card_bytes: int) -> dict[str, Any]:
    """The estimate for machines. What never ends is null."""
    from gateway.budget import cost, device_rate

    cases: tuple[Case, Case] = ("quiet", "busy")
    keep = config.buffer.keep
    return {
        "file": str(path),
        "gateway": config.gateway.id,
        **{case: _cost(cost(config, case, assumed, card_bytes)) for case in cases},
        "devices": [
            {
                "id": device.id,
                "driver": device.driver.name,
                "every_s": device.every_s,
                **{f"{case}_events_per_s": device_rate(device, case, assumed).events for case in cases},
            }
            for device in config.devices
        ],
        "log": {
            "path": str(config.buffer.path),
            "keep_for_s": keep.for_s,
            "bytes_max": keep.size_bytes_max,
            "events_max": keep.events_max,
            "when_full": keep.when_full,
            "wear_bytes_per_day": config.buffer.wear_bytes_per_day,
        },
        "disk": disk._asdict(),
        "assumed": {"card_bytes": card_bytes, **asdict(assumed)},
    }


def _cost(cost: Cost) -> dict[str, Any]:
    return {name: None if value == float("inf") else value for name, value in asdict(cost).items()}


def page(told: Mapping[str, Any], columns: int | None) -> str:
    """The document as text."""
    rows = list(_rows(told["quiet"], told["busy"], told["log"]))
    head = f"{click.style(told['gateway'], bold=True)}  {look.printable(told['file'])}, an estimate"
    log, disk = told["log"], told["disk"]
    where = [
        ("log", f"{look.printable(log['path'])}, at most {look.size(log['bytes_max'])}"),
        ("disk", f"{look.size(disk['free_bytes'])} free of {look.size(disk['size_bytes'])}"),
    ]
    parts = [f"{head}\n{look.fields(where)}"]
    parts.append(look.table(rows, ("", "QUIET", "BUSY", "MEANING"), "<>><", columns=columns, indent=2))
    if told["devices"]:
        devices = [
            (device["id"], _every(device["every_s"]), *(_rate(device[f"{case}_events_per_s"]) for case in _CASES))
            for device in told["devices"]
        ]
        header = ("DEVICE", "EVERY", "QUIET", "BUSY")
        parts.append(look.table(devices, header, "<<>>", columns=columns, indent=2))
    parts.append("\n".join([click.style("Assumed", bold=True), *_bullets(_assumed(told), columns)]))
    if warnings := [look.wrap(f"warning: {text}", columns) for text in _warnings(told)]:
        parts.append("\n".join(click.style(line, fg="yellow") for lines in warnings for line in lines))
    return "\n\n".join(parts)


_CASES = ("quiet", "busy")
_AT_FULL = {
    "evict": "until a sink that is away loses events",
    "refuse": "until new readings are refused, because a sink is away",
    "thin": "until old readings are thinned, because a sink is away",
}


def _rows(quiet: Mapping[str, Any], busy: Mapping[str, Any], log: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    def row(name: str, key: str, text: Any, note: str) -> tuple[str, ...]:
        return (name, text(quiet[key]), text(busy[key]), note)

    wear = log["wear_bytes_per_day"]
    limited = f", so that buffer.wear ({look.size(wear)}/day) is kept" if wear else ""
    yield row("events", "events_per_s", _rate, "recorded")
    yield row("commits", "commits_per_s", _rate, "flushes to the card, at most")
    yield row(
        "readings wait", "commit_within_s", lambda s: f"{look.number(round(s, 1))} s", f"for their commit{limited}"
    )
    yield row("written", "written_bytes_per_day", lambda b: f"{look.size(round(b))}/day", "to the card")
    yield row("outage", "outage_s", _span, _AT_FULL[log["when_full"]])
    yield row("history", "history_s", _span, "what the log goes back once it is delivered")
    yield row("card lasts", "card_s", _span, "if this gateway alone wrote to it")


def _assumed(told: Mapping[str, Any]) -> Iterator[str]:
    assumed = told["assumed"]
    yield (
        f"card: {look.size(assumed['card_bytes'])}, overwritten {assumed['overwrites']:g} times as a whole "
        f"(--card, --overwrites)"
    )
    yield f"it writes {assumed['amplification']:g} bytes of flash for each byte that it is given (--amplification)"
    yield "quiet: nothing changes; readings with a deadband or heartbeat come at their heartbeat, the others each time"
    yield (
        f"busy: every reading passes its deadband, each level, input and output changes "
        f"{assumed['changes_per_hour']:g} times an hour (--changes)"
    )
    yield "not counted: what rules derive, failures, the gateway's own events, and what other programs and swap write"


def _warnings(told: Mapping[str, Any]) -> Iterator[str]:
    log, disk = told["log"], told["disk"]
    if log["bytes_max"] > disk["free_bytes"]:
        yield (
            f"the disk has {look.size(disk['free_bytes'])} free, and the log may grow to "
            f"{look.size(log['bytes_max'])}: lower buffer.keep.size"
        )
    for case in _CASES:
        if not told[case]["met"]:
            yield (
                f"{case}: more than buffer.wear ({look.size(log['wear_bytes_per_day'])}/day) is written although "
                "readings wait a minute: record less, or give channels `urgent: false`"
            )


def _bullets(sentences: Iterator[str], columns: int | None) -> Iterator[str]:
    for sentence in sentences:
        first, *more = look.wrap(sentence, None if columns is None else columns - 4)
        yield f"  - {first}"
        yield from (f"    {line}" for line in more)


def _rate(per_s: float) -> str:
    """Events a second, an hour or a day, whichever a person can picture."""
    if per_s >= 0.1 or per_s == 0:
        return f"{look.number(round(per_s, 1 if per_s >= 1 else 2))}/s" if per_s else "0"
    if per_s * 3600 >= 1:
        return f"{look.number(round(per_s * 3600))}/h"
    return f"{look.number(round(per_s * 86400))}/day"


def _every(seconds: float | None) -> str:
    return "on change" if seconds is None else look.duration(seconds)


def _span(seconds: float | None) -> str:
    """A long time, roughly: `12 days`, `3.4 years`."""
    if seconds is None or not isfinite(seconds) or seconds > YEARS_SHOWN_MAX * YEAR_S:
        return f"> {YEARS_SHOWN_MAX} years"
    if seconds >= 2 * YEAR_S:
        years = seconds / YEAR_S
        return f"{years:.0f} years" if years >= 10 else f"{years:.1f} years"
    if seconds >= 10 * 86400:
        return f"{seconds / 86400:.0f} days"
    return look.duration(seconds)


def _json(value: Mapping[str, Any]) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)
