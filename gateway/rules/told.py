"""What an operator tells a person of one key: one shape for all seven. Pure."""

from __future__ import annotations

from typing import NamedTuple

from gateway.event import Value


class Told(NamedTuple):
    """One key, as it is. Times are ns of rule time.

    `state` is a word, `since` when that began. `n` of `of` `things` are what it has so far (events of a count, steps of
    a sequence); where there is no `of`, just so many. `open` counts attempts or windows where there may be several.
    `then` is what the next deadline brings. `quiet`: nothing is under way, so others are shown first.
    """

    state: str
    since: int | None = None
    n: int | None = None
    of: int | None = None
    things: str = ""
    open: int | None = None
    value: Value = None
    unit: str | None = None
    then: str = ""
    quiet: bool = False
