"""YAML 1.2, read strictly, into nodes that know their place.

PyYAML's parser delivers the events; everything that it would decide by the rules of YAML 1.1 is decided here instead:

* bare words follow the core schema of YAML 1.2 (`scalars`); keys are texts, as they are written;
* a key that stands twice in one mapping is an error, and so is `<<`: YAML 1.2 has no merge keys;
* `!secret name` and `!include file` are the only tags;
* one document in a file, in UTF-8;
* everything has a limit: bytes of a file, nodes after aliases are expanded, depth, included files.

A mistake that does not make the rest unreadable leaves a `BrokenNode` and the reading goes on, so that all are found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml
from pydantic import SecretStr

from gateway.config.nodes import BrokenNode, ListNode, MapNode, Node, Path, Place, ScalarNode, found, shown
from gateway.config.scalars import resolve
from gateway.config.text import Unreadable, check_characters, decode, no_character, read_bytes, translate
from gateway.errors import Problem

NODES_MAX = 100_000
DEPTH_MAX = 64
INCLUDES_MAX = 100

FAST_PARSER: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml where PyYAML was built with it; the pure parser gives the same results more slowly."""

ReadSecret = Callable[[str], tuple[SecretStr, str | None]]
"""Name of a secret -> its value, and a caution about its file. Raises Unreadable."""


class _TooMuch(Exception):
    """A bound for the whole configuration is exceeded."""


@dataclass(slots=True)
class Document:
    """A file and all that it includes. `root` is None where nothing could be made of it."""

    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    cautions: list[Problem] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    secrets: list[SecretStr] = field(default_factory=list)
    nodes: int = 0
    includes: int = 0

    def problem(self, place: Place, path: Path, message: str) -> BrokenNode:
        self.problems.append(place.problem(path, message))
        return BrokenNode(place)

    def count(self, nodes: int, place: Place, path: Path) -> None:
        self.nodes += nodes
        if self.nodes > NODES_MAX:
            self.problem(place, path, f"more than {NODES_MAX} values once all aliases (*) are expanded; use fewer")
            raise _TooMuch


def read_document(content: bytes | str, file: str, read_secret: ReadSecret, parser: Any = FAST_PARSER) -> Document:
    """The tree of a YAML text. `file` is its name in messages, and what includes are relative to."""
    document = Document()
    try:
        document.root = _Reader(document, file, read_secret, parser, ()).read(content, (), 0)
    except _TooMuch:
        document.root = None
    return document


@dataclass(frozen=True, slots=True)
class _Anchor:
    """What an alias stands for, how many nodes that is, and how deep it goes. `node` is None while it is being read."""

    node: Node | None
    nodes: int = 0
    height: int = 0


class _Reader:
    """Composes the nodes of one file out of the parser's events. `chain` are the files that led here by includes."""

    def __init__(
        self, document: Document, file: str, read_secret: ReadSecret, parser: Any, chain: tuple[str, ...]
    ) -> None:
        self._document, self._file, self._read_secret, self._parser = document, file, read_secret, parser
        self._chain = (*chain, file)
        self._anchors: dict[str, _Anchor] = {}
        self._events: Iterator[Any] = iter(())
        self._deepest = 0

    def read(self, content: bytes | str, path: Path, depth: int) -> Node | None:
        """The one value of the file; None where it is empty or unreadable, which is reported."""
        self._document.files.append(self._file)
        try:
            if isinstance(content, str):
                check_characters(content)
            self._events = self._parse(content if isinstance(content, str) else decode(content))
            return self._root(path, depth)
        except Unreadable as reason:
            self._document.problem(Place(self._file, reason.line, reason.column), path, reason.message)
            return None

    def _parse(self, text: str) -> Iterator[Any]:
        try:
            yield from yaml.parse(text, Loader=self._parser)
        except yaml.MarkedYAMLError as error:
            raise translate(error, text) from None
        except yaml.YAMLError as error:
            raise Unreadable(f"this is no YAML: {error}") from None
        except (OverflowError, ValueError):
            raise no_character(text) from None

    def _root(self, path: Path, depth: int) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                self._document.problem(
                    self._place(event), path, "a second document begins here; one file holds one: remove the `---`"
                )
                break
            if event.version == (1, 1):
                self._document.problem(
                    self._place(event), path, "this says that it is YAML 1.1, and is read as 1.2: remove the %YAML line"
                )
            root = self._node(next(self._events), path, depth)
        if root is None or (isinstance(root, ScalarNode) and root.value is None):
            raise Unreadable("the file is empty, or holds nothing but comments")
        return root

    def _place(self, event: Any) -> Place:
        mark = event.start_mark
        return Place(self._file, mark.line + 1, mark.column + 1)

    def _node(self, event: Any, path: Path, depth: int) -> Node:
        place = self._place(event)
        self._document.count(1, place, path)
        self._check_depth(depth, place, path)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(str(event.anchor), place, path, depth)
        if event.anchor is None:
            return self._tagged(event, place, path, depth)
        return self._anchored(event, place, path, depth)

    def _check_depth(self, depth: int, place: Place, path: Path) -> None:
        self._deepest = max(self._deepest, depth)
        if depth > DEPTH_MAX:
            self._document.problem(place, path, f"more than {DEPTH_MAX} levels of nesting")
            raise _TooMuch

    def _alias(self, name: str, place: Place, path: Path, depth: int) -> Node:
        anchor = self._anchors.get(name)
        if anchor is None:
            return self._document.problem(
                place,
                path,
                f"alias *{name} without an anchor &{name} above it: a text with * needs quotes",
            )
        if anchor.node is None:
            return self._document.problem(place, path, f"alias *{name} stands inside its own anchor: it has no end")
        self._document.count(anchor.nodes, place, path)
        self._check_depth(depth + anchor.height, place, path)
        return anchor.node

    def _anchored(self, event: Any, place: Place, path: Path, depth: int) -> Node:
        before, outer = self._document.nodes, self._deepest
        self._anchors[event.anchor] = _Anchor(None)
        self._deepest = depth
        node = self._tagged(event, place, path, depth)
        self._anchors[event.anchor] = _Anchor(node, self._document.nodes - before, self._deepest - depth)
        self._deepest = max(outer, self._deepest)
        return node

    def _tagged(self, event: Any, place: Place, path: Path, depth: int) -> Node:
        if event.tag is None:
            return self._value(event, place, path, depth)
        if isinstance(event, yaml.ScalarEvent) and event.tag == "!secret":
            return self._secret(event.value, place, path)
        if isinstance(event, yaml.ScalarEvent) and event.tag == "!include":
            return self._include(event.value, place, path, depth)
        self._value(event, place, path, depth)  # the events below it are to be consumed in any case
        return self._document.problem(place, path, _tag_message(event.tag))

    def _value(self, event: Any, place: Place, path: Path, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, place, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return ListNode(place, tuple(self._elements(path, depth)))
        return self._mapping(place, path, depth)

    def _scalar(self, event: Any, place: Place, path: Path) -> Node:
        text, quoted = event.value, bool(event.style)
        if quoted:
            if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
                return self._document.problem(place, path, "an escape in double quotes that names no character")
            return ScalarNode(place, text, text, quoted=True)
        try:
            return ScalarNode(place, resolve(text), text)
        except ValueError as error:
            return self._document.problem(place, path, str(error))

    def _elements(self, path: Path, depth: int) -> Iterator[Node]:
        for index, event in enumerate(self._events):
            if isinstance(event, yaml.SequenceEndEvent):
                return
            yield self._node(event, (*path, index), depth + 1)

    def _mapping(self, place: Place, path: Path, depth: int) -> MapNode:
        mapping = MapNode(place, {}, {})
        for event in self._events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key, key_place = self._key(event, path, depth), self._place(event)
            node = self._node(next(self._events), path if key is None else (*path, key), depth + 1)
            if isinstance(node, ScalarNode) and not node.text and not node.quoted:
                node = ScalarNode(key_place, None, "")  # nothing has no place of its own: the two parsers disagree
            if key is not None and self._is_new(key, key_place, mapping, path):
                mapping.keys[key], mapping.nodes[key] = key_place, node
        return mapping

    def _is_new(self, key: str, place: Place, mapping: MapNode, path: Path) -> bool:
        if (first := mapping.keys.get(key)) is None:
            return True
        self._document.problem(
            place, (*path, key), f"the key {shown(key)} stands twice, first on line {first.line}: remove one"
        )
        return False

    def _key(self, event: Any, path: Path, depth: int) -> str | None:
        """The key as a text; None where it cannot be one, which is reported."""
        place = self._place(event)
        if isinstance(event, yaml.ScalarEvent) and event.tag is None:
            self._document.count(1, place, path)
            self._check_depth(depth + 1, place, path)
            return self._checked_key(event, place, path)
        node = self._node(event, path, depth + 1)
        if not isinstance(node, BrokenNode):
            what = "an alias" if isinstance(event, yaml.AliasEvent) else found(node)
            hint = "; a value that begins with { or [ needs quotes" if isinstance(node, MapNode | ListNode) else ""
            self._document.problem(place, path, f"found {what} as a key, expected a word{hint}")
        return None

    def _checked_key(self, event: Any, place: Place, path: Path) -> str | None:
        key: str = event.value
        if key == "<<" and not event.style:
            self._document.problem(
                place,
                path,
                "found <<, but YAML 1.2 has no merge keys: write the keys out, or alias the whole mapping",
            )
            return None
        if not key and not event.style:
            self._document.problem(place, path, "a key is missing before this colon")
            return None
        if isinstance(self._scalar(event, place, path), BrokenNode):
            return None
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(ScalarNode(place, key, key), 1)
        return key

    def _secret(self, name: str, place: Place, path: Path) -> Node:
        try:
            value, caution = self._read_secret(name)
        except Unreadable as reason:
            return self._document.problem(place, path, reason.message)
        self._document.secrets.append(value)
        if caution:
            self._document.cautions.append(place.problem(path, caution))
        return ScalarNode(place, value, f"!secret {name}")

    def _include(self, name: str, place: Place, path: Path, depth: int) -> Node:
        document = self._document
        file = str(FilePath(self._file).parent / name)
        document.includes += 1
        if document.includes > INCLUDES_MAX:
            document.problem(place, path, f"more than {INCLUDES_MAX} files are included")
            raise _TooMuch
        try:
            content = read_bytes(FilePath(file))
        except Unreadable as reason:
            return document.problem(place, path, f"cannot include {file}: {reason.message}")
        if any(_same_file(file, earlier) for earlier in self._chain):
            cycle = " -> ".join([*self._chain, file])
            return document.problem(place, path, f"files include each other without end: {cycle}")
        reader = _Reader(document, file, self._read_secret, self._parser, self._chain)
        return reader.read(content, path, depth) or BrokenNode(place)


def _same_file(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _tag_message(tag: str) -> str:
    written = tag.replace("tag:yaml.org,2002:", "!!")
    if written == "!!str":
        return "found the tag !!str: put the value in quotes instead"
    if tag in {"!secret", "!include"}:
        return f"{tag} is followed by a name, as in `!secret mqtt-password` or `!include devices.yaml`"
    return f"found the tag {written}, which is refused; the known ones are `!secret name` and `!include file`"
