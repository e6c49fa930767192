"""Disks that misbehave, under a log that is open."""

import sqlite3

from gateway.errors import StoreUnavailable
from gateway.event import Event
from gateway.eventlog import opening


def reading(value=21.5, subject="air/temperature", **more):
    return Event("reading", subject, 1_000, 10, value, "Cel", "good", **more)


async def all_events(log):
    """Everything that is in the log, as a reader gets it who begins at its first offset."""
    page, events = await log.read(log.first_offset), []
    while page.events:
        events += page.events
        page = await log.read(page.next_offset)
    return events


async def everything(log, start=1):
    """(events, gaps) from an offset to the end, as a reader gets them."""
    events, gaps, offset = [], [], start
    while offset < log.next_offset:
        page = await log.read(offset)
        if page.gap:
            gaps.append(page.gap)
        events += page.events
        assert page.next_offset > offset, "reading goes on"
        offset = page.next_offset
    return events, gaps


class Disk:
    """Refuses all writes while `refuses`, from a commit on, or from the opening on."""

    def __init__(self, log, monkeypatch):
        self.log, self.refuses, self.openings = log, False, 0
        self._open = opening.open_store
        monkeypatch.setattr(opening, "open_store", self.open)
        self._wrap(log._head.store)

    def _wrap(self, opened):
        transaction = opened._writer.transaction

        async def written(statements):
            if self.refuses:
                error = sqlite3.OperationalError("attempt to write a readonly database")
                error.sqlite_errorname = "SQLITE_READONLY"
                raise error
            return await transaction(statements)

        opened._writer.transaction = written

    async def open(self, path, **more):
        self.openings += 1
        if self.refuses:
            raise StoreUnavailable("attempt to write a readonly database (SQLITE_READONLY)")
        opened = await self._open(path, **more)
        self._wrap(opened)
        return opened


def damage(path, sql, *parameters):
    """Change the file behind the gateway's back."""
    raw = sqlite3.connect(path)
    raw.execute(sql, parameters)
    raw.commit()
    raw.close()
