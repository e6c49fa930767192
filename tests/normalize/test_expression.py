"""The small language of `expression:`, what it can say and that it can do no harm."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.expression import CHARACTERS_MAX, DEPTH_MAX, FUNCTIONS, ExpressionError, compile_expression


@pytest.mark.parametrize(
    ("text", "value", "result"),
    [
        ("value * 0.1 + 3", 5.0, 3.5),
        ("value", 5.0, 5.0),
        ("-value + +2", 5.0, -3.0),
        ("(value - 32) / 1.8", 212.0, 100.0),
        ("2 ** value", 10.0, 1024.0),
        ("-2 ** value", 2.0, -4.0),
        ("value // 2 + value % 2", 7.0, 4.0),
        ("1e3 * value + .5 + 2. + 1E-1", 1.0, 1002.6),
        ("min(value, 3, pi) + max(1, value)", 5.0, 8.0),
        ("abs(-value) + round(value)", 2.6, 5.6),
        ("sqrt(value) + log(exp(value)) + log10(value)", 100.0, 112.0),
        ("sin(pi / 2) + cos(0 * value) + tan(0)", 1.0, 2.0),
        ("1 / (log(value / (3.3 - value)) / 3950 + 1 / 298.15) - 273.15", 1.65, 25.0),
        ("  value  ", 5.0, 5.0),
    ],
)
def test_an_expression_is_arithmetic(text: str, value: float, result: float) -> None:
    assert compile_expression(text)(value) == pytest.approx(result)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at character 1: found nothing, expected an expression such as value * 0.1 + 3"),
        ("3 + 4", "it is the same for every reading: expected an expression with `value`"),
        ("value +", "at character 8: this is no arithmetic"),
        ("value * valu", "at character 9: unknown name 'valu', expected numbers, value, pi"),
        ("value * sqrt", "at character 9: unknown name 'sqrt', write sqrt(...)"),
        ("1 + pow(value, 2)", "at character 5: unknown function 'pow', expected one of abs, min"),
        ("value(2)", "at character 1: unknown function 'value'"),
        ("sqrt(value, 2)", "at character 1: sqrt has 2 arguments, expected 1"),
        ("min(value)", "at character 1: min has 1 arguments, expected 2 to 10"),
        ("value if value else 2", "at character 1: this is not known here"),
        ("value < 3", "at character 7: found '<', expected numbers"),
        ("value and 3", "at character 1: this is not known here"),
        ("not value", "at character 1: this is not known here"),
        ("(value, 2)", "at character 1: this is not known here"),
        ("min(*value, 2)", "at character 5: this is not known here"),
        ("True + value", "at character 1: this is not known here"),
        ("value.real", "at character 6: found '.', expected"),
        ("value[0]", "at character 6: found '['"),
        ("value + 'a'", 'at character 9: found "\'"'),
        ("__import__('os').system('true')", 'at character 12: found "\'"'),
        ("value + 1_000", "at character 9: found '1'"),
        ("value + 0x1F", "at character 9: found '0'"),
        ("value + 1j", "at character 9: found '1'"),
        ("2value", "at character 1: found '2'"),
        ("value + 007", "at character 9: this is no arithmetic"),
        ("value + 1e999", "at character 9: the number is too large"),
        ("value\n+ 1", "at character 6: found '\\n'"),
        ("value @ 2", "at character 7: found '@'"),
        ("(value", "at character 1: this is no arithmetic"),
        ("-" * (DEPTH_MAX + 1) + "value", f"at character {DEPTH_MAX + 2}: nested deeper than {DEPTH_MAX}"),
        ("value" + " + 1" * 50, f"expected at most {CHARACTERS_MAX} characters, found 205"),
        ("9" * 195 + "*value", "expected at most 200 characters, found 201"),
    ],
)
def test_what_is_no_expression_is_refused_at_its_place(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as refused:
        compile_expression(text)
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize("text", ["1 / value", "value % 0", "log(value)", "log10(-1 - value)", "sqrt(value - 1)"])
def test_where_there_is_no_result_a_number_error_says_so(text: str) -> None:
    with pytest.raises((ArithmeticError, ValueError)):
        compile_expression(text)(0.0)


def test_powers_neither_leave_the_real_numbers_nor_grow_without_end() -> None:
    with pytest.raises(ValueError, match="math domain error"):
        compile_expression("value ** 0.5")(-1.0)
    with pytest.raises(OverflowError):
        compile_expression("9 ** 9 ** 9 ** value")(9.0)


words = st.sampled_from(["value", "pi", *FUNCTIONS, "os", "lambda", "if", "or", "2", "1.5", "1e9", "9" * 40, ".", "_"])
marks = st.sampled_from(
    ["+", "-", "*", "/", "//", "%", "**", "(", ")", ",", " ", "=", ":", "'", "[", "\n", "\u00e9", "\0"]
)
sentences = st.lists(words | marks, max_size=30).map("".join)


@given(text=sentences | st.text(max_size=30), value=st.floats())
@example(text="value" + "**9" * 20, value=9.0)
@example(text="(" * 90 + "value" + ")" * 90, value=1.0)
def test_any_text_is_a_function_of_a_number_or_refused(text: str, value: float) -> None:
    try:
        formula = compile_expression(text)
    except ExpressionError:
        return
    try:
        result = formula(value)
    except (ArithmeticError, ValueError):
        return
    assert type(result) is float


numbers = st.floats(-1e6, 1e6).map(abs)
formulas = st.recursive(
    st.just("value") | numbers.map(repr),
    lambda inner: (
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner).map(
            lambda three: f"({' '.join(three)})"
        )
        | inner.map(lambda one: f"-{one}")
        | inner.map(lambda one: f"abs({one})")
        | st.tuples(inner, inner).map(lambda two: f"max({two[0]}, {two[1]})")
    ),
    max_leaves=6,
)


@given(text=formulas, value=st.floats(-1e6, 1e6))
def test_it_means_what_it_means_in_python(text: str, value: float) -> None:
    if len(text) > CHARACTERS_MAX or "value" not in text:
        return
    try:
        expected = eval(text, {"value": value, "abs": abs, "max": max})
    except ArithmeticError:
        with pytest.raises(ArithmeticError):
            compile_expression(text)(value)
        return
    result = compile_expression(text)(value)
    assert result == expected or (math.isnan(result) and math.isnan(expected))
