"""What is wrong, where, and what to do: the exact sentences, for everything that people get wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.config.parts import BROKEN, HERE, PARSERS, wrong

NOT_UTF_8 = "expected UTF-8: save the file as UTF-8 (it looks like Latin-1, another encoding, or no text at all)"
UNPRINTABLE = (
    ("a tab", "gateway:\n\tid: a", "2:1 a tab stands where YAML indents: use spaces only"),
    ("a tab later", "gateway:\n  id: a\n\tlabels: {}", "3:1 a tab stands where YAML indents: use spaces only"),
    ("open quotes", "gateway:\n  id: 'a\n", "3:1 the quotes that open on line 2 are never closed"),
    ("nothing", "", "1:1 the file is empty, or holds nothing but comments"),
    ("comments only", "# nothing yet\n", "1:1 the file is empty, or holds nothing but comments"),
    ("an empty document", "---\n", "1:1 the file is empty, or holds nothing but comments"),
    (
        "a control character",
        "gateway: {id: a}\x07",
        '1:17 found the character U+0007 at byte 16: remove it, or write it as "\\x07" in double quotes',
    ),
    (
        "a line break of YAML 1.1",
        "gateway: {id: ä}\u2028",
        '1:17 found the character U+2028 at byte 17: remove it, or write it as "\\u2028" in double quotes',
    ),
    (
        "Latin-1",
        "gateway: {id: a} # Gewächshaus".encode("latin-1"),
        f"1:23 found byte 0xE4 at byte 22, {NOT_UTF_8}",
    ),
    (
        "UTF-16",
        "gateway: {id: a}".encode("utf-16"),
        "1:1 found UTF-16 or UTF-32 (byte order mark at byte 0), expected UTF-8: save the file as UTF-8",
    ),
    (
        "UTF-16 without a mark",
        "gateway: {id: a}".encode("utf-16-le"),
        "1:2 found a NUL at byte 1, expected UTF-8 text: this is UTF-16 or no text",
    ),
    (
        "a picture",
        b"\x89PNG\r\n\x1a\n\0\0",
        f"1:1 found byte 0x89 at byte 0, {NOT_UTF_8}",
    ),
    (
        "an SQLite file",
        b"SQLite format 3\0\x10\0",
        "1:16 found a NUL at byte 15, expected UTF-8 text: this is UTF-16 or no text",
    ),
)


def _rows():
    """wrong.txt: `# what is wrong`, the YAML, then `=> line:column path: message` for each problem."""
    for block in (HERE / "wrong.txt").read_text("utf-8").strip().split("\n\n"):
        name, *lines = block.split("\n")
        text = "\n".join(line for line in lines if not line.startswith("=> "))
        expected = tuple(line.removeprefix("=> ") for line in lines if line.startswith("=> "))
        yield pytest.param(text, expected, id=name.removeprefix("# "))
    for name, text, message in UNPRINTABLE:
        yield pytest.param(text, (message,), id=name)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def _said(problems) -> tuple[str, ...]:
    """`line:column path: message`, with the list of what is installed left out: it differs between machines."""
    texts = (str(problem).removeprefix("gateway.yaml:") for problem in problems)
    return tuple(re.sub(r"installed are: .*", "installed are: ...", text) for text in texts)


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize(("text", "expected"), list(_rows()))
def test_a_mistake_is_named_with_its_place_and_its_remedy(text, expected, parser):
    assert _said(wrong(text, parser=parser)) == expected


@pytest.mark.parametrize("file", sorted(BROKEN.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_problem_of_a_file_is_named_at_once(file, monkeypatch):
    monkeypatch.chdir(BROKEN)
    expected = file.with_suffix(".expected").read_text().splitlines()
    found = [str(problem) for problem in wrong(Path(file.name).read_bytes(), file.name)]
    assert [re.sub(r"installed are: .*", "installed are: ...", text) for text in found] == expected


def test_an_include_that_is_wrong_is_reported_in_its_own_file(tmp_path):
    (tmp_path / "devices.yaml").write_text("- {id: a, driver: key, pin: 99}\n- {id: a, driver: chip}\n")
    problems = wrong("devices: !include devices.yaml", tmp_path / "gateway.yaml")
    assert [(p.file, p.line) for p in problems] == [
        (str(tmp_path / "devices.yaml"), 1),
        (str(tmp_path / "devices.yaml"), 2),
    ]


def test_a_duplicate_in_another_file_is_named_with_that_file(tmp_path):
    (tmp_path / "one.yaml").write_text("{id: a, driver: chip}\n")
    (problem,) = wrong("devices:\n- !include one.yaml\n- {id: a, driver: key, pin: 1}", tmp_path / "gateway.yaml")
    assert f"there already ({tmp_path / 'one.yaml'} line 1)" in problem.message


def test_a_fifo_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (problem,) = wrong("devices: !include pipe.yaml", tmp_path / "gateway.yaml")
    assert "this is not a regular file" in problem.message


@pytest.mark.parametrize("name", ["loop.yaml", "a\\0b", "x" * 300, "nobody/x"])
def test_an_include_by_an_impossible_name_is_a_problem(tmp_path, name):
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert wrong(f'devices: !include "{name}"', tmp_path / "gateway.yaml")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "big.yaml").write_text("#" * (1 << 20) + "\n")
    (problem,) = wrong("devices: !include big.yaml", tmp_path / "gateway.yaml")
    assert "the file is larger than 1048576 bytes" in problem.message


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("text", ["[" * 5000, "- " * 5000, "{a: " * 5000, "? " * 5000], ids=["[", "-", "{", "?"])
def test_deep_nesting_is_refused(text, parser):
    (problem,) = wrong(text, parser=parser)
    assert problem.message == "more than 64 levels of nesting"


def test_nesting_by_aliases_counts_as_nesting():
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 70))]
    assert wrong("\n".join(lines))[-1].message == "more than 64 levels of nesting"


def test_many_includes_are_refused(tmp_path):
    (tmp_path / "empty.yaml").write_text("a\n")
    text = "devices:\n" + "- !include empty.yaml\n" * 101
    assert wrong(text, tmp_path / "gateway.yaml")[-1].message == "more than 100 files are included"


@pytest.mark.parametrize(
    "text", ["a: !<!%1B[2J> x", 'a: !include "\\e[2J.yaml"', '"\\e[2J": 1', 'gateway: {id: "\\e[2J"}']
)
def test_a_message_holds_no_commands_for_a_terminal(text):
    problems = wrong(text)
    assert any("1b[2J" in str(problem).lower().replace("[2j", "[2J") for problem in problems)
    assert all(str(problem).isprintable() for problem in problems)


def test_problems_come_in_the_order_of_the_file():
    problems = wrong("sinks: [{id: 1, sink: no}]\nbuffer: {x: 1}\ngateway: {id: A}\ndevices: [{id: B, driver: no}]")
    assert [p.line for p in problems] == sorted(p.line for p in problems)
    assert len(problems) == 6
