"""What two sinks of one gateway must not share: `gateway check` warns, and names both."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.config.findings import Findings
from gateway.config.model import SinkConfig
from gateway.config.nodes import MapNode, Path, Place


def caution_shared_claims(
    findings: Findings, sinks: Iterable[tuple[SinkConfig, MapNode, Path]], gateway_id: str
) -> None:
    """Warn of each sink that claims what another one before it has claimed. With each sink comes its entry's place."""
    first: dict[str, tuple[str, Place]] = {}
    for sink, node, path in sinks:
        for key, claim in sink.sink.claims(sink.options, gateway_id):
            place = node.keys.get(key, node.place)
            owner, there = first.setdefault(claim, (sink.id, place))
            if owner != sink.id:
                findings.caution(
                    place,
                    (*path, key),
                    f"{claim} is sink {owner!r}'s already ({there.seen_from(place)}), and only one of the two can be "
                    f"connected: give each a `{key}` of its own",
                )
                break
