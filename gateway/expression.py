"""Arithmetic that stands in the configuration: `value * 0.1 + 3`, compiled once, evaluated for each reading. Pure.

The language: numbers, `value` and `pi`, `+ - * / // % **`, parentheses, and the functions of `FUNCTIONS`. Nothing else
can be said in it: Python's own parser makes the tree, but only the nodes named here are taken from it and nothing of
it is ever run by Python. All numbers are floats, so no power can fill the memory, and an expression has bounds.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Final

from gateway.errors import GatewayError

CHARACTERS_MAX: Final = 200
DEPTH_MAX: Final = 50

Formula = Callable[[float], float]
"""An expression as a function of `value`.

Raises:
    ArithmeticError, ValueError: there is no result: division by zero, a logarithm of nothing.
"""

NAMES: Final[Mapping[str, float]] = {"pi": math.pi}

FUNCTIONS: Final[Mapping[str, tuple[Callable[..., float], int, int]]] = {
    "abs": (abs, 1, 1),
    "min": (min, 2, 10),
    "max": (max, 2, 10),
    "round": (lambda number: float(round(number)), 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "exp": (math.exp, 1, 1),
    "log": (math.log, 1, 1),
    "log10": (math.log10, 1, 1),
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
    "tan": (math.tan, 1, 1),
}
"""Name -> (function, fewest arguments, most arguments). Angles are in radians, `log` is the natural logarithm."""

_OPERATORS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: math.pow,  # unlike `**` it never leaves the real numbers
}

_KNOWN: Final = f"numbers, value, pi, + - * / // % **, parentheses and {', '.join(FUNCTIONS)}"

_NUMBER: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])"
_TOKENS: Final = re.compile(rf"(?:{_NUMBER}|[A-Za-z_]\w*|[-+*/%(),]| )*", re.ASCII)
"""What the tree is made from. Other notations of Python (1_000, 0x1F, 1j, "text") end here, at their place."""


class ExpressionError(GatewayError, ValueError):
    """An expression that cannot be used; says where and why."""


def compile_expression(text: str) -> Formula:
    """The function that `text` describes.

    Raises:
        ExpressionError: not an expression in this language, too long, too deep, or without `value`.
    """
    if len(text) > CHARACTERS_MAX:
        raise ExpressionError(f"expected at most {CHARACTERS_MAX} characters, found {len(text)}")
    text = text.strip()
    begin = _TOKENS.match(text)
    if begin is not None and begin.end() < len(text):
        raise _wrong(begin.end(), f"found {text[begin.end()]!r}, expected {_KNOWN}")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, RecursionError, MemoryError) as error:
        column = getattr(error, "offset", None) or len(text) + 1
        raise _wrong(min(column, len(text) + 1) - 1, _syntax(error, text)) from None
    formula = _compile(tree.body, 0)
    if not any(isinstance(node, ast.Name) and node.id == "value" for node in ast.walk(tree)):
        raise ExpressionError("it is the same for every reading: expected an expression with `value`")
    return formula


def _syntax(error: BaseException, text: str) -> str:
    if not text:
        return "found nothing, expected an expression such as value * 0.1 + 3"
    said = error.msg if isinstance(error, SyntaxError) else "nested too deeply"
    return f"this is no arithmetic ({said}), expected an expression such as value * 0.1 + 3"


def _compile(node: ast.expr, depth: int) -> Formula:
    if depth > DEPTH_MAX:
        raise _wrong(node.col_offset, f"nested deeper than {DEPTH_MAX}")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _constant(node, number)
        case ast.Name():
            return _name(node)
        case ast.UnaryOp(op=ast.UAdd()):
            return _compile(node.operand, depth + 1)
        case ast.UnaryOp(op=ast.USub()):
            operand = _compile(node.operand, depth + 1)
            return lambda value: -operand(value)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            apply = _OPERATORS[type(node.op)]
            left, right = _compile(node.left, depth + 1), _compile(node.right, depth + 1)
            return lambda value: apply(left(value), right(value))
        case ast.Call(func=ast.Name(), keywords=[]):
            return _call(node, depth)
        case _:
            raise _wrong(node.col_offset, f"this is not known here, expected {_KNOWN}")


def _constant(node: ast.expr, number: float) -> Formula:
    try:
        constant = float(number)
    except OverflowError:
        constant = math.inf
    if not math.isfinite(constant):
        raise _wrong(node.col_offset, "the number is too large")
    return lambda _value: constant


def _name(node: ast.Name) -> Formula:
    if node.id == "value":
        return lambda value: value
    if node.id in NAMES:
        return _constant(node, NAMES[node.id])
    hint = f"write {node.id}(...)" if node.id in FUNCTIONS else f"expected {_KNOWN}"
    raise _wrong(node.col_offset, f"unknown name {node.id!r}, {hint}")


def _call(node: ast.Call, depth: int) -> Formula:
    assert isinstance(node.func, ast.Name), "the pattern that leads here"
    name = node.func.id
    if name not in FUNCTIONS:
        raise _wrong(node.col_offset, f"unknown function {name!r}, expected one of {', '.join(FUNCTIONS)}")
    function, fewest, most = FUNCTIONS[name]
    if not fewest <= len(node.args) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise _wrong(node.col_offset, f"{name} has {len(node.args)} arguments, expected {wanted}")
    arguments = [_compile(argument, depth + 1) for argument in node.args]
    if len(arguments) == 1:
        only = arguments[0]
        return lambda value: function(only(value))
    return lambda value: function(*(argument(value) for argument in arguments))


def _wrong(index: int, message: str) -> ExpressionError:
    return ExpressionError(f"at character {index + 1}: {message}")
