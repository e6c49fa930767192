"""Everything that was found while a configuration is judged: problems, cautions, and models that were right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar, cast

from pydantic import SecretStr, ValidationError

from gateway.config.nodes import BrokenNode, ListNode, MapNode, Node, Path, Place, ScalarNode, found, plain
from gateway.config.sentences import problems
from gateway.config.yaml import Document
from gateway.errors import ConfigError, Problem
from gateway.options import Options, beside

M = TypeVar("M", bound=Options)

_SECRET_CHARS_MIN = 4
"""Shorter secrets are not searched for in messages: they are part of every other word."""


class Findings:
    """Collects what the parts of the loader have to say, and says it in the order of the files."""

    def __init__(self, document: Document) -> None:
        self._document = document

    def problem(self, place: Place, path: Path, message: str) -> None:
        self._document.problem(place, path, message)

    def caution(self, place: Place, path: Path, message: str) -> None:
        self._document.cautions.append(place.problem(path, message))

    def check(
        self,
        model: type[M],
        node: MapNode,
        path: Path,
        *,
        defaults: Mapping[str, object] | None = None,
        also_known: Iterable[str] = (),
    ) -> M | None:
        """The model of what stands at `node`; None, and every reason why, where it does not fit.

        `defaults` hold what the machine gives where the YAML is silent, `also_known` keys that another model reads.
        """
        written = {key: plain(inner) for key, inner in node.nodes.items()}
        try:
            return model.model_validate({**(defaults or {}), **written}, context=beside(node.place.file))
        except ValidationError as error:
            self._document.problems.extend(problems(error, model, node, path, also_known))
            return None

    def mapping(self, node: Node | None, path: Path, expected: str) -> MapNode | None:
        """The node as a mapping; anything else is a problem. Nothing at all is None and no problem."""
        if isinstance(node, MapNode):
            return node
        if node is not None and not _is_nothing(node) and not isinstance(node, BrokenNode):
            self.problem(node.place, path, f"found {found(node)}, expected {expected}")
        return None

    def entries(self, node: Node | None, path: Path, expected: str) -> list[tuple[MapNode, Path]]:
        """The mappings of a list, each with its path."""
        if node is None or _is_nothing(node) or isinstance(node, BrokenNode):
            return []
        if not isinstance(node, ListNode):
            self.problem(node.place, path, f"found {found(node)}, expected a list: begin each entry with `- `")
            return []
        listed: list[tuple[MapNode, Path]] = []
        for index, inner in enumerate(node.nodes):
            entry = self.mapping(inner, (*path, index), expected)
            if entry is not None:
                listed.append((entry, (*path, index)))
            elif _is_nothing(inner):
                self.problem(inner.place, (*path, index), f"found nothing, expected {expected}")
        return listed

    def caution_open_secrets(self, options: Options, node: MapNode, path: Path) -> None:
        """A secret that stands in the YAML itself travels with every copy of it."""
        for name, info in type(options).model_fields.items():
            key = info.alias or name
            written = node.nodes.get(key)
            if written and isinstance(getattr(options, name), SecretStr) and isinstance(plain(written), str):
                self.caution(
                    node.keys[key], (*path, key), "the secret stands in this file: move it out and write `!secret name`"
                )

    def raise_if_wrong(self) -> None:
        """Raises ConfigError with every problem, in the order of the files."""
        if self._document.problems:
            raise ConfigError(self._sorted(self._document.problems))

    def warnings(self) -> tuple[str, ...]:
        return tuple(map(str, self._sorted(self._document.cautions)))

    def _sorted(self, listed: Iterable[Problem]) -> list[Problem]:
        order = {file: index for index, file in reversed(list(enumerate(self._document.files)))}
        return sorted(
            dict.fromkeys(map(self._redacted, listed)),
            key=lambda one: (order.get(one.file, len(order)), one.line, one.column),
        )

    def _redacted(self, problem: Problem) -> Problem:
        """A driver's own message may repeat what it was given: no secret passes here, no terminal's command either."""
        message = problem.message
        for secret in self._document.secrets:
            value = secret.get_secret_value()
            if len(value) >= _SECRET_CHARS_MIN:
                message = message.replace(value, "...")
        return replace(problem, message=message if message.isprintable() else _escaped(message))


def _is_nothing(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


def _escaped(text: str) -> str:
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def split(node: MapNode, model: type[Options]) -> tuple[MapNode, MapNode]:
    """A mapping as two: the keys of `model`, and all others."""
    common = {info.alias or name for name, info in model.model_fields.items()}

    def part(*, ours: bool) -> MapNode:
        keys = {key: place for key, place in node.keys.items() if (key in common) is ours}
        return MapNode(node.place, keys, {key: node.nodes[key] for key in keys})

    return part(ours=True), part(ours=False)


def without_wrong(model: type[M], node: MapNode) -> M:
    """The model made of what is right at `node`; where too little is, of its defaults alone, unchecked."""
    written = {key: plain(inner) for key, inner in node.nodes.items()}
    try:
        return model.model_validate(written)
    except ValidationError as error:
        wrong = {str(detail["loc"][0]) for detail in error.errors(include_input=False) if detail["loc"]}
    try:
        return model.model_validate({key: value for key, value in written.items() if key not in wrong})
    except ValidationError:
        return cast("M", model.model_construct())


def keys_of(model: type[Options]) -> list[str]:
    return [info.alias or name for name, info in model.model_fields.items()]
