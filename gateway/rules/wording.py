"""What a rule asks for, in words: `cellar/temperature above 30 for 5m, cleared below 28 for 1m`. Pure.

In the words of the language itself, so that a person finds each of them in the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from gateway.options import duration_text
from gateway.rules.model import GuardConfig, RuleConfig, TimeOfDay
from gateway.rules.operator_model import (
    AbsentConfig,
    CountConfig,
    EventConfig,
    HoldConfig,
    Quantile,
    RateConfig,
    WindowConfig,
)
from gateway.rules.select_model import Predicates, Selector, Source, Transition
from gateway.rules.sequence_model import COMPARISONS, Comparison, SequenceConfig, StepConfig

_WORDS: Final = {"is_": "is", "not_": "not", "in_": "in"}
_LIMITS: Final = ("above", "below", "at_least", "at_most")


def asked(config: RuleConfig) -> str:
    """The rule's operator in one sentence, without the rule's id and without `only_if`."""
    operator = config.when.operator
    return _SENTENCES[operator](getattr(config.when, operator))


def guards_asked(config: RuleConfig) -> list[str]:
    """A phrase for each entry of `only_if`."""
    return [_guard(guard) for guard in config.only_if]


def limit_of(config: RuleConfig) -> float | None:
    """The one number that decides, where there is exactly one: `above`, `below`, `at_least` or `at_most`."""
    when = config.when
    model = when.hold or when.rate or when.event
    if model is None:
        return None
    given = [getattr(model, name) for name in _LIMITS if getattr(model, name) is not None]
    return given[0] if len(given) == 1 else None


def longest_s(config: RuleConfig) -> float:
    """The longest time of the rule: for how long what was before matters at all; 0 where no time is named."""
    whole = config.model_copy(update={"do": [], "on_cleared": [], "on_timeout": None})
    return max(_durations(whole), default=0.0)


def _durations(model: BaseModel) -> Iterator[float]:
    """Every field that is a time: their names end with `_s`."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _durations(value)
        elif isinstance(value, list):
            yield from (s for one in value if isinstance(one, BaseModel) for s in _durations(one))
        elif name.endswith("_s") and isinstance(value, (int, float)):
            yield float(value)


# -- operators --------------------------------------------------------------------------------------------------------


def _event(config: EventConfig) -> str:
    return f"each event of {selected(config)}"


def _hold(config: HoldConfig) -> str:
    return f"{selected(config)}{_for(config.for_s)}{_clearing(config)}"


def _count(config: CountConfig) -> str:
    events = "1 event" if config.at_least == 1 else f"{config.at_least} events"
    said = selected(config.model_copy(update={"at_least": None}))
    return f"{events} of {said} within {duration_text(config.within_s)}"


def _rate(config: RateConfig) -> str:
    limits = " and ".join(_bound(name, getattr(config, name)) for name in _LIMITS if getattr(config, name) is not None)
    over = f"over {duration_text(config.over_s)}"
    return f"{place(config)} changes {limits} per {duration_text(config.per_s)}, {over}{_for(config.for_s)}" + (
        _clearing(config)
    )


def _absent(config: AbsentConfig) -> str:
    again = f", again every {duration_text(config.repeat_s)}" if config.repeat_s is not None else ""
    return f"nothing of {selected(config)} for {duration_text(config.for_s)}{again}"


def _window(config: WindowConfig) -> str:
    aggregates = ", ".join(_aggregate(name, kind) for name, kind in config.of.items())
    return f"{aggregates} of {selected(config)} {_extent(config)}"


def _extent(config: WindowConfig) -> str:
    if config.tumbling_s is not None:
        return f"in each {duration_text(config.tumbling_s)}"
    if config.hopping is not None:
        return f"in {duration_text(config.hopping.size_s)}, every {duration_text(config.hopping.every_s)}"
    if config.sliding_s is not None:
        return f"in the {duration_text(config.sliding_s)} before each event"
    if config.session is not None:
        most = f", at most {duration_text(config.session.max_s)}" if config.session.max_s is not None else ""
        return f"until it is silent for {duration_text(config.session.gap_s)}{most}"
    return (
        f"in each {config.every or config.count} events"
        if config.every in {None, config.count}
        else (f"in {config.count} events, every {config.every}")
    )


def _aggregate(name: str, kind: str | Quantile) -> str:
    word = kind if isinstance(kind, str) else f"{kind.quantile:g} quantile"
    return word if name == word else f"{word} ({name})"


def _sequence(config: SequenceConfig) -> str:
    steps = ", ".join(_step(step, n) for n, step in enumerate(config.steps))
    within = "" if config.within_s is None else f"; all within {duration_text(config.within_s)}"
    return steps + within + "".join(f", where {_compared(one)}" for one in config.where)


def _compared(one: Comparison) -> str:
    if one.expr is not None:
        return one.expr
    word = next(name for name in COMPARISONS if getattr(one, name) is not None)
    return f"{one.left} {_WORDS.get(word, word.replace('_', ' '))} {_value(getattr(one, word))}"


def _step(step: StepConfig, n: int) -> str:
    if step.kind == "not":
        assert isinstance(step.not_, Selector)
        lasts = "" if step.for_s is None else f" for {duration_text(step.for_s)}"
        return f"{'' if n == 0 else 'then '}no {selected(step.not_)}{lasts}"
    if step.kind in {"all", "any"}:
        joined = " and " if step.kind == "all" else " or "
        said = joined.join(selected(one) for one in step.all or step.any or [])
    else:
        said = selected(step)
    link = "" if n == 0 else "next " if step.link == "next" else "then "
    return f"{link}{said}{_times(*step.times)}"


def _times(fewest: int, most: int | None) -> str:
    if (fewest, most) == (1, 1):
        return ""
    return f", {fewest} times" if fewest == most else f", {fewest}..{'' if most is None else most} times"


_SENTENCES: Final[Mapping[str, Callable[[Any], str]]] = {
    "event": _event,
    "hold": _hold,
    "count": _count,
    "window": _window,
    "rate": _rate,
    "absent": _absent,
    "sequence": _sequence,
}


# -- what they share --------------------------------------------------------------------------------------------------


def place(source: Source) -> str:
    """Where the events come from: `cellar/temperature`, `rule hot`, `gateway.started`."""
    where = (
        source.channel
        or (f"{source.device}/**" if source.device else "")
        or (f"rule {source.rule}" if source.rule else "")
    )
    types = ", ".join(source.type) if source.type else ""
    said = f"{where} ({types})" if where and types else where or types
    return said if source.field == "value" else f"{source.field} of {said}"


def selected(source: Predicates) -> str:
    """Which events, and which of them count: `cellar/temperature above 30`."""
    parts = [_bound(name, getattr(source, name)) for name in _LIMITS if getattr(source, name) is not None]
    parts += [f"{_WORDS[name]} {_value(value)}" for name, value in _values(source)]
    if source.expr is not None:
        parts.append(f"where {source.expr}")
    if isinstance(source, Selector) and source.changed:
        parts.append(_changed(source.changed))
    if source.quality != "usable":
        parts.append("good" if source.quality == "good" else "good or bad")
    return " ".join(filter(None, [place(source), " and ".join(parts)]))


def _values(source: Predicates) -> Iterator[tuple[str, Any]]:
    for name in _WORDS:
        value = getattr(source, name)
        if value is not None and not isinstance(value, Source):
            yield name, value


def _changed(changed: bool | Transition) -> str:
    if not isinstance(changed, Transition):
        return "changed"
    came = "" if changed.from_ is None else f" from {_value(changed.from_)}"
    return f"changed{came}" + ("" if changed.to is None else f" to {_value(changed.to)}")


def _bound(name: str, limit: float) -> str:
    return f"{name.replace('_', ' ')} {limit:g}"


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _for(seconds: float | None) -> str:
    return "" if seconds is None else f" for {duration_text(seconds)}"


def _clearing(config: HoldConfig | RateConfig) -> str:
    bounds = [f"below {config.clear_below:g}"] if config.clear_below is not None else []
    bounds += [f"above {config.clear_above:g}"] if config.clear_above is not None else []
    cleared = ""
    if bounds or config.clear_for_s is not None:
        cleared = f", cleared {bounds[0] if bounds else 'otherwise'}{_for(config.clear_for_s)}"
    unknown = "" if config.max_gap_s is None else f", unknown after {duration_text(config.max_gap_s)} of silence"
    return cleared + unknown


def _guard(guard: GuardConfig) -> str:
    if guard.time is not None:
        return _time_of_day(guard.time)
    if guard.kind == "last":
        age = "" if guard.max_age_s is None else f", no older than {duration_text(guard.max_age_s)}"
        return f"{selected(guard)}{age}"
    selector = guard.preceded_by or guard.not_preceded_by
    assert selector is not None
    assert guard.within_s is not None
    no = "" if guard.preceded_by is not None else "no "
    return f"{no}{selected(selector)} in the {duration_text(guard.within_s)} before"


def _time_of_day(time: TimeOfDay) -> str:
    parts = [f"from {time.after:%H:%M}"] if time.after is not None else []
    parts += [f"until {time.before:%H:%M}"] if time.before is not None else []
    parts += [f"on {', '.join(time.days)}"] if time.days is not None else []
    return f"{' '.join(parts) or 'at any time'} in {time.zone}"
