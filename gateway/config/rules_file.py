"""Files that hold rules without a gateway around them, and files of cases for rules: for `gateway rules`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from gateway.config.findings import Findings
from gateway.config.load import load_config
from gateway.config.nodes import ListNode, MapNode, Node, Place, ScalarNode
from gateway.config.rules import read_rules
from gateway.config.sentences import unknown_key
from gateway.config.text import Unreadable, read_bytes
from gateway.config.yaml import Document, read_document
from gateway.errors import ConfigError, Problem
from gateway.plugins import Plugins
from gateway.rules.cases import CaseConfig
from gateway.rules.model import RuleConfig


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a file, in its order, and where each of them stands. `whole`: the file is a gateway's
    configuration.
    """

    file: Path
    rules: tuple[RuleConfig, ...]
    places: Mapping[str, Place]
    whole: bool = False
    channels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Cases:
    """The cases of a file, each with its place, and the file that they are about where they name one."""

    file: Path
    rules: Path | None
    cases: tuple[tuple[CaseConfig, Place], ...]


def load_rules(file: Path, plugins: Plugins) -> Rules:
    """The rules of a file: a list of rules, a mapping with `rules`, or a whole configuration.

    Channels are looked up in a whole configuration only: a list of rules does not know them.

    Raises:
        ConfigError: the file cannot be used; holds every problem.
    """
    document = _read(file)
    root = document.root
    if isinstance(root, MapNode) and root.nodes.keys() - {"rules"}:
        config = load_config(file, plugins)
        channels = tuple((c.kind, f"{d.id}/{c.name}") for d in config.devices for c in d.declared)
        return Rules(file, config.rules, _places(root.nodes.get("rules")), whole=True, channels=channels)
    findings = Findings(document)
    listed = root.nodes.get("rules") if isinstance(root, MapNode) else root
    rules = read_rules(findings, listed)
    findings.raise_if_wrong()
    return Rules(file, rules, _places(listed))


def load_cases(file: Path) -> Cases:
    """The cases of a file.

    Raises:
        ConfigError: as for `load_rules`.
    """
    document = _read(file)
    findings = Findings(document)
    top = findings.mapping(document.root, (), "a mapping with `rules`, the file they are in, and `cases`")
    nodes = top.nodes if top is not None else {}
    for key in sorted(nodes.keys() - {"rules", "cases"}):
        place = top.keys[key] if top is not None else Place(str(file), 1, 1)
        findings.problem(place, (key,), unknown_key(key, ("rules", "cases")))
    listed = findings.entries(nodes.get("cases"), ("cases",), "a case: a mapping with `name`, `series` and `expect`")
    cases = [(findings.check(CaseConfig, node, path), node.place) for node, path in listed]
    findings.raise_if_wrong()
    about = nodes.get("rules")
    named = about.value if isinstance(about, ScalarNode) and isinstance(about.value, str) else None
    return Cases(file, file.parent / named if named else None, tuple((c, p) for c, p in cases if c is not None))


def _read(file: Path) -> Document:
    try:
        content = read_bytes(file)
    except Unreadable as reason:
        raise ConfigError([Problem(str(file), reason.line, reason.column, "", reason.message)]) from None
    return read_document(content, str(file), _no_secret)


def _no_secret(name: str) -> tuple[SecretStr, str | None]:
    """Rules are judged here, not run: what a secret holds does not matter."""
    return SecretStr(name), None


def _places(node: Node | None) -> dict[str, Place]:
    if not isinstance(node, ListNode):
        return {}
    entries = [entry for entry in node.nodes if isinstance(entry, MapNode)]
    named = [(entry.nodes.get("id"), entry.place) for entry in entries]
    return {str(name.value): place for name, place in named if isinstance(name, ScalarNode)}
