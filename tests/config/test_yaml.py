"""YAML 1.2, and what is read the same by both of PyYAML's parsers."""

from __future__ import annotations

import math

import pytest

from gateway.config.nodes import BrokenNode, dotted, plain
from gateway.config.text import Unreadable
from gateway.config.yaml import read_document
from tests.config.parts import PARSERS


def _no_secret(name):
    raise Unreadable(f"no {name}")


def _read(text, file="gateway.yaml", parser=PARSERS[-1]):
    document = read_document(text, str(file), _no_secret, parser)
    assert document.problems == []
    return plain(document.root)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("17", 17), ("+17", 17), ("-3", -3), ("0", 0), ("-0", 0), ("0o17", 15), ("0x1F", 31),
        ("1.5", 1.5), ("-.5", -0.5), ("5.", 5.0), ("12e3", 12000.0), ("1E-2", 0.01), ("017.5", 17.5),
        (".inf", math.inf), ("-.INF", -math.inf),
        ("true", True), ("True", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("No", "No"), ("y", "y"), ("tRUE", "tRUE"), ("nULL", "nULL"),
        ("1:30", "1:30"), ("1_000", "1_000"), ("0b11", "0b11"), ("2026-11-23", "2026-11-23"), ("1.2.3", "1.2.3"),
        ("=", "="), ("0x", "0x"), ("e3", "e3"), ("+", "+"), (".", "."),
        ("'17'", "17"), ('"true"', "true"), ("'017'", "017"), ("''", ""), ("|\n  017", "017"), ('"\\x07"', "\x07"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("parser", PARSERS)
def test_bare_words_follow_the_core_schema_of_yaml_1_2(word, value, parser):
    read = _read(f"a: {word}", parser=parser)["a"]
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_a_number():
    assert math.isnan(_read("a: .nan")["a"])


@pytest.mark.parametrize("parser", PARSERS)
def test_keys_are_texts_as_they_are_written(parser):
    assert _read("{on: 1, 12: 2, true: 3, '': 4, null: 5}", parser=parser) == {
        "on": 1, "12": 2, "true": 3, "": 4, "null": 5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfa: \xc3\xa4", "a: ä".encode(), b"a: \xc3\xa4\r\n", b"%YAML 1.2\n---\na: \xc3\xa4\n...\n"]
)
@pytest.mark.parametrize("parser", PARSERS)
def test_utf_8_with_or_without_a_mark_and_any_line_ends(content, parser):
    assert _read(content, parser=parser) == {"a": "ä"}


def test_an_alias_stands_for_its_anchor():
    assert _read("a: &a {x: 1}\nb: [*a, *a]") == {
        "a": {"x": 1},
        "b": [{"x": 1}, {"x": 1}],
    }


def test_a_later_anchor_of_the_same_name_wins():
    assert _read("[&a 1, *a, &a 2, *a]") == [1, 1, 2, 2]


def test_includes_are_relative_to_the_file_that_names_them(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/devices.yaml").write_text("- !include one.yaml\n")
    (tmp_path / "more/one.yaml").write_text("{id: a}\n")
    file = tmp_path / "gateway.yaml"
    document = read_document("devices: !include more/devices.yaml", str(file), _no_secret)
    assert plain(document.root) == {"devices": [{"id": "a"}]}
    assert document.files == [str(file), str(tmp_path / "more/devices.yaml"), str(tmp_path / "more/one.yaml")]


def test_one_file_may_be_included_twice(tmp_path):
    (tmp_path / "labels.yaml").write_text("{site: north}\n")
    text = "a: !include labels.yaml\nb: !include labels.yaml"
    assert _read(text, tmp_path / "gateway.yaml") == {"a": {"site": "north"}, "b": {"site": "north"}}


def test_what_cannot_be_read_is_left_out_and_the_rest_is_read():
    document = read_document("{a: 017, b: !x y, c: 3}", "gateway.yaml", _no_secret)
    assert len(document.problems) == 2
    values = plain(document.root)
    assert isinstance(values["a"], BrokenNode)
    assert values["c"] == 3


@pytest.mark.parametrize(
    ("path", "text"),
    [(("devices", 1, "pin"), "devices[1].pin"), (("a", "b c"), "a.'b c'"), ((0, "x"), "[0].x"), ((), "")],
)
def test_paths_are_written_with_dots(path, text):
    assert dotted(path) == text
