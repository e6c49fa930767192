"""Whatever stands in the file: a configuration or a ConfigError, never anything else; and never slowly."""

from __future__ import annotations

import random
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import ConfigError
from tests.config.parts import BROKEN, PARSERS, WHOLE, parse

PIECES = st.sampled_from([
    "\n", " ", "  ", "\t", ":", ": ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "!", "!!str ", "!secret ",
    "!include ",
    "|", ">", "'", '"', "\\", "#", "%", "@", "`", "---\n", "...\n", "<<: ", "?", "~", "null", "on", "017", "1e999",
    "\0",
    "\x85", "\u2028", "\ufeff", "\ud800", "\U0010ffff", "id", "driver", "chip", "key", "pin", "gateway", "devices",
    "sinks",
    '"\\ud800"', '"\\0"', '"\\x1b[31m"', "..", "/", "%YAML 1.1\n", "%TAG ! x\n", "!!python/object:os.system ", "=",
])  # fmt: skip


def _survives(text, parser):
    for problem in _problems(text, parser):
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message
        assert str(problem).isprintable()


def _problems(text, parser):
    try:
        parse(text, "/nonexistent/gateway.yaml", parser=parser)
    except ConfigError as error:
        assert str(error)  # noqa: PT017 - both outcomes are right
        return error.problems
    return ()


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(parser, content):
    _survives(content, parser)


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, max_size=40).map("".join))
def test_any_pieces_of_yaml(parser, text):
    _survives(text, parser)


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_right_text_with_something_wrong_anywhere(parser, data):
    text = WHOLE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + data.draw(PIECES) + text[end:]
    _survives(text, parser)


@pytest.mark.parametrize("parser", PARSERS)
@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_right_shape_with_any_values(parser, data):
    scalars = st.sampled_from(
        ["1", "x", "true", "", "[]", "{}", "{a: 1}", "[1]", "-1", "9e9", "10s", "!secret x", "'1'"]
    )
    keys = ["id", "driver", "every", "timeout", "channels", "simulate", "pin", "address", "note", "temperature"]
    device = data.draw(st.dictionaries(st.sampled_from(keys), scalars, max_size=6))
    device = {"id": "a", "driver": data.draw(st.sampled_from(["chip", "key", "buggy"])), **device}
    entry = ", ".join(f"{key}: {value}" for key, value in device.items())
    _survives(f"devices: [{{{entry}}}]\nbuffer: {data.draw(scalars)}\ngateway: {data.draw(scalars)}", parser)


@pytest.mark.parametrize("parser", PARSERS)
def test_a_billion_laughs_are_refused_at_once(parser):
    began_s = process_time()
    with pytest.raises(ConfigError, match="more than 100000 values once all aliases"):
        parse((BROKEN / "laughs.yaml").read_text(), parser=parser)
    assert process_time() - began_s < 1.0


def test_files_that_include_each_other_again_and_again_are_refused_at_once(tmp_path):
    for n in range(12):
        inner = "[" + ", ".join([f"!include {n + 1}.yaml"] * 8) + "]" if n < 11 else "[x]"
        (tmp_path / f"{n}.yaml").write_text(inner)
    with pytest.raises(ConfigError, match="more than 100 files are included"):
        parse("devices: !include 0.yaml", tmp_path / "gateway.yaml")


def test_fifty_devices_are_read_quickly(capsys):
    rng = random.Random(1)
    devices = "".join(
        f"  - id: d{n}\n    driver: chip\n    address: {3 + n}\n    every: {rng.randint(1, 60)}s\n"
        f"    channels: {{temperature: {{deadband: 0.{rng.randint(1, 9)}}}}}\n"
        f"    simulate: {{humidity: {{sine: {{min: 18, max: 26, period: 1h}}}}}}\n"
        for n in range(50)
    )
    spent_s = []
    for _ in range(3):
        began_s = process_time()
        config = parse(f"devices:\n{devices}")
        spent_s.append(process_time() - began_s)
    assert len(config.devices) == 50
    with capsys.disabled():
        print(f"\n  50 devices: {min(spent_s) * 1000:.0f} ms CPU (the bar is 150)")  # noqa: T201 - a figure for people
