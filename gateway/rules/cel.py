"""`expr:` conditions in CEL, the Common Expression Language, through Google's `cel-expr-python`. The only module that
knows it.

The package is the extra `cel` (64-bit systems only) and is imported when the first expression is compiled. Its traps,
each with a remedy here:

* An error while evaluating (a missing key, a comparison of a text with a number) is a *value* of type ERROR, not an
  exception. Such an event does not fit, and is counted.
* A variable declared DOUBLE refuses `value > 30`, because 30 is an int: everything that may be a number is declared
  DYN.
* A mistake in an expression is a RuntimeError whose text holds the place; `ExprError` carries it as line and column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from gateway.errors import GatewayError, PluginError
from gateway.event import Event

EVENT_NAMES: Final[Mapping[str, str]] = {
    "value": "DYN", "unit": "STRING", "quality": "STRING", "reason": "STRING",
    "event_type": "STRING", "subject": "STRING",
    "device": "STRING", "channel": "STRING", "data": "DYN",
}  # fmt: skip
"""What an expression about one event may name, with its CEL type."""

_READ: Final[Mapping[str, Callable[[Event], Any]]] = {
    "value": lambda event: event.value,
    "unit": lambda event: event.unit or "",
    "quality": lambda event: event.quality or "",
    "reason": lambda event: event.reason,
    "event_type": lambda event: event.type,
    "subject": lambda event: event.subject,
    "device": lambda event: event.subject.partition("/")[0],
    "channel": lambda event: event.subject.partition("/")[2],
    "data": lambda event: event.data,
}
_PLACE: Final = re.compile(r"<input>:(\d+):(\d+): (.*?)(?:\n|$| \[)", re.DOTALL)
_TEXTS: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'")


class ExprError(GatewayError, ValueError):
    """An expression that cannot be used. `line` and `column` count from 1 within the expression."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        self.line, self.column = line, column
        super().__init__(message)


def event_condition(text: str, failed: Callable[[], None] | None = None) -> Callable[[Event], bool]:
    """The expression as a function of one event; `failed` is told of each evaluation that has no result.

    Raises:
        ExprError: the expression is wrong.
        PluginError: the package is not installed.
    """
    cel = _package()
    condition = _compiled(cel, text, {name: getattr(cel.Type, kind) for name, kind in EVENT_NAMES.items()})
    reads = [(name, _READ[name]) for name in names_in(text, EVENT_NAMES)]
    holds = _holds(cel, condition, failed)
    return lambda event: holds({name: read(event) for name, read in reads})


def steps_condition(
    text: str, steps: Iterable[str], failed: Callable[[], None] | None = None
) -> Callable[[Mapping[str, Any]], bool]:
    """The expression as a function of the fields of each step: step name -> field -> value. Raises as
    `event_condition`.
    """
    cel = _package()
    names = {cel_name(name): cel.Type.DYN for name in steps}
    holds = _holds(cel, _compiled(cel, text, names), failed)
    return lambda matched: holds({cel_name(name): fields for name, fields in matched.items()})


def check(text: str, steps: Iterable[str] | None = None) -> None:
    """Raises as `event_condition` where the expression cannot be used; `steps` are those of a sequence's `where`."""
    if steps is None:
        event_condition(text)
    else:
        steps_condition(text, steps)


def names_in(text: str, known: Iterable[str]) -> list[str]:
    """Those of the known names that the expression uses."""
    words = set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", _TEXTS.sub("''", text)))
    return [name for name in known if cel_name(name) in words]


def fields_in(text: str) -> list[str]:
    """Every `x.field` of the expression, without the x."""
    return re.findall(r"(?<=\w)\.([A-Za-z_]\w*)\b(?!\s*\()", _TEXTS.sub("''", text))


def cel_name(step: str) -> str:
    """A step's name as an expression writes it: CEL's names have no hyphen."""
    return step.replace("-", "_").replace(".", "_")


def _holds(cel: Any, condition: Any, failed: Callable[[], None] | None) -> Callable[[Mapping[str, Any]], bool]:
    evaluate, true = condition.eval, cel.Type.BOOL

    def holds(names: Mapping[str, Any]) -> bool:
        result = evaluate(data=names)
        if result.type() != true:
            if failed is not None:
                failed()
            return False
        return bool(result.value())

    return holds


def _compiled(cel: Any, text: str, variables: Mapping[str, Any]) -> Any:
    try:
        condition = cel.NewEnv(variables=variables).compile(text)
    except RuntimeError as error:
        raise _wrong(str(error), variables) from None
    kind = condition.return_type()
    if not any(kind == possible for possible in (cel.Type.BOOL, cel.Type.DYN)):
        raise ExprError(f"expected a condition, which is true or false; the result is of type {kind.name().lower()}")
    return condition


def _wrong(said: str, variables: Iterable[str]) -> ExprError:
    found = _PLACE.search(said)
    if found is None:
        return ExprError(said.removeprefix("INVALID_ARGUMENT: "))
    message = found[3].removeprefix("Syntax error: ").strip()
    if undeclared := re.match(r"undeclared reference to '(\w+)[\w.]*'", message):
        message = f"unknown name {undeclared[1]!r}, expected one of {', '.join(variables)}"
    return ExprError(message, int(found[1]), int(found[2]))


def _package() -> Any:
    try:
        from cel_expr_python import cel  # noqa: PLC0415 - an extra: 49 MB, and only for those who write `expr`
    except ImportError as error:
        raise PluginError(
            "`expr` needs the package cel-expr-python: pip install 'sensor-event-gateway[cel]' (64-bit systems only)"
        ) from error
    return cel
