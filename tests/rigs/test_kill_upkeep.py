"""kill -9 in the middle of trimming, thinning, migrating and checkpointing: nothing accepted is lost, restart clean."""

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from gateway.clock import NS_PER_S, SystemClock
from gateway.event import THINNED
from gateway.eventlog import EventLog, opening
from tests.rigs.upkeep import IN_UPKEEP, SIZE_BYTES, START_NS, event, value_of

KILLS = 40
ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/eventlog/fixtures"


def run_and_die(mode, path, seed, *, after_s=None):
    """The lines that a child printed before it was killed: by its fuse, or from outside after this time."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.rigs.upkeep", mode, str(path), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    if after_s is not None:
        first = child.stdout.readline()
        threading.Event().wait(after_s)
        child.kill()
    rest, _ = child.communicate(timeout=60)
    return ([first] if after_s is not None else []) + rest.splitlines(keepends=True)


async def found_in(path, when_full):
    """All events of a log, and what it lost unread: told, and counted to be told."""
    log = await EventLog.open(path, SystemClock(), size_bytes_max=SIZE_BYTES, when_full=when_full)
    try:
        owed = log._retention._loss
        lost = [(owed.first, owed.last)] if owed else []
        events, offset = [], log.first_offset
        while offset < log.next_offset:
            page = await log.read(offset, 5000)
            assert page.gap is None
            events, offset = events + page.events, page.next_offset
        lost += [(int(e.data["first"]), int(e.data["last"])) for e in events if e.type == "log.gap"]
        return log.first_offset, events, lost
    finally:
        await log._head.store.close()  # a reader that leaves the log as it found it
        log._lock.release()


def judge(path, mode, accepted):
    """Every accepted event is in the log as it was, in a sum that is right, or in what the log says it lost."""
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()
    first, events, lost = asyncio.run(found_in(path, "thin" if mode == "thin" else "evict"))
    numbers = []
    for one in events:
        if one.type == "log.gap":
            continue
        k = (one.time - START_NS) // NS_PER_S
        if one.type == THINNED:
            summed = [n for n in range(k, k - 2 * one.stands_for - 2, -1) if n % 10][: one.stands_for]
            values = [value_of(n) for n in summed]
            assert (one.data["min"], one.data["max"]) == (min(values), max(values))
            assert one.data["mean"] == pytest.approx(sum(values) / len(values))
            numbers += summed
        else:
            as_made = event(k, bulky=mode != "thin")
            assert (one.type, one.value, one.time) == (as_made.type, as_made.value, as_made.time)
            numbers.append(k)
    assert sorted(numbers) == list(range(min(numbers), max(numbers) + 1)), "each once, in the log or in a sum"
    assert max(numbers) >= accepted, "what was accepted is there"
    named = {offset for begin, end in lost for offset in range(begin, end + 1)}
    assert set(range(1, first)) <= named, "what went unread is named"
    return first, sum(one.type == THINNED for one in events), path.stat().st_size


@pytest.mark.rig
@pytest.mark.parametrize("mode", ["evict", "thin"])
def test_a_kill_in_the_middle_of_making_room_loses_nothing(tmp_path, capsys, mode):
    path = tmp_path / "events.db"
    run_and_die(mode, path, "fill", after_s=3.0)
    (tmp_path / "ready").touch()  # from now on the fuse is lit
    accepted = in_the_middle = 0
    for seed in range(KILLS):
        lines = run_and_die(mode, path, f"{mode}/{seed}")
        in_the_middle += IN_UPKEEP in lines
        accepted = max([accepted, *(int(line) for line in lines if line.strip().isdigit())])
        first, sums, size = judge(path, mode, accepted)
        assert size <= SIZE_BYTES
    with capsys.disabled():
        print(
            f"\n  {KILLS} kills while room was made ({mode}), {in_the_middle} in the middle of SQLite's work: "
            f"{accepted} events accepted, first offset {first}, {sums} sums, 0 lost without a word, integrity ok"
        )
    assert in_the_middle == KILLS
    assert sums if mode == "thin" else first > 1


@pytest.mark.rig
def test_a_kill_while_the_write_ahead_log_is_folded_in_loses_nothing(tmp_path, capsys):
    """Each commit is a fifth of the write-ahead log, so that is folded in all the time."""
    path, random, accepted = tmp_path / "events.db", Random(20261123), 0
    for seed in range(KILLS // 2):
        lines = run_and_die("checkpoint", path, seed, after_s=random.uniform(0.0, 0.5))
        accepted = max([accepted, *(int(line) for line in lines if line.endswith("\n"))])
        judge(path, "checkpoint", accepted)
    with capsys.disabled():
        print(f"\n  {KILLS // 2} kills of a log that checkpoints: {accepted} events accepted, 0 lost, integrity ok")


@pytest.mark.rig
def test_a_kill_in_the_middle_of_a_migration_leaves_the_old_log_or_the_new_one(tmp_path, capsys):
    fates = {"old": 0, "new": 0}
    in_the_middle = 0
    for version in range(1, opening.VERSION):
        for seed in range(KILLS):
            path = tmp_path / f"{version}-{seed}.db"
            shutil.copy(FIXTURES / f"log_v{version}.db", path)
            in_the_middle += IN_UPKEEP in run_and_die("migrate", path, f"migrate/{version}/{seed}")
            with sqlite3.connect(path) as raw:
                (found,) = raw.execute("PRAGMA user_version").fetchone()
            raw.close()
            assert version <= found <= opening.VERSION
            fates["old" if found < opening.VERSION else "new"] += 1
            _, events, _ = asyncio.run(found_in(path, "evict"))
            assert [one.offset for one in events] == list(range(1, 27))
    with capsys.disabled():
        print(f"\n  {sum(fates.values())} migrations, {in_the_middle} killed in the middle: {fates}, all is there")
    assert in_the_middle > KILLS // 2
    assert fates["old"]
