"""What a rule says, once it is known to be right: the language of `rules:` as models.

A rule is one operator under `when:`, and what surrounds it: how events are told apart (`by`), under which
circumstances it may speak (`only_if`), what it says (`emit`), and what is done then (`do`, in the words
of `gateway.action`). README.md beside this file is the reference. Durations are float seconds here and integer
nanoseconds once compiled.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from gateway.action import ActionConfig
from gateway.options import Identifier, Options
from gateway.rules.operator_model import When
from gateway.rules.select_model import Predicates, Selector
from gateway.rules.words import (
    HASH_DIGITS,
    KEYS_MAX,
    RESERVED_KEYS,
    ClockTime,
    FieldName,
    Positive,
    Word,
    check_zone,
)


class TimeOfDay(Options):
    """`time:` between two times of day."""

    zone: Annotated[str, AfterValidator(check_zone)] = Field(description="time zone, such as Europe/Berlin or UTC")
    after: ClockTime | None = Field(None, description='from this time of day on, such as "22:00"')
    before: ClockTime | None = Field(None, description="until this time of day, not included; may be past midnight")
    days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Field(min_length=1)] | None = Field(
        None, description="on these days; default: all"
    )

    @model_validator(mode="after")
    def _says_something(self) -> TimeOfDay:
        if self.after is None and self.before is None and self.days is None:
            raise ValueError("expected `after`, `before` or `days`")
        return self


class GuardConfig(Predicates):
    """One entry of `only_if:` the last value of a channel, the time of day, or what came before."""

    max_age_s: Positive | None = Field(None, alias="max_age", description="the last value is less than this old")
    time: TimeOfDay | None = Field(None, description="a time of day")
    preceded_by: Selector | None = Field(None, description="such an event came before, `within` this time")
    not_preceded_by: Selector | None = Field(None, description="no such event came before, `within` this time")
    within_s: Positive | None = Field(None, alias="within", description="for preceded_by and not_preceded_by")

    @property
    def kind(self) -> Literal["last", "time", "preceded_by", "not_preceded_by"]:
        for name in ("time", "preceded_by", "not_preceded_by"):
            if getattr(self, name) is not None:
                return name
        return "last"

    @model_validator(mode="after")
    def _somewhere(self) -> GuardConfig:
        if self.kind == "last":
            self.check_place()
            if self.within_s is not None:
                raise ValueError("`within` goes with preceded_by and not_preceded_by; for a last value write `max_age`")
            return self
        allowed = {self.kind} if self.kind == "time" else {self.kind, "within_s"}
        if own := self.model_fields_set - allowed:
            raise ValueError(f"`{min(own).removesuffix('_s').rstrip('_')}` does not go with `{self.kind}`")
        if self.kind != "time" and self.within_s is None:
            raise ValueError(f"`{self.kind}` needs `within`")
        return self


class EmitConfig(Options):
    """`emit:` what the derived event says."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,127}$")] | None = Field(
        None, description="what happened, such as cellar.hot; default: the rule's id"
    )
    severity: Literal["info", "warning", "error", "critical"] = Field("info", description="how bad it is")
    data: dict[FieldName, Word] = Field(
        {}, max_length=32, description="words that go into the event's data as they are"
    )

    @model_validator(mode="after")
    def _own_words(self) -> EmitConfig:
        if reserved := RESERVED_KEYS & self.data.keys():
            raise ValueError(f"`data`: {min(reserved)!r} is a word of the gateway's own: choose another")
        return self


class TimeoutConfig(Options):
    """`on_timeout:` what an attempt that ran out of time says and does."""

    emit: EmitConfig = Field(EmitConfig(), description="what the timeout says; default: as the rule")
    do: list[ActionConfig] = Field([], max_length=16, description="actions when an attempt runs out of time")


class RuleConfig(Options):
    """One entry of `rules:`."""

    id: Identifier = Field(description="name of the rule; its events are about rule/<id>", examples=["cellar-hot"])
    version: Annotated[int, Field(ge=1)] = Field(1, description="another number makes the rule begin anew")
    when: When = Field(description="exactly one operator")
    by: FieldName | None = Field(
        None,
        description="channel, device, none, or a key of the events' data; default: channel, for a sequence none",
    )
    only_if: list[GuardConfig] = Field(
        [], max_length=16, description="it speaks only if all of these hold at that time"
    )
    emit: EmitConfig = Field(EmitConfig(), description="what the derived event says")
    do: list[ActionConfig] = Field(
        [], max_length=16, description="actions when it is raised, matches, or a window ends"
    )
    on_cleared: list[ActionConfig] = Field([], max_length=16, description="actions when what was raised is cleared")
    on_timeout: TimeoutConfig | None = Field(
        None, description="for a sequence: what an attempt says that ran out of time"
    )
    once: bool = Field(False, description="each key speaks one time")
    keys_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        KEYS_MAX, description="keys that are kept apart; beyond it the least recently seen is forgotten, and counted"
    )

    @model_validator(mode="after")
    def _parts_fit(self) -> RuleConfig:
        operator = self.when.operator
        if self.on_cleared and operator not in {"hold", "rate", "absent"}:
            raise ValueError(f"`on_cleared` goes with hold, rate and absent; nothing is cleared by `{operator}`")
        if self.on_timeout is not None:
            if operator != "sequence":
                raise ValueError("`on_timeout` goes with `sequence`")
            if self.when.sequence is not None and self.when.sequence.within_s is None:
                raise ValueError("`on_timeout` needs `within` in the sequence")
        return self

    @property
    def key_by(self) -> str:
        return self.by or ("none" if self.when.sequence is not None else "channel")

    @property
    def hash(self) -> str:
        """Eight hex digits of all that decides what the rule derives; actions do not."""
        meaning = self.model_dump(mode="json", exclude={"do": True, "on_cleared": True, "on_timeout": {"do": True}})
        canonical = json.dumps(meaning, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:HASH_DIGITS]
