"""Records of a log as they were recorded, commit by commit: with the boot clock, and times that nobody corrected since.

Who judges records again (`gateway rules backtest`) needs both, and CloudEvents have neither. So the stored rows come
over, as for a backup, and are unpacked here: a gateway that runs has little to do with it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from gateway.client.sources import ANSWER_WITHIN_S, Asked, Source
from gateway.errors import LogCorrupt
from gateway.event import Event
from gateway.eventlog.batches import decode
from gateway.eventlog.excerpt import Excerpt
from gateway.eventlog.queries import BatchRow
from gateway.log_answers import unpacked

AROUND: Final = 16_384
"""A commit holds at most 4 096 events, a thinned one the rest of some: so far before and behind an offset is looked for
the one that holds it."""

Runs = dict[int, tuple[str, str]]


class Records:
    """The records of [first, upto), in order. `damaged` counts those that could not be read."""

    def __init__(self, source: Source, first: int, upto: int) -> None:
        self._source, self._first, self._upto = source, first, upto
        self.damaged = 0

    async def commits(self) -> AsyncIterator[list[Event]]:
        """The events of each commit; of the first and the last those in the range.

        Raises:
            NotRunning, ControlError: nobody answers, or the answer is an error.
        """
        async with self._source.lane() as lane:
            runs = _runs(await _copied(lane, {}))
            at, behind = max(1, self._first - AROUND), self._upto + AROUND
            while pages := await _copied(lane, {"table": "batch", "from": at, "upto": behind}):
                (page,) = pages
                place = {name: n for n, name in enumerate(page.columns)}
                for row in page.rows:
                    at = max(at, row[place["last_offset"]] + 1)
                    if row[place["run"]] not in runs:  # the gateway was started meanwhile
                        runs = _runs(await _copied(lane, {}))
                    if events := self._events(row, place, runs):
                        yield events
                if at >= self._upto:
                    break

    def _events(self, row: list[Any], place: Mapping[str, int], runs: Runs) -> list[Event]:
        first, last = row[place["base_offset"]], row[place["last_offset"]]
        if last < self._first or first >= self._upto:
            return []
        known = {name: row[place[name]] for name in BatchRow._fields if name in place}
        nonce, boot = runs.get(row[place["run"]], ("", ""))
        try:
            events = decode(BatchRow(**known, nonce=nonce, boot=boot, anchor=0))
        except LogCorrupt:
            self.damaged += row[place["count"]]
            return []
        if first >= self._first and last < self._upto:
            return events
        return [event for event in events if self._first <= event.offset < self._upto]


async def _copied(lane: Asked, args: dict[str, Any]) -> list[Excerpt]:
    return unpacked((await lane.ask("copy", args, ANSWER_WITHIN_S))["rows"])


def _runs(tables: list[Excerpt]) -> Runs:
    """Number -> (run, boot)."""
    (table,) = [one for one in tables if one.table == "run"]
    place = {name: n for n, name in enumerate(table.columns)}
    return {row[place["id"]]: (row[place["nonce"]], row[place["boot"]]) for row in table.rows}
