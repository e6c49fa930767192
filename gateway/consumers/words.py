"""What is asked of named consumers, and what they answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from gateway.consumer import Given, Terms
from gateway.errors import GatewayError
from gateway.event import ID_PATTERN, Event
from gateway.eventlog import ConsumerSpec
from gateway.selection import Selection, check_subject, check_type

NAME_CHARS_MAX: Final = 64


class ConsumerError(GatewayError):
    """What was asked of a consumer cannot be."""

    exit_code = 2


class TooManyConsumers(ConsumerError):
    """As many consumers as the log keeps are known already."""

    exit_code = 1


class SessionTaken(ConsumerError):
    """Another reader has begun under the same name."""

    exit_code = 1


class Handed(NamedTuple):
    """One event for the reader, and its how manieth delivery this is."""

    event: Event
    given: Given


class Fetched(NamedTuple):
    """What a reader gets. `gaps` name offsets that are no more; they lie before the events that were not given yet.

    `full` says that nothing more comes until something is settled.
    """

    events: list[Handed]
    gaps: list[tuple[int, int]]
    full: bool


class Begun(NamedTuple):
    """A session. `created` says that the consumer is new; `next_offset` is the first one that is not settled."""

    session: str
    created: bool
    next_offset: int
    spec: ConsumerSpec


class Standing(NamedTuple):
    """How a consumer is doing, for people. Counts are since the start; `used` is ns UTC, 0 where nobody knows."""

    name: str
    spec: ConsumerSpec
    next_offset: int
    lag_events: int
    in_flight: int
    delivered: int
    redelivered: int
    given_up: int
    attended: bool
    used: int


def terms_of(spec: ConsumerSpec) -> Terms:
    return Terms(spec.ack, spec.ack_within_s, spec.deliveries_max, spec.backoff_s, spec.in_flight_max)


def selection_of(spec: ConsumerSpec) -> Selection:
    return Selection(spec.types, spec.subjects, spec.quality)


def check_name(name: str) -> None:
    """Raises ConsumerError where a consumer cannot have that name."""
    if not re.fullmatch(ID_PATTERN, name) or len(name) > NAME_CHARS_MAX:
        raise ConsumerError(
            f"found {name!r}, expected the name of a consumer: lower-case letters, digits, `-` and `_`, "
            f"at most {NAME_CHARS_MAX}"
        )


def check_spec(spec: ConsumerSpec) -> None:
    """Raises ConsumerError where a pattern is none."""
    try:
        for kind in spec.types or ():
            check_type(kind)
        for subject in spec.subjects or ():
            check_subject(subject)
    except ValueError as error:
        raise ConsumerError(str(error)) from None


def parse_spec(args: Mapping[str, object]) -> ConsumerSpec:
    """The spec in the arguments of a request.

    Raises:
        ConsumerError: a value is not as expected.
    """
    known = set(ConsumerSpec.__struct_fields__)
    if unknown := sorted(args.keys() - known):
        raise ConsumerError(f"a consumer has no {unknown[0]!r}; it has {', '.join(sorted(known))}")
    try:
        return msgspec.convert(args, ConsumerSpec, strict=False)
    except msgspec.ValidationError as error:
        raise ConsumerError(f"the consumer's terms: {error}") from None


def spans(offsets: Sequence[int]) -> list[tuple[int, int]]:
    """Offsets as ranges: [3, 4, 7] -> [(3, 4), (7, 7)]."""
    found: list[tuple[int, int]] = []
    for offset in sorted(offsets):
        if found and found[-1][1] == offset - 1:
            found[-1] = (found[-1][0], offset)
        else:
            found.append((offset, offset))
    return found
