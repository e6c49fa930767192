"""`gateway rules`: whether rules are right and do what their cases say, how they stand, what they did and would do."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import click

from gateway.cli import look
from gateway.errors import ConfigError, GatewayError, Problem

ASKING = ("status", "backtest", "explain")


class NoRules(GatewayError):
    """Cases that name no rules, and none were given."""

    exit_code = 2


class Tools(click.Group):
    """Those that ask a gateway, or read a log, are imported when they are called: `gateway.cli.rules_<name>`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *ASKING]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in ASKING:
            return cast("click.Command", getattr(import_module(f"gateway.cli.rules_{cmd_name}"), cmd_name))
        return super().get_command(ctx, cmd_name)


@click.group(cls=Tools, short_help="Check and test rules, see how they stand, what they did, and what they would do.")
def rules() -> None:
    """Rules: what events mean. gateway/rules/README.md is the reference of their language."""


@rules.command("check", short_help="Find what is wrong with rules, and what they can come to hold.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print problems or the rules as JSON.")
def check(file: Path | None, *, as_json: bool) -> None:
    """Check the rules in FILE: a list of rules, or a whole configuration; default: what `gateway run` would use.

    Channels are looked up in a whole configuration only. Exit code 2 says that the rules cannot be used.
    """
    from gateway.cli.check import wrong_document, wrong_page
    from gateway.config.rules_file import load_rules
    from gateway.locations import default_config
    from gateway.plugins import Plugins

    path = file or default_config(os.environ, Path.cwd())
    try:
        found = load_rules(path, Plugins())
    except ConfigError as error:
        click.echo(json.dumps(wrong_document(path, error), indent=2) if as_json else wrong_page(error))
        sys.exit(error.exit_code)
    click.echo(json.dumps(_document(found), indent=2) if as_json else _page(found))


def _document(found: Any) -> dict[str, Any]:
    from gateway.rules.memory import need

    listed = [(rule, need(rule)) for rule in found.rules]
    return {
        "ok": True,
        "file": str(found.file),
        "rules": [
            {
                "id": rule.id,
                "hash": rule.hash,
                "operator": rule.when.operator,
                "by": rule.key_by,
                "keys_max": most.keys,
                "key_bytes_max": most.key_bytes,
                "bytes_max": most.bytes,
            }
            for rule, most in listed
        ],
        "bytes_max": sum(most.bytes for _, most in listed),
    }


def _page(found: Any) -> str:
    from gateway.rules.memory import need

    if not found.rules:
        return f"{look.printable(str(found.file))} holds no rules."
    needs = [need(rule) for rule in found.rules]
    rows = [
        (rule.id, rule.when.operator, rule.key_by, f"{most.keys}", _bytes(most.key_bytes), _bytes(most.bytes))
        for rule, most in zip(found.rules, needs, strict=True)
    ]
    heads = ("RULE", "OPERATOR", "BY", "KEYS", "A KEY", "AT WORST")
    listed = look.table(rows, heads, columns=look.columns(), indent=2, align="<<<>>>")
    ok = click.style("ok", fg="green")
    total = f"At worst they hold {_bytes(sum(most.bytes for most in needs))} of memory."
    note = "" if found.whole else "\nChannels were not looked up: this file does not say which devices there are."
    return f"{look.counted(len(rows), 'rule')}  {ok}\n{listed}\n\n{total}{note}"


def _bytes(number: int) -> str:
    if number < 1000:
        return f"{number} B"
    return f"{number / 1000:.3g} kB" if number < 1_000_000 else f"{number / 1_000_000:.3g} MB"


@rules.command("test", short_help="Play the cases of files against their rules, with a virtual clock.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option(
    "--rules", "rules_file", type=click.Path(path_type=Path), help="The rules, where the cases do not name them."
)
@click.option("-k", "word", metavar="WORD", help="Only cases whose name holds this word.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome of each case as JSON.")
def test(files: Sequence[Path], *, rules_file: Path | None, word: str | None, as_json: bool) -> None:
    """Play each case of FILE against its rules. Exit code 1 says that some rule did something else."""
    from gateway.cli.check import wrong_page
    from gateway.rules.cases import Outcome

    outcomes: list[tuple[Path, Outcome]] = []
    try:
        for file in files:
            outcomes += ((file, outcome) for outcome in _played(file, rules_file, word or ""))
    except ConfigError as error:
        click.echo(wrong_page(error))
        sys.exit(error.exit_code)
    failed = sum(not outcome.holds for _, outcome in outcomes)
    click.echo(json.dumps(_outcomes(outcomes), indent=2) if as_json else _report(outcomes, failed))
    if failed or not outcomes:
        sys.exit(1)


def _played(file: Path, rules_file: Path | None, word: str) -> Iterator[Any]:
    from gateway.config.rules_file import load_cases, load_rules
    from gateway.plugins import Plugins
    from gateway.rules.cases import run_case

    found = load_cases(file)
    about = rules_file or found.rules
    if about is None:
        raise NoRules(f"{file} does not say which rules it is about: write `rules: FILE` in it, or give --rules FILE")
    rules = load_rules(about, Plugins()).rules
    for case, place in found.cases:
        if word not in case.name:
            continue
        try:
            yield run_case(case, rules)
        except ValueError as error:
            raise ConfigError([Problem(place.file, place.line, place.column, "rule", str(error))]) from None


def _outcomes(outcomes: Sequence[tuple[Path, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "file": str(file),
            "name": outcome.name,
            "holds": outcome.holds,
            "expected": list(outcome.expected),
            "told": list(outcome.told),
        }
        for file, outcome in outcomes
    ]


def _report(outcomes: Sequence[tuple[Path, Any]], failed: int) -> str:
    if not outcomes:
        return "No case was played: none has such a name."
    parts = ["\n".join(_case(outcome)) for _, outcome in outcomes]
    count = look.counted(len(outcomes), "case")
    end = (
        click.style(f"{failed} of {count} failed", fg="red")
        if failed
        else click.style(f"{count}, all hold", fg="green")
    )
    return "\n".join([*parts, "", end])


def _case(outcome: Any) -> Iterator[str]:
    """One line for a case that holds; for one that does not, what was expected beside what was said."""
    name = look.printable(outcome.name)
    if outcome.holds:
        yield f"{click.style('ok', fg='green')}      {name}"
        return
    yield f"{click.style('failed', fg='red')}  {name}"
    expected, told = list(outcome.expected), list(outcome.told)
    for place in range(max(len(expected), len(told))):
        want = expected[place] if place < len(expected) else None
        have = told[place] if place < len(told) else None
        if want == have:
            yield f"          {want}"
            continue
        if want is not None:
            yield click.style(f"        - {look.printable(want)}", fg="green") + "  expected"
        if have is not None:
            yield click.style(f"        + {look.printable(have)}", fg="red") + "  said"
