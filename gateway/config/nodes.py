"""What stands in a YAML file, and where: a tree of nodes that remember their place.

The tree is read once (`yaml`), turned into plain values for the models (`plain`), and asked again for the place of each
thing that turned out to be wrong (`at`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import SecretStr

from gateway.errors import Problem

Path = tuple[str | int, ...]
"""Where something stands in the document: `("devices", 1, "pin")`."""

SHOWN_CHARS_MAX = 40
_PLAIN_KEY = re.compile(r"[\w-]+")
_URL_PASSWORD = re.compile(r"(?<=://)[^/\s@]*@")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file. `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def problem(self, path: Path, message: str) -> Problem:
        return Problem(self.file, self.line, self.column, dotted(path), message)

    def seen_from(self, other: Place) -> str:
        """`line 4`, or `devices.yaml line 4` where that is another file."""
        return f"line {self.line}" if self.file == other.file else f"{self.file} line {self.line}"


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value. `text` is how it was written; `quoted` tells a text in quotes or a block from a bare word."""

    place: Place
    value: str | int | float | bool | SecretStr | None
    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class ListNode:
    place: Place
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping. `keys` has the place of each key, `nodes` its value, both in file order."""

    place: Place
    keys: dict[str, Place]
    nodes: dict[str, Node]


@dataclass(frozen=True, slots=True)
class BrokenNode:
    """Something that could not be read. It was reported; nothing more is said about it."""

    place: Place


Node = ScalarNode | ListNode | MapNode | BrokenNode


def dotted(path: Sequence[str | int]) -> str:
    """`devices[1].pin`. Keys that are no plain words are quoted: `labels."a b"`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if _PLAIN_KEY.fullmatch(step) else shown(step)
            text += f".{name}" if text else name
    return text


def plain(node: Node) -> object:
    """The values alone, as models take them. A broken node stands for itself, which no model accepts."""
    match node:
        case ScalarNode():
            return node.value
        case ListNode():
            return [plain(inner) for inner in node.nodes]
        case MapNode():
            return {key: plain(inner) for key, inner in node.nodes.items()}
        case BrokenNode():
            return node


def inner(node: Node, step: str | int) -> Node | None:
    """The node one step down; None where there is none."""
    if isinstance(node, MapNode):
        return node.nodes.get(str(step))
    if isinstance(node, ListNode) and isinstance(step, int) and 0 <= step < len(node.nodes):
        return node.nodes[step]
    return None


def at(node: Node, path: Sequence[str | int]) -> tuple[Node, int]:
    """The deepest node along `path`, and how many steps of it exist."""
    for taken, step in enumerate(path):
        below = inner(node, step)
        if below is None:
            return node, taken
        node = below
    return node, len(path)


def scalars(node: Node) -> Iterator[ScalarNode]:
    """Every scalar in and below the node, in file order."""
    match node:
        case ScalarNode():
            yield node
        case ListNode():
            for below in node.nodes:
                yield from scalars(below)
        case MapNode():
            for below in node.nodes.values():
                yield from scalars(below)
        case BrokenNode():
            pass


def shown(text: str) -> str:
    """A text in quotes, without control characters, shortened, and without a password that a URL carries."""
    masked = _URL_PASSWORD.sub("...@", text)
    return repr(masked if len(masked) <= SHOWN_CHARS_MAX else masked[: SHOWN_CHARS_MAX - 3] + "...")


def found(node: Node) -> str:
    """What stands there, for the sentence that says what was expected instead."""
    match node:
        case ScalarNode():
            return _found_value(node)
        case ListNode():
            return "a list"
        case MapNode():
            return "a mapping"
        case BrokenNode():
            return "something unreadable"


def _found_value(node: ScalarNode) -> str:
    match node.value:
        case None:
            return "nothing"
        case SecretStr():
            return "a secret"
        case str(text):
            return shown(text)
        case _:
            return node.text
