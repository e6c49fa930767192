"""Names of topics as templates: `{base}/{gateway}/event/{subject}`. Pure; judged when the YAML is read.

A template is a topic with fields in braces. It names no wildcard and no topic of the broker's own (`$SYS`), so whatever
the fields hold, what comes out is a topic that may be published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import Final

from gateway.event import ID_PATTERN
from gateway.options import did_you_mean

TEMPLATE_BYTES_MAX: Final = 200

DEFAULTS: Final[Mapping[str, str]] = {
    "event": "{base}/{gateway}/event/{subject}",
    "state": "{base}/{gateway}/state/{subject}",
    "availability": "{base}/{gateway}/availability/{device}",
    "status": "{base}/{gateway}/status",
}
"""Templates where the YAML is silent."""

FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "event": frozenset({"base", "gateway", "subject", "type"}),
    "state": frozenset({"base", "gateway", "subject", "device", "channel"}),
    "availability": frozenset({"base", "gateway", "device"}),
    "status": frozenset({"base", "gateway"}),
}
"""Kind of topic -> what its template may name."""

NEEDED: Final[Mapping[str, tuple[frozenset[str], ...]]] = {
    "event": (frozenset(),),
    "state": (frozenset({"subject"}), frozenset({"device", "channel"})),
    "availability": (frozenset({"device"}),),
    "status": (frozenset(),),
}
"""Kind -> sets of fields of which one must be there whole, or several things would share one retained topic."""

CLEARED: Final = ("state", "availability")
"""Kinds of retained topics of which there is one for each device or channel."""

_FORBIDDEN: Final = re.compile(r"[+#$\x00-\x1f\x7f]")

_LOOKS: Final = {"subject": f"{ID_PATTERN}/{ID_PATTERN}"}
_OPEN: Final = re.compile(r"\{(device|channel)\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One template, read: literal texts and fields in turn."""

    parts: tuple[tuple[str, str | None], ...]

    @property
    def fields(self) -> frozenset[str]:
        return frozenset(name for _, name in self.parts if name is not None)

    def fill(self, values: Mapping[str, str]) -> str:
        """The topic, or what is left as a format text: fields that `values` lacks stay in braces."""
        return "".join(
            _escaped(text) + ("" if name is None else _escaped(values[name]) if name in values else f"{{{name}}}")
            for text, name in self.parts
        )


def read_template(kind: str, text: str) -> Template:
    """The template of one kind of topic.

    Raises:
        ValueError: it does not name topics; the sentence says why.
    """
    if not text or len(text.encode()) > TEMPLATE_BYTES_MAX:
        raise ValueError(f"expected a topic of 1 to {TEMPLATE_BYTES_MAX} bytes")
    try:
        found = list(Formatter().parse(text))
    except ValueError:
        raise ValueError("the braces do not match: write {subject} for a field") from None
    for literal, name, spec, conversion in found:
        _check_literal(literal)
        if name is not None:
            _check_field(kind, name, plain=not spec and conversion is None)
    template = Template(tuple((literal, name) for literal, name, _, _ in found))
    if any(not level for level in text.split("/")):
        raise ValueError("a level of the topic is empty: expected no / at the beginning or end, and no //")
    if not any(needed <= template.fields for needed in NEEDED[kind]):
        ways = " or ".join(" and ".join(f"{{{name}}}" for name in sorted(way)) for way in NEEDED[kind])
        raise ValueError(f"expected {ways} in it: one topic cannot hold several of them")
    return template


def _check_literal(text: str) -> None:
    found = _FORBIDDEN.search(text)
    if found is not None:
        raise ValueError(f"{found[0]!r} cannot stand in a topic that is published (no wildcards, no $)")


def _check_field(kind: str, name: str, *, plain: bool) -> None:
    known = FIELDS[kind]
    if name not in known:
        listed = ", ".join(f"{{{one}}}" for one in sorted(known))
        raise ValueError(f"unknown field {{{name}}}{did_you_mean(name, known)}: expected one of {listed}")
    if not plain:
        raise ValueError(f"{{{name}}} stands alone: nothing like `:` or `!` may follow the name")


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def topic_filter(template: Template, values: Mapping[str, str]) -> str:
    """A topic filter that all topics of the template pass, others perhaps too. A level with an open field is `+`."""
    levels = template.fill(values).replace("{subject}", "{device}/{channel}").split("/")
    return "/".join("+" if _OPEN.search(level) else level.format() for level in levels)


def topic_pattern(template: Template, values: Mapping[str, str]) -> re.Pattern[str]:
    """What exactly the topics of the template look like."""
    return re.compile(
        "".join(
            re.escape(text)
            + ("" if name is None else re.escape(values[name]) if name in values else _LOOKS.get(name, ID_PATTERN))
            for text, name in template.parts
        )
    )
