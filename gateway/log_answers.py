"""What can be asked of an event log: its figures, pages of it, its named consumers, a copy, a purge.

The same operations serve the control socket of a running gateway (`answers.py`) and a log that is open with no gateway
running (`client.py`). All but `purge` are asked page by page: a client that is slow, or that has gone, holds nothing
here.

    log                                     bounds, packing, consumers and their lag
    span     {from, to}                     the offsets that two positions mean
    page     {from, upto, types, ...}       events of [from, upto) as CloudEvents
    wait     {offset, wait_s}               until that offset was appended, or the time is over
    consume  {name, from, spec}             a session for a named consumer
    fetch    {name, session, limit, wait_s} what there is for it
    settle   {name, session, acks, naks, rejects}
    forget   {name}
    copy     {table, after, upto}           rows as they are, for a backup
    purge    {upto}                         a stream: how far it is
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from gateway.clock import Clock
from gateway.consumers import Consumers, Handed, Standing
from gateway.consumers.words import parse_spec, selection_of
from gateway.control import Call, Stream
from gateway.errors import ControlError
from gateway.event import CloudEventEncoder, Event, rfc3339
from gateway.eventlog import EventLog
from gateway.eventlog import excerpt as excerpts
from gateway.eventlog.consumers import letters_of
from gateway.eventlog.excerpt import Excerpt
from gateway.eventlog.purge import SENTENCE
from gateway.position import Position, parse_position

PAGE_EVENTS_MAX: Final = 2000
PAGE_BYTES_MAX: Final = 2**20
"""An answer ends with the event that exceeds this; one event alone may be larger."""

WAIT_MAX_S: Final = 30.0
SETTLED_MAX: Final = 1000


class Parts(NamedTuple):
    """What is asked."""

    gateway_id: str
    log: EventLog
    consumers: Consumers
    clock: Clock
    alone: bool = False
    """No gateway runs: nobody appends."""


class LogAnswers:
    """The operations over one log. `parts` gives it once it is open."""

    def __init__(self, parts: Callable[[], Parts]) -> None:
        self._parts = parts
        self.calls: Mapping[str, Call] = {
            "log": self._log,
            "span": self._span,
            "page": self._page,
            "wait": self._wait,
            "consume": self._consume,
            "fetch": self._fetch,
            "settle": self._settle,
            "forget": self._forget,
            "copy": self._copy,
        }
        self.streams: Mapping[str, Stream] = {"purge": self._purge}

    # -- the log ------------------------------------------------------------------------------------------------------

    async def _log(self, args: dict[str, Any]) -> dict[str, Any]:
        del args
        parts = self._parts()
        bounds, packing = await parts.log.bounds(), await parts.log.packing()
        letters = {s.name: await parts.log.dead_letters(letters_of(s.name)) for s in parts.consumers.standings()}
        return {
            "gateway": parts.gateway_id,
            "path": str(parts.log.path),
            "run": parts.log.run,
            "first_offset": bounds.first_offset,
            "next_offset": bounds.next_offset,
            "events": bounds.next_offset - bounds.first_offset,
            "batches": bounds.batches,
            "bytes": bounds.bytes,
            "bytes_max": None if parts.alone else bounds.bytes_max,
            "oldest": _time(bounds.oldest),
            "newest": _time(bounds.newest),
            "packing": packing._asdict(),
            "consumers": [_standing(s, letters.get(s.name, 0)) for s in parts.consumers.standings()],
        }

    async def _span(self, args: dict[str, Any]) -> dict[str, Any]:
        """`from` and `to` are positions; the events lie in [first, next)."""
        log = self._parts().log
        first = await self._offset(_position(args, "from", "earliest"))
        upto = await self._offset(_position(args, "to", "latest"))
        upto = min(upto, log.next_offset)
        return {"first": first, "next": max(first, upto), "first_offset": log.first_offset}

    async def _offset(self, position: Position) -> int:
        log = self._parts().log
        match position.kind:
            case "earliest":
                return log.first_offset
            case "offset":
                return position.at
            case "time":
                return await log.offset_at(position.at)
            case "latest":
                return log.next_offset
            case _:
                raise _wrong(f"{position.kind!r} is where a consumer may begin, and no place in the log")

    async def _page(self, args: dict[str, Any]) -> dict[str, Any]:
        """Events of [from, upto) that are wanted; `next` says where to go on. No events only means: look further."""
        parts = self._parts()
        given = {key: value for key, value in args.items() if key in {"types", "subjects", "quality"}}
        offset, upto = _whole(args, "from", 1), _whole(args, "upto", parts.log.next_offset)
        page = await parts.log.read(offset, PAGE_EVENTS_MAX, selection=selection_of(parse_spec(given)))
        encoder = CloudEventEncoder(parts.gateway_id)
        events = list[msgspec.Raw]()
        size, next_offset = 0, page.next_offset
        for event in page.events:
            if event.offset >= upto:
                break
            if size >= PAGE_BYTES_MAX or len(events) >= PAGE_EVENTS_MAX:
                next_offset = event.offset
                break
            events.append(msgspec.Raw(encoder.encode(event, None)))
            size += len(events[-1])
        gap = _clipped(page.gap, upto)
        return {"events": events, "next": min(next_offset, upto), "gap": gap}

    async def _wait(self, args: dict[str, Any]) -> dict[str, Any]:
        log, offset = self._parts().log, _whole(args, "offset", 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(log.wait(offset), _wait_s(args))
        return {"next": log.next_offset}

    # -- consumers ----------------------------------------------------------------------------------------------------

    async def _consume(self, args: dict[str, Any]) -> dict[str, Any]:
        spec = args.get("spec")
        if spec is not None and not isinstance(spec, dict):
            raise _wrong(f"spec: found {spec!r}, expected an object")
        consumers = self._parts().consumers
        start = _position(args, "from", "latest")
        begun = await consumers.begin(_name(args), start, None if spec is None else parse_spec(spec))
        return {**begun._asdict(), "spec": msgspec.to_builtins(begun.spec)}

    async def _fetch(self, args: dict[str, Any]) -> dict[str, Any]:
        parts = self._parts()
        limit = min(_whole(args, "limit", 100), PAGE_EVENTS_MAX)
        found = await parts.consumers.fetch(_name(args), _text(args, "session"), limit, _wait_s(args))
        encoder = CloudEventEncoder(parts.gateway_id)
        handed = [_handed(encoder, one) for one in found.events]
        return {"events": handed, "gaps": found.gaps, "full": found.full}

    async def _settle(self, args: dict[str, Any]) -> dict[str, Any]:
        """`acks`: offsets; `naks`: [offset, seconds or null]; `rejects`: [offset, reason]."""
        consumers, name, session = self._parts().consumers, _name(args), _text(args, "session")
        try:
            wanted = msgspec.convert(args, _Settled)
        except msgspec.ValidationError as error:
            raise _wrong(f"settle: {error}") from None
        settled = sum(consumers.ack(name, session, offset) for offset in wanted.acks)
        settled += sum(consumers.nak(name, session, offset, wait_s) for offset, wait_s in wanted.naks)
        for offset, reason in wanted.rejects:
            settled += await consumers.reject(name, session, offset, reason[:200])
        return {"settled": settled}

    async def _forget(self, args: dict[str, Any]) -> dict[str, Any]:
        await self._parts().consumers.forget(_name(args))
        return {}

    # -- copies and purges --------------------------------------------------------------------------------------------

    async def _copy(self, args: dict[str, Any]) -> dict[str, Any]:
        """A page of rows. Without `table`: the small tables, and `upto`; pages of batches follow, then letters."""
        log = self._parts().log
        match args.get("table"):
            case None:
                tables, upto = await log.small_tables()
                return {"rows": [_packed(table) for table in tables], "first": log.first_offset, "upto": upto}
            case "batch":
                page = await log.batch_rows(_whole(args, "from", 1), _whole(args, "upto", 1))
                if not page.rows:
                    return {"rows": []}
                counted = {"next": excerpts.last_offset(page) + 1, "events": excerpts.events_in(page)}
                return {"rows": [_packed(page)], **counted}
            case "dead_letter":
                after = args.get("after", ["", 0])
                if not isinstance(after, list) or len(after) != 2:
                    raise _wrong(f"after: found {after!r}, expected [consumer, offset]")
                page = await log.letter_rows((str(after[0]), int(after[1])))
                return {"rows": [_packed(page)], "after": list(page.rows[-1][:2])} if page.rows else {"rows": []}
            case other:
                raise _wrong(f"table: found {other!r}, expected batch or dead_letter")

    async def _purge(self, args: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        parts = self._parts()
        upto = _whole(args, "upto", 1)
        async for purge in parts.log.purge(upto, free_too=parts.alone):
            yield {"events": purge.events, "unread": purge.unread, "first_offset": parts.log.first_offset}
        yield {"done": True, "sentence": SENTENCE, "free_too": parts.alone, "first_offset": parts.log.first_offset}


class _Settled(msgspec.Struct):
    acks: list[int] = []
    naks: list[tuple[int, float | None]] = []
    rejects: list[tuple[int, str]] = []

    def __post_init__(self) -> None:
        if len(self.acks) + len(self.naks) + len(self.rejects) > SETTLED_MAX:
            raise ValueError(f"at most {SETTLED_MAX} events are settled at a time")


def _handed(encoder: CloudEventEncoder, handed: Handed) -> dict[str, Any]:
    event: Event = handed.event
    return {"event": msgspec.Raw(encoder.encode(event, handed.given.previous)), "deliveries": handed.given.deliveries}


def _standing(standing: Standing, dead_letters: int) -> dict[str, Any]:
    spec = msgspec.to_builtins(standing.spec)
    return {
        **standing._asdict(),
        "spec": spec,
        "used": _time(standing.used or None),
        "protect": standing.spec.protect,
        "dead_letters": dead_letters,
    }


def _packed(excerpt: Excerpt) -> str:
    return base64.b64encode(excerpts.pack(excerpt)).decode("ascii")


def unpacked(rows: Sequence[str]) -> list[Excerpt]:
    """The excerpts in an answer to `copy`."""
    return [excerpts.unpack(base64.b64decode(row)) for row in rows]


def _clipped(gap: tuple[int, int] | None, upto: int) -> tuple[int, int] | None:
    """What of a gap lies before `upto`."""
    if gap is None or gap[0] >= upto:
        return None
    return gap[0], min(gap[1], upto - 1)


def _position(args: Mapping[str, Any], key: str, default: str) -> Position:
    text = args.get(key) or default
    try:
        return parse_position(str(text))
    except ValueError as error:
        raise _wrong(f"{key}: {error}") from None


def _whole(args: Mapping[str, Any], key: str, default: int) -> int:
    value = args.get(key, default)
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63:
        return value
    raise _wrong(f"{key}: found {value!r}, expected a whole number from 1")


def _wait_s(args: Mapping[str, Any]) -> float:
    value = args.get("wait_s", 0.0)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return min(float(value), WAIT_MAX_S)
    raise _wrong(f"wait_s: found {value!r}, expected seconds")


def _text(args: Mapping[str, Any], key: str) -> str:
    value = args.get(key)
    if isinstance(value, str):
        return value
    raise _wrong(f"{key}: found {value!r}, expected a text")


def _name(args: Mapping[str, Any]) -> str:
    return _text(args, "name")


def _wrong(message: str) -> ControlError:
    error = ControlError(message)
    error.exit_code = 2
    return error


def _time(time_ns: int | None) -> str | None:
    return None if time_ns is None else rfc3339(time_ns)
