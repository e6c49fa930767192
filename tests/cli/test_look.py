"""What every command's output is made of."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.cli import look


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20), st.integers()), max_size=8))
def test_every_column_of_a_table_starts_in_one_place(rows: list[tuple[str, str, int]]) -> None:
    cells = [(look.printable(a), look.printable(b), str(n)) for a, b, n in rows]
    lines = look.table(cells, ("LONG HEADER", "B", "N"), "<<>").splitlines()
    assert len(lines) == len(rows) + 1
    ends = {look.width(line) for line in lines}
    assert len(ends) == 1  # the last column is aligned to the right: all lines end in one place


def test_styles_and_wide_characters_do_not_shift_columns() -> None:
    lines = look.table([(click.style("ab", fg="red"), "1"), ("温室", "2"), ("e\u0301", "3")], ("A", "B")).splitlines()
    assert [click.unstyle(line) for line in lines] == ["A     B", "ab    1", "温室  2", "e\u0301     3"]


def test_the_last_column_wraps_under_itself_on_a_narrow_terminal() -> None:
    rows = [("pin", "the number that is printed on pinout diagrams")]
    assert click.unstyle(look.table(rows, ("OPTION", "MEANING"), columns=34, indent=2)).splitlines() == [
        "  OPTION  MEANING",
        "  pin     the number that is",
        "          printed on pinout",
        "          diagrams",
    ]


def test_a_long_first_column_gives_way_on_a_narrow_terminal() -> None:
    rows = [("a-rather-long-device-name", "available", "1")]
    assert click.unstyle(look.table(rows, ("DEVICE", "STATE", "N"), "<<>", columns=28, indent=2)).splitlines() == [
        "  DEVICE        STATE      N",
        "  a-rather-lo…  available  1",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert click.unstyle(look.table([], ("A", "B"))) == "A  B"


@given(st.text(max_size=30), st.integers(0, 40))
def test_cropped_text_fits(text: str, columns: int) -> None:
    assert look.width(look.crop(look.printable(text), columns)) <= columns


@given(st.text())
def test_printable_text_commands_no_terminal_and_stays_on_one_line(text: str) -> None:
    shown = look.printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.34, "340 ms"),
        (12, "12 s"),
        (119.4, "119 s"),
        (300, "5 min"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 4 h"),
        (-300, "-5 min"),
        (-0.5, "-500 ms"),
    ],
)
def test_durations_read_at_a_glance(seconds: float, text: str) -> None:
    assert look.duration(seconds) == text


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_999, "1.0 MB"), (512_000_000, "512 MB"), (10**13, "10000 GB")],
)
def test_sizes_read_at_a_glance(bytes_: int, text: str) -> None:
    assert look.size(bytes_) == text


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (21.5, "Cel", ("21.5", "°C")),
        (0.4242, "/", ("42.4", "%")),
        (55.0, "%RH", ("55", "% rh")),
        (3, "1", ("3", "")),
        (101325.25, "Pa", ("101325.25", "Pa")),
        (0.0000123, "A", ("1.23e-05", "A")),
        (4_000_000_000, "B", ("4.0", "GB")),
        (12, "B", ("12", "B")),
        (30.5, "s", ("30.5", "s")),
        (86_400, "s", ("24 h 0 min", "")),
        (float("inf"), "B", ("inf", "B")),
        (float("nan"), "s", ("nan", "s")),
        (True, None, ("true", "")),
        (None, "Cel", ("–", "")),
        ("a\x1bb", None, ("a\\x1bb", "")),
        (1.0, "x\ny", ("1", "x\\ny")),
    ],
)
def test_values_are_shown_with_the_sign_people_write(value: object, unit: str | None, shown: tuple[str, str]) -> None:
    assert look.measure(value, unit) == shown


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 10, "[----]"), (0.01, 10, "[#---]"), (5, 10, "[##--]"), (99, 10, "[####]"), (1, 0, "[----]")],
)
def test_a_bar_shows_a_part_of_a_whole(part: float, whole: float, text: str) -> None:
    assert look.bar(part, whole, 4) == text
