"""`gateway log`, `consume`, `export`, `import`, `backup`, `restore`, `purge` and `replay` on a log whose gateway is
stopped.
"""

from __future__ import annotations

import asyncio
import csv
import json
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.cli import commands
from gateway.clock import SystemClock
from gateway.errors import GatewayError
from gateway.event import Event
from gateway.eventlog import Cursor, DeadLetter, EventLog, Riders


def on_log(path: Path, work: Callable[[EventLog], Coroutine[Any, Any, Any]], **bounds: Any) -> Any:
    async def scene() -> Any:
        log = await EventLog.open(path, SystemClock(), **bounds)
        try:
            return await work(log)
        finally:
            await log.close()

    return asyncio.run(scene())


def reading(n: int, subject: str = "air/temperature", **more: Any) -> Event:
    return Event("reading", subject, 1_795_413_600_000_001_000 + n * 10**9, n, n / 4, "Cel", "good", **more)


@pytest.fixture
def log(home: Path) -> Path:
    """Three commits: ten readings, five events of other kinds, five readings of another device."""
    path = home / "events.db"

    async def fill(log: EventLog) -> None:
        await log.append([reading(n) for n in range(10)])
        await log.append(
            [
                Event("state", "door/contact", 1_795_413_700_000_000_000, 1, value=True, quality="good"),
                Event("input", "scanner/code", 1_795_413_700_000_000_000, 1, value='4,00 "€"\n☃', cause="x-1"),
                Event("reading", "air/temperature", 1_795_413_700_000_000_000, 1, None, "Cel", "bad", "sensor"),
                Event("log.gap", "gateway", 1_795_413_700_000_000_000, 1, data={"count": 2**40}, synced=False),
                Event("device.unavailable", "air", 1_795_413_700_000_000_000, 1, reason="no answer", simulated=True),
            ],
            Riders({"home": Cursor(12, 11)}, [DeadLetter("home", reading(1), "too large")]),
        )
        await log.append([reading(n, "soil/moisture") for n in range(5)])

    on_log(path, fill)
    return path


def run(*words: object, stdin: str | bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(commands, [str(word) for word in words], input=stdin)
    if isinstance(result.exception, GatewayError):
        result.stderr_bytes = f"{result.exception}\n".encode()  # as `main` says it
        assert result.exception.exit_code == code, result.exception
    else:
        assert result.exit_code == code, (result.output, result.exception)
    return result


# -- log
# ----------------------------------------------------------------------------------------------------------------


def test_log_shows_bounds_packing_and_consumers(log: Path) -> None:
    run("consume", "mine", "--from", "earliest", "--count", 3, "--type", "reading", "--log", log)
    lines = run("log", "--log", log).stdout.splitlines()
    assert lines[0] == "events"
    assert "20, offsets 1 to 20" in "\n".join(lines)
    assert "3, 7 events each" in "\n".join(lines)
    assert lines[-1].split() == ["mine", "away", "4", "17", "0", "0", "reading"]


def test_log_as_json_has_the_same(log: Path) -> None:
    document = json.loads(run("log", "--json", "--log", log).stdout)
    assert (document["first_offset"], document["next_offset"], document["batches"]) == (1, 21, 3)
    assert document["packing"]["events"] == 20
    assert document["consumers"] == []


def test_a_log_that_is_not_there_is_one_sentence(home: Path) -> None:
    result = run("log", "--log", home / "no.db", code=1)
    assert "there is no log at" in result.stderr
    assert "no gateway is running" in run("log", code=1).stderr


def test_without_a_gateway_the_log_of_the_configuration_is_opened(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (log.parent / "gateway.yaml").write_text("gateway: {id: greenhouse}\nbuffer: {path: events.db}\n", encoding="utf-8")
    monkeypatch.chdir(log.parent)
    result = run("log")
    assert result.stdout.startswith("greenhouse\n")
    assert "this command opens" in result.stderr


# -- consume
# ------------------------------------------------------------------------------------------------------------


def test_consume_goes_on_where_it_left_off(log: Path) -> None:
    shown = [json.loads(line) for line in _json("mine", log, "--from", "earliest", "--count", 7)]
    assert [int(event["sequence"]) for event in shown] == list(range(1, 8))
    again = [json.loads(line) for line in _json("mine", log, "--count", 2)]
    assert [int(event["sequence"]) for event in again] == [8, 9]


def _json(name: str, log: Path, *words: object) -> list[str]:
    return run("consume", name, "--json", "--log", log, *words).stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "offsets"),
    [
        (["--from", "last", "--count", 3], [11, 13, 20]),
        (["--from", "offset:12", "--count", 1], [12]),
        (["--from", "2020-01-01T00:00:00Z", "--count", 1], [1]),
        (["--from", "earliest", "--type", "state", "--count", 1], [11]),
        (["--from", "earliest", "--subject", "soil/*", "--count", 2], [14, 16]),  # what tells of missing events passes
        (["--from", "earliest", "--quality", "bad", "--type", "reading", "--count", 1], [13]),
    ],
)
def test_consume_begins_and_chooses_as_it_is_told(log: Path, words: list[object], offsets: list[int]) -> None:
    assert [int(json.loads(line)["sequence"]) for line in _json("mine", log, *words)] == offsets


def test_exec_gets_the_event_and_its_exit_code_decides(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = (
        f'cat >> {out}; echo "$GATEWAY_EVENT_OFFSET $GATEWAY_EVENT_VALUE" >> {out}; test $GATEWAY_EVENT_OFFSET -ne 2'
    )
    result = run("consume", "act", "--from", "earliest", "--exec", script, "--count", 3, "--log", log)
    assert "offset 2, delivery 1: exit code 1" in result.stderr
    lines = out.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["data"]["value"] for line in lines[::2]] == [0, 0.25, 0.5]
    assert lines[1::2] == ["1 0.0", "2 0.25", "3 0.5"]
    (consumer,) = json.loads(run("log", "--json", "--log", log).stdout)["consumers"]
    assert (consumer["next_offset"], consumer["in_flight"]) == (2, 1), "2 is open, 3 is settled"


def test_exec_that_does_not_end_is_ended_with_all_it_started(log: Path, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    result = run(
        "consume", "act", "--from", "earliest", "--count", 1, "--log", log, "--timeout", "200ms",
        "--exec", f"(trap '' TERM; echo $$ > {alive}; sleep 60) & wait",
    )  # fmt: skip
    assert "no end within 0.2 s" in result.stderr


def test_exec_gives_up_after_so_many_failures(log: Path) -> None:
    words = ("consume", "act", "--exec", "false", "--max-deliver", 1, "--in-order", "--log", log)
    run(*words, "--from", "earliest", "--count", 2)
    (consumer,) = json.loads(run("log", "--json", "--log", log).stdout)["consumers"]
    assert (consumer["next_offset"], consumer["dead_letters"]) == (2, 1)


def test_forget_forgets(log: Path) -> None:
    run("consume", "mine", "--from", "earliest", "--count", 1, "--log", log)
    assert run("consume", "mine", "--forget", "--log", log).stdout == "mine is forgotten\n"
    assert "no consumer 'mine'" in run("consume", "mine", "--forget", "--log", log, code=2).stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["Mine"], "expected the name of a consumer"),
        (["mine", "--type", "readings"], "no event has the type 'readings'"),
        (["mine", "--from", "soon"], "expected earliest, latest, last"),
        (["mine", "--exec", "true", "--timeout", "30"], "expected a duration such as 10s"),
    ],
)
def test_consume_says_what_is_wrong(log: Path, words: list[str], sentence: str) -> None:
    assert sentence in run("consume", *words, "--log", log, code=2).stderr


# -- export and import
# --------------------------------------------------------------------------------------------------


def test_export_to_json_lines_and_import_give_the_same_events(log: Path, home: Path) -> None:
    exported = home / "out.jsonl"
    assert run("export", exported, "--log", log).stdout == f"20 events in {exported}\n"
    assert run("import", exported, home / "new.db").stdout == f"20 events in {home / 'new.db'}\n"
    again = run("export", "--log", home / "new.db").stdout.splitlines()
    first = exported.read_text(encoding="utf-8").splitlines()
    assert [_without_source(line) for line in again] == [_without_source(line) for line in first]
    assert len(first) == 20
    with sqlite3.connect(home / "new.db") as raw:
        assert raw.execute("SELECT count(*) FROM batch").fetchone() == (3,), "the commits are what they were"
    raw.close()


def _without_source(line: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(line)
    del event["source"]
    return event


async def offsets(log: EventLog) -> list[int]:
    found: list[int] = []
    page = await log.read(1)
    while page.events:
        found += [event.offset for event in page.events]
        page = await log.read(page.next_offset)
    return found


def test_what_was_not_exported_is_missing_after_the_import_and_offsets_stay(log: Path, home: Path) -> None:
    lines = run("export", "--type", "reading", "--log", log).stdout
    run("import", "-", home / "new.db", stdin=lines)

    assert on_log(home / "new.db", offsets) == [*range(1, 11), 13, 14, *range(16, 21)]

    async def append(new: EventLog) -> list[str]:
        (stamped,) = await new.append([reading(1)])
        return [stamped.id, new.run]

    id_, run_ = on_log(home / "new.db", append)
    assert id_ == f"{run_}-21"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{", "line 2: "),
        ('{"id": "x"}', "line 2: "),
        ("FIRST", "from line 1 on: offset 1 follows offset 1"),
    ],
)
def test_import_names_the_line_that_is_wrong_and_leaves_nothing(
    log: Path, home: Path, line: str, sentence: str
) -> None:
    first = run("export", "--to", "2", "--log", log).stdout
    given = first + (first if line == "FIRST" else line + "\n")
    result = run("import", "-", home / "new.db", stdin=given, code=2)
    assert sentence in result.stderr
    assert not list(home.glob("*new.db*"))


def test_a_file_that_exists_is_never_overwritten(log: Path, home: Path) -> None:
    precious = home / "precious.jsonl"
    precious.write_text("precious")
    for words in (["export", precious, "--log", log], ["backup", precious, "--log", log]):
        assert "exists: choose another name" in run(*words, code=1).stderr
    exported = home / "a.jsonl"
    run("export", exported, "--log", log)
    assert "exists" in run("import", exported, precious, code=1).stderr
    assert precious.read_text() == "precious"


def test_csv_reads_back_in_any_program(log: Path, home: Path) -> None:
    out = home / "out.csv"
    run("export", out, "--log", log)
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["sequence"]) for row in rows] == list(range(1, 21))
    assert rows[0]["value"] == "0.0"
    assert (rows[10]["value"], rows[11]["value"]) == ("true", '4,00 "€"\n☃')
    assert (rows[12]["value"], rows[12]["quality"], rows[12]["reason"]) == ("", "bad", "sensor")
    assert (json.loads(rows[13]["data"]), rows[13]["clocksync"]) == ({"count": 2**40}, "false")


def test_parquet_has_typed_columns(log: Path, home: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow has no wheel for 32-bit systems")
    out = home / "out.parquet"
    run("export", out, "--log", log)
    table = parquet.read_table(out).to_pylist()
    assert [row["sequence"] for row in table] == list(range(1, 21))
    assert table[3]["value"] == 0.75
    assert (table[10]["value"], table[10]["value_flag"]) == (None, True)
    assert table[11]["value_text"] == '4,00 "€"\n☃'
    assert table[0]["time"].isoformat() == "2026-11-23T06:00:00.000001+00:00"


def test_without_pyarrow_parquet_is_one_clear_sentence_and_leaves_nothing(
    log: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("export", home / "out.parquet", "--log", log, code=1)
    assert "pip install 'sensor-event-gateway[parquet]'" in result.stderr
    assert not list(home.glob("*.parquet*"))


def test_export_takes_a_span_and_a_filter(log: Path) -> None:
    lines = run("export", "--from", 5, "--to", 12, "--subject", "air/*", "--log", log).stdout.splitlines()
    assert [int(json.loads(line)["sequence"]) for line in lines] == [5, 6, 7, 8, 9, 10]


# -- backup and restore
# -------------------------------------------------------------------------------------------------


def test_a_backup_holds_everything_and_a_restored_log_has_a_new_run(log: Path, home: Path) -> None:
    run("consume", "mine", "--from", "earliest", "--count", 4, "--log", log)
    assert run("backup", home / "copy.db", "--log", log).stdout.startswith("20 events, offsets 1 to 20, ")

    async def append(log: EventLog) -> str:
        return (await log.append([reading(99)]))[0].id

    later = on_log(log, append)
    assert "--replace" in run("restore", home / "copy.db", "--log", log, code=2).stderr
    result = run("restore", home / "copy.db", "--log", log, "--replace")
    assert "20 events in" in result.stdout

    async def look(log: EventLog) -> tuple[Any, ...]:
        events = (await log.read(1)).events
        return len(events), log.cursors, await log.dead_letters("home"), await log.named_consumers()

    count, cursors, letters, consumers = on_log(log, look)
    assert (count, letters) == (20, 1)
    assert cursors["home"][:2] == (12, 11)
    assert consumers["mine"].cursor.next_offset == 5
    assert on_log(log, append).split("-")[1] == later.split("-")[1], "the same offset"
    assert on_log(log, append).split("-")[0] != later.split("-")[0], "another event: another id"
    (aside,) = home.glob("events.db.before-*")
    assert on_log(aside, look)[0] == 21, "what was there is kept"


def test_a_damaged_backup_changes_nothing(log: Path, home: Path) -> None:
    run("backup", home / "copy.db", "--log", log)
    with sqlite3.connect(home / "copy.db") as raw:
        raw.execute("UPDATE batch SET records = zeroblob(length(records)) WHERE base_offset = 11")
    raw.close()
    before = log.read_bytes()
    assert "does not match its checksum" in run("restore", home / "copy.db", "--log", log, "--replace", code=1).stderr
    assert log.read_bytes() == before
    assert not [*home.glob(".*partial*"), *home.glob("*before*")]
    (home / "text").write_text("no log")
    assert "is no event log" in run("restore", home / "text", "--log", home / "new.db", code=1).stderr
    assert not (home / "new.db").exists()


def test_a_damaged_batch_is_not_backed_up_as_if_it_were_whole(
    log: Path, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Opening a damaged log salvages it: the copy is of what is left, and names what is not."""
    with sqlite3.connect(log) as raw:
        raw.execute("UPDATE batch SET records = zeroblob(length(records)) WHERE base_offset = 1")
    raw.close()
    run("backup", home / "copy.db", "--log", log)
    assert "offset 1 to 10" in caplog.text.replace("offsets", "offset")
    assert list(home.glob("events.db.corrupt-*Z")), "the damaged file is kept"

    async def missing(copy: EventLog) -> tuple[int, int] | None:
        return (await copy.read(1)).gap

    run("restore", home / "copy.db", "--log", home / "new.db")
    left = on_log(home / "new.db", offsets)
    assert left[:10] == list(range(11, 21)), "the whole batch behind the damaged one"
    assert on_log(home / "new.db", missing) == (1, 10)


def test_a_log_copied_with_its_write_ahead_log_after_a_crash_restores_whole(log: Path, home: Path) -> None:
    with sqlite3.connect(log) as raw:  # as a killed gateway leaves it: the newest commit is only in the -wal
        raw.execute("DELETE FROM dead_letter")
        raw.commit()
        for ending in ("", "-wal"):
            (home / f"copy.db{ending}").write_bytes(log.with_name(log.name + ending).read_bytes())
    raw.close()
    run("restore", home / "copy.db", "--log", home / "new.db")

    async def letters(log: EventLog) -> int:
        return await log.dead_letters("home")

    assert on_log(home / "new.db", letters) == 0


def test_a_log_in_use_is_not_restored_over(log: Path, home: Path) -> None:
    run("backup", home / "copy.db", "--log", log)

    async def held(_: EventLog) -> None:
        result = await asyncio.to_thread(run, "restore", home / "copy.db", "--log", log, "--replace", code=1)
        assert "one log has one writer" in result.stderr

    on_log(log, held)


# -- purge
# --------------------------------------------------------------------------------------------------------------


def blobs(path: Path) -> list[bytes]:
    with sqlite3.connect(path) as raw:
        found = [blob for (blob,) in raw.execute("SELECT records FROM batch UNION ALL SELECT event FROM dead_letter")]
    raw.close()
    return found


def leftovers(path: Path, packed: list[bytes]) -> int:
    """How many of these are still to be found in the file, whole or in part."""
    found = path.read_bytes() + path.with_name(path.name + "-wal").read_bytes() if _wal(path) else path.read_bytes()
    return sum(blob[at : at + 48] in found for blob in packed for at in range(0, len(blob) - 48, 400))


def _wal(path: Path) -> int:
    wal = path.with_name(path.name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


def secret_log(path: Path, *, trimmed: bool) -> list[bytes]:
    """A log whose events cannot be packed, some trimmed where that is wanted; returns what it stored of them."""
    random = Random(1)

    async def fill(log: EventLog) -> None:
        for n in range(40):
            events = await log.append([reading(n, cause=random.randbytes(60).hex()) for _ in range(50)])
            await log.append([], Riders({}, [DeadLetter("home", events[0], "too large")]))

    async def trim(log: EventLog) -> None:
        await log._retention.cut(501)

    on_log(path, fill)
    packed = blobs(path)
    if trimmed:
        on_log(path, trim)
    return packed


def test_what_is_purged_is_nowhere_in_the_file_any_more(home: Path) -> None:
    path = home / "events.db"
    packed = secret_log(path, trimmed=True)
    assert leftovers(path, packed[:10]) > 50, "an ordinary trim leaves what it frees as it is"
    result = run("purge", "--all", "--yes", "--log", path)
    assert "1 500 events purged" in result.stdout
    assert "wear levelling" in result.stdout
    assert leftovers(path, packed) == 0
    assert not _wal(path)
    run("log", "--log", path)


def test_a_purge_of_a_live_log_overwrites_what_it_purges(home: Path) -> None:
    path = home / "events.db"
    packed = secret_log(path, trimmed=False)

    async def purge(log: EventLog) -> None:
        async for _ in log.purge(1501):
            await log.append([reading(0)])  # others go on
        assert log.first_offset == 1501
        assert [event.offset for event in (await log.read(1)).events][:1] == [1501]

    on_log(path, purge)
    assert leftovers(path, packed[:30]) == 0
    assert leftovers(path, packed[30:40]) > 50, "the oracle sees what is there"


def test_a_purge_that_was_killed_while_it_overwrote_free_pages_leaves_a_sound_log(log: Path) -> None:
    with sqlite3.connect(log) as raw:
        raw.execute("CREATE TABLE scrub(zeros BLOB)")
        raw.execute("INSERT INTO scrub VALUES (zeroblob(100000))")
    raw.close()
    run("log", "--log", log)
    with sqlite3.connect(log) as raw:
        assert raw.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'scrub'").fetchone() == (0,)
    raw.close()


def test_purging_what_a_sink_has_not_read_is_told_in_the_log(log: Path) -> None:
    result = run("purge", "--all", "--yes", "--log", log)
    assert "20 events purged; 9 events had not been read by every sink; the log begins at offset 21" in result.stdout

    async def look(log: EventLog) -> Any:
        (gap,) = (await log.read(21)).events
        return gap.type, gap.reason, gap.data["first"][-2:], gap.data["last"][-2:], gap.data["count"]

    assert on_log(log, look) == ("log.gap", "purged", "12", "20", 9)


def test_purge_before_a_place_keeps_what_follows(log: Path) -> None:
    assert "10 events purged" in run("purge", "--before", 14, "--yes", "--log", log).stdout
    assert len(run("export", "--log", log).stdout.splitlines()) == 10


def test_purge_asks_and_no_is_no(log: Path) -> None:
    result = run("purge", "--all", "--log", log, stdin="n\n", code=1)
    assert "Forget 20 events for good, offsets 1 to 20?" in result.stdout
    assert len(run("export", "--log", log).stdout.splitlines()) == 20
    run("purge", "--log", log, code=2)


# -- replay
# -------------------------------------------------------------------------------------------------------------


def test_replay_sends_recorded_events_marked_with_the_ids_they_had(
    log: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    yaml = log.parent / "gateway.yaml"
    yaml.write_text(
        "gateway: {id: greenhouse}\nsinks:\n  - {id: out, sink: console, events: {subjects: ['air/*']}}\n"
        "buffer: {path: events.db}\n",
        encoding="utf-8",
    )
    words = ("replay", "--from", 5, "--to", 18, "--sink", "out", "--config", yaml, "--log", log)
    assert run(*words).stdout == "8 events accepted by out\n"
    sent = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [int(event["sequence"]) for event in sent] == [5, 6, 7, 8, 9, 10, 13, 14]
    assert all(event["historical"] is True for event in sent)
    exported = [json.loads(line) for line in run("export", "--log", log).stdout.splitlines()]
    assert {event["id"] for event in sent} <= {event["id"] for event in exported}
    assert not any("historical" in event for event in exported)


def test_replay_says_what_is_wrong(log: Path) -> None:
    yaml = log.parent / "gateway.yaml"
    yaml.write_text("gateway: {id: greenhouse}\nsinks: [{id: out, sink: console}]\n", encoding="utf-8")
    words = ("replay", "--from", "earliest", "--config", yaml, "--log", log)
    assert "unknown sink 'uot' (did you mean 'out'?)" in run(*words, "--sink", "uot", code=2).stderr
    assert "expected original, max, or a factor" in run(*words, "--sink", "out", "--speed", "fast", code=2).stderr
