"""`gateway reload`: the running gateway takes over what its YAML says now."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from gateway.cli import look, reach
from gateway.cli.check import wrong_page
from gateway.control import ControlClient
from gateway.errors import ConfigError, Problem

TIMEOUT_S = 30.0
"""One reload may be under way already, and each waits some seconds for what it stops."""

Document = Mapping[str, Any]


@click.command(short_help="Let the running gateway take over what its YAML says now.")
@click.option("--json", "as_json", is_flag=True, help="Print what changed, or the problems, as JSON.")
@reach.options
def reload(socket: Path | None, gateway_id: str | None, *, as_json: bool) -> None:
    """Let the running gateway read its configuration again, and show what that changed.

    Devices, sinks and rules whose meaning is the same go on untouched. A configuration with problems changes nothing:
    every problem is named, and the exit code is 2.
    """
    client = ControlClient(reach.locate(socket, gateway_id))
    document = asyncio.run(client.call("reload", timeout_s=TIMEOUT_S))
    if as_json:
        click.echo(look.document(document))
    else:
        click.echo(page(document) if document["ok"] else wrong_page(_error(document)))
    if not document["ok"]:
        sys.exit(ConfigError.exit_code)


def _error(document: Document) -> ConfigError:
    return ConfigError(
        [Problem(p["file"], p["line"], p["column"], p["path"], p["message"]) for p in document["problems"]]
    )


def page(document: Document) -> str:
    """What a reload changed, one thing a line: + added, - removed, ~ changed, = the same."""
    return "\n".join(_lines(document))


def _lines(document: Document) -> Iterator[str]:
    for section in ("gateway", "buffer", "http", "notify"):
        if document[section]:
            yield _changed(section, document[section])
    kinds = {"device": document["devices"], "sink": document["sinks"], "rule": document["rules"]}
    for kind, compared in kinds.items():
        for id_ in compared["removed"]:
            yield click.style(f"- {kind} {id_}", fg="red")
        for id_ in compared["added"]:
            yield click.style(f"+ {kind} {id_}", fg="green")
        for id_, words in compared["changed"].items():
            yield _changed(f"{kind} {id_}", words)
    untouched = sum(len(compared["untouched"]) for compared in kinds.values())
    yield f"= {untouched} untouched"
    for warning in document["warnings"]:
        yield click.style(f"warning: {look.printable(warning)}", fg="yellow")


def _changed(what: str, words: list[str]) -> str:
    return click.style(f"~ {what} ({look.printable(', '.join(words))})", fg="yellow")
