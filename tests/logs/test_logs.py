"""Log lines as a terminal, the journal and a collector get them."""

import io
import json
import logging
import os
from datetime import datetime

import pytest

from gateway import logs


@pytest.fixture
def configured():
    """`logs.configure` on loggers of its own; everything is as it was afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("gateway")
    levels, added = (root.level, ours.level), []

    def configure(style="text", level="info", environ=None, stream=None):
        stream = stream or io.StringIO()
        before = list(root.handlers)
        logs.configure(style, level, environ or {}, stream)
        added.extend(handler for handler in root.handlers if handler not in before)
        return stream

    yield configure
    for handler in added:
        root.removeHandler(handler)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture
def journal(tmp_path):
    """A file that takes the journal's place, and the variable that systemd would set for it."""
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        yield stream, {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def lines(stream):
    stream.seek(0)
    return stream.read().splitlines()


def say():
    logger = logging.getLogger("gateway.some")
    logger.debug("details")
    logger.info("a thing %s", "came")
    logger.warning("a thing %s", "went")
    logger.error("trouble")
    logger.critical("a bug", exc_info=ZeroDivisionError("first\nsecond"))


def test_a_terminal_gets_time_level_and_message(configured):
    stream = configured()
    say()
    first = lines(stream)[0]
    datetime.strptime(first[:8], "%H:%M:%S").astimezone()
    assert first[8:] == " INFO    a thing came"


def test_the_journal_gets_a_priority_on_every_line_and_no_time(configured, journal):
    stream, environ = journal
    configured(environ=environ, stream=stream, level="debug")
    say()
    found = lines(stream)
    assert found[:5] == ["<7>details", "<6>a thing came", "<4>a thing went", "<3>trouble", "<2>a bug"]
    assert found[5:] == ["<2>ZeroDivisionError: first", "<2>second"]


def test_json_is_one_object_a_line_with_the_stack_inside(configured):
    stream = configured("json")
    say()
    came, went, trouble, bug = map(json.loads, lines(stream))
    assert came.keys() == {"time", "level", "logger", "message"}
    assert (came["level"], came["logger"], came["message"]) == ("info", "gateway.some", "a thing came")
    assert datetime.fromisoformat(came["time"]).utcoffset().total_seconds() == 0
    assert [went["level"], trouble["level"], bug["level"]] == ["warning", "error", "critical"]
    assert "ZeroDivisionError: first\nsecond" in bug["exception"]


def test_the_journal_gets_json_with_a_priority_too(configured, journal):
    stream, environ = journal
    configured("json", environ=environ, stream=stream)
    say()
    assert all(line[:3] in {"<2>", "<3>", "<4>", "<6>"} and json.loads(line[3:]) for line in lines(stream))


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_logged(configured, level, count):
    stream = configured("json", level)
    logger = logging.getLogger("gateway.some")
    for log in (logger.debug, logger.info, logger.warning, logger.error):
        log("x")
    assert len(lines(stream)) == count


def test_of_libraries_only_warnings_are_logged_at_any_level(configured):
    stream = configured(level="debug")
    logging.getLogger("aiosqlite").debug("INSERT ...")
    logging.getLogger("asyncio").info("x")
    logging.getLogger("asyncio").warning("slow")
    assert [line[9:] for line in lines(stream)] == ["WARNING slow"]


def test_the_variable_alone_does_not_make_a_journal(journal, tmp_path):
    stream, environ = journal
    assert logs.in_journal(environ, stream)
    assert not logs.in_journal({}, stream)
    assert not logs.in_journal(environ, io.StringIO())
    with (tmp_path / "other").open("w") as other:
        assert not logs.in_journal(environ, other)
