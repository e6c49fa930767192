"""`gateway check`: everything that is wrong with a configuration, or what it means."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli import look
from gateway.errors import ConfigError, Problem

if TYPE_CHECKING:
    from gateway.config import Config, DeviceConfig
    from gateway.config.model import KeepConfig

SOURCE_CHARS_MAX = 120
"""A longer line of the file is cut around the place in question."""

_OPEN_SECRET = re.compile(r"(?i)(?:pass|secret|token|key)\w*[\"']?\s*:\s+(?!!secret\b)(?P<block>.+)")
_OPEN_SECRET_IN_BRACES = re.compile(
    r"(?i)(?:pass|secret|token|key)\w*[\"']?\s*:\s+(?!!secret\b)(?P<flow>\"[^\"]*\"?|'[^']*'?|[^,}]+)"
)
_LOGIN = re.compile(r"://(?P<login>[^\s/@]+)@")


@click.command(short_help="Find everything that is wrong with a configuration.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print problems or the summary as JSON.")
def check(file: Path | None, *, as_json: bool) -> None:
    """Check the configuration FILE, by default the one that `gateway run` would use.

    Exit code 2 says that it cannot be used; every problem is named at once.
    """
    from gateway.config import load_config
    from gateway.locations import default_config
    from gateway.plugins import Plugins

    path = file or default_config(os.environ, Path.cwd())
    try:
        config = load_config(path, Plugins())
    except ConfigError as error:
        click.echo(_json(wrong_document(path, error)) if as_json else wrong_page(error))
        sys.exit(error.exit_code)
    click.echo(_json(document(path, config)) if as_json else page(path, config))


def wrong_page(error: ConfigError) -> str:
    """Each problem with the line of the file that it is about, then how many there are."""
    blocks = [_problem(problem) for problem in error.problems]
    count = look.counted(len(error.problems), "problem")
    return "\n\n".join([*blocks, click.style(f"{count}: this configuration cannot be used", fg="red")])


def _problem(problem: Problem) -> str:
    where = f"{look.printable(problem.file)}:{problem.line}:{problem.column}"
    path = f"{look.printable(problem.path)}: " if problem.path else ""
    head = f"{click.style(where, bold=True)} {path}{look.printable(problem.message)}"
    return "\n".join([head, *_source(problem)])


def _source(problem: Problem) -> Iterator[str]:
    """The line in question, and a caret below the column; nothing where the file cannot be shown."""
    line = _line(problem)
    if line is None or not line.strip():
        return
    start = max(0, problem.column - 1 - SOURCE_CHARS_MAX // 2) if len(line) > SOURCE_CHARS_MAX else 0
    shown = look.printable(line[start : start + SOURCE_CHARS_MAX].replace("\t", " "))
    before = look.width(look.printable(line[start : problem.column - 1].replace("\t", " ")))
    number = str(problem.line)
    yield f"  {click.style(f'{number} |', dim=True)} {shown}"
    yield f"  {click.style(' ' * len(number) + ' |', dim=True)} {' ' * before}{click.style('^', fg='red', bold=True)}"


def _line(problem: Problem) -> str | None:
    """That line of the file, with what looks like a password blotted out: this output ends in bug reports."""
    from gateway.config.text import Unreadable, decode, lines_of, read_bytes

    try:
        lines = lines_of(decode(read_bytes(Path(problem.file))))
    except Unreadable:
        return None
    if problem.line > len(lines):
        return None
    return blotted(lines[problem.line - 1])


def blotted(line: str) -> str:
    """A line of YAML with stars for the value of a key that sounds secret, and for the login in a URL."""
    first = _OPEN_SECRET.search(line)
    in_braces = first is not None and "{" in line[: first.start()]
    for pattern in (_OPEN_SECRET_IN_BRACES if in_braces else _OPEN_SECRET, _LOGIN):
        line = pattern.sub(_starred, line)
    return line


def _starred(match: re.Match[str]) -> str:
    """The match as long as it was: the caret below counts columns."""
    start, end = match.span(match.re.groups)
    return match.string[match.start() : start] + "*" * (end - start) + match.string[end : match.end()]


def _keeps(keep: KeepConfig) -> str:
    from gateway.config.sentences import size_text
    from gateway.options import duration_text

    count = "" if keep.events_max is None else f" and {look.counted(keep.events_max, 'event')}"
    then = "" if keep.when_full == "evict" else f", then {keep.when_full}"
    return f"{duration_text(keep.for_s)}, at most {size_text(keep.size_bytes_max)}{count}{then}"


def page(path: Path, config: Config) -> str:
    """What the configuration means, on one page."""
    labels = ", ".join(f"{name}={text}" for name, text in config.gateway.labels.items())
    pairs = [
        ("file", look.printable(str(path))),
        ("hash", config.hash),
        *([("labels", look.printable(labels))] if labels else []),
        ("log", look.printable(str(config.buffer.path))),
        *([("http", config.http.listen)] if config.http else []),
        ("keeps", _keeps(config.buffer.keep)),
    ]
    head = f"{click.style(config.gateway.id, bold=True)}  {click.style('ok', fg='green')}"
    parts = [f"{head}\n{look.fields(pairs)}", _devices(config), _sinks(config), *_rules(config)]
    if config.warnings:
        parts.append(
            "\n".join(click.style(f"warning: {look.printable(text)}", fg="yellow") for text in config.warnings)
        )
    return "\n\n".join(parts)


def _devices(config: Config) -> str:
    if not config.devices:
        return "No devices: the gateway records its own events only."
    rows = [(d.id, d.driver.name, _interval(d), ", ".join(c.name for c in d.declared)) for d in config.devices]
    listed = look.table(rows, ("DEVICE", "DRIVER", "EVERY", "CHANNELS"), columns=look.columns(), indent=2)
    return f"{look.counted(len(rows), 'device')}\n{listed}"


def _interval(device: DeviceConfig) -> str:
    from gateway.options import duration_text

    return duration_text(device.every_s) if device.every_s is not None else "on change"


def _sinks(config: Config) -> str:
    if not config.sinks:
        return "No sinks: events stay in the log, `gateway tail` shows them."
    rows = [(sink.id, sink.sink.name, sink.sink.summary) for sink in config.sinks]
    listed = look.table(rows, ("SINK", "KIND", "WHAT IT IS"), columns=look.columns(), indent=2)
    return f"{look.counted(len(rows), 'sink')}\n{listed}"


def _rules(config: Config) -> list[str]:
    if not config.rules:
        return []
    rows = [(rule.id, rule.when.operator, rule.emit.name or rule.id, rule.emit.severity) for rule in config.rules]
    listed = look.table(rows, ("RULE", "OPERATOR", "SAYS", "SEVERITY"), columns=look.columns(), indent=2)
    return [f"{look.counted(len(rows), 'rule')}\n{listed}"]


def wrong_document(path: Path, error: ConfigError) -> dict[str, Any]:
    problems = [
        {"file": p.file, "line": p.line, "column": p.column, "path": p.path, "message": p.message}
        for p in error.problems
    ]
    return {"ok": False, "file": str(path), "problems": problems}


def document(path: Path, config: Config) -> dict[str, Any]:
    """The summary for machines."""
    return {
        "ok": True,
        "file": str(path),
        "hash": config.hash,
        "gateway": {"id": config.gateway.id, "labels": dict(config.gateway.labels)},
        "devices": [
            {
                "id": device.id,
                "driver": device.driver.name,
                "every_s": device.every_s,
                "channels": [channel.name for channel in device.declared],
            }
            for device in config.devices
        ],
        "sinks": [{"id": sink.id, "sink": sink.sink.name} for sink in config.sinks],
        "rules": [{"id": rule.id, "hash": rule.hash, "operator": rule.when.operator} for rule in config.rules],
        "buffer": {
            "path": str(config.buffer.path),
            "keep_for_s": config.buffer.keep.for_s,
            "keep_bytes_max": config.buffer.keep.size_bytes_max,
            "keep_events_max": config.buffer.keep.events_max,
            "when_full": config.buffer.keep.when_full,
        },
        "http": None if config.http is None else {"listen": config.http.listen},
        "warnings": list(config.warnings),
    }


def _json(value: dict[str, Any]) -> str:
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)
