"""A file of cases as models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.clock import NS_PER_S
from gateway.options import Duration, Identifier, Options
from gateway.rules.cases.notation import parse_expected, parse_ns, parse_series


def _series(text: str) -> str:
    parse_series(text)
    return text


def _expected(text: str) -> str:
    parse_expected(text)
    return text


def _duration(text: str) -> str:
    parse_ns(text)
    return text


def _short(written: object) -> object:
    return {"values": written} if isinstance(written, str) else written


def _listed(written: object) -> object:
    return [written] if isinstance(written, str) else written


class Series(Options):
    """Events of one subject."""

    values: Annotated[str, Field(max_length=100_000), AfterValidator(_series)] = Field(description="the series")
    type: str | None = Field(None, description="type of the events; default: by their values")
    data: dict[str, Any] = Field({}, description="the events' data")


class Restart(Options):
    """The gateway stops, and starts again."""

    at_s: Duration = Field(alias="at", description="when it stops")
    gap_s: Duration | None = Field(None, alias="for", description="how long it is down; default: nobody knows")


class CaseConfig(Options):
    """One case."""

    name: Annotated[str, Field(min_length=1, max_length=200)] = Field(description="what is promised")
    rule: (
        Annotated[list[Identifier], BeforeValidator(_listed), WithJsonSchema({"type": ["string", "array"]})] | None
    ) = Field(None, description="id of the rule, or a list; default: all of the file")
    series: dict[str, Annotated[Series, BeforeValidator(_short)]] = Field(
        {}, description="subject -> its events, such as on@5s off@6.2s or every 1m: 29 30.5 31"
    )
    channels: list[str] = Field([], description="channels that are configured, for rules that wait for all of them")
    begins: str = Field("1970-01-01T00:00:00Z", description="what the wall clock says at 0 s")
    restarts: list[Restart] = Field([], max_length=16, description="stops and starts of the gateway")
    until: Annotated[str, AfterValidator(_duration)] | None = Field(
        None, description="how long is waited; default: until the last event or expectation"
    )
    expect: Annotated[
        list[Annotated[str, AfterValidator(_expected)]], BeforeValidator(_listed), WithJsonSchema({"type": "array"})
    ] = Field(description="everything that is said, such as raised@5.8s since=5s; [] for nothing")

    @model_validator(mode="after")
    def _begins_at_a_time(self) -> CaseConfig:
        try:
            wall_ns(self.begins)
        except ValueError:
            raise ValueError("`begins`: expected a time such as 2026-01-05T21:00:00Z") from None
        return self


class CasesConfig(Options):
    """A file of cases."""

    rules: str | None = Field(None, description="the file with the rules; default: given on the command line")
    cases: list[Any] = Field(description="the cases")


def wall_ns(text: str) -> int:
    """Nanoseconds UTC of an RFC 3339 time.

    Raises:
        ValueError: not one.
    """
    told = datetime.fromisoformat(text)
    return round((told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()) * NS_PER_S
