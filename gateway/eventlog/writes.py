"""What is written to the log, in SQL.

A `Statement` is a text and its parameters. Whoever changes something lists all that belong together, and
`Store.transaction` runs all or none of them. The tables are in `schema_v*.sql`, what is asked of them in `queries`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from gateway.errors import LogCorrupt

Statement = tuple[str, Sequence[Any]]

DEAD_LETTERS_MAX = 10_000
"""Per consumer; beyond it the oldest go. They were refused for good, and are kept for a person to look at."""

HoleKind = Literal["hole", "lost", "ring"]
HOLES: Final[tuple[HoleKind, ...]] = ("hole", "lost", "ring")
"""Keys of `meta`, before the first offset of a range without events; the value is the last offset. Damage that a
`log.gap` told of, damage that is still to be told, what overflowed in memory."""

# -- what is recorded -------------------------------------------------------------------------------------------------

INSERT_RUN = "INSERT INTO run(nonce, boot, first_offset, anchor) VALUES (?, ?, ?, ?)"
INSERT_BATCH = (
    "INSERT INTO batch(base_offset, last_offset, count, run, recorded, mono, rule_time, codec, crc, records) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_RUN_ONCE = (
    "INSERT INTO run(nonce, boot, first_offset, anchor) SELECT ?1, ?2, ?3, ?4 "
    "WHERE NOT EXISTS (SELECT 1 FROM run WHERE nonce = ?1)"
)
INSERT_BATCH_ONCE = (
    "INSERT OR IGNORE INTO batch(base_offset, last_offset, count, run, recorded, mono, rule_time, codec, crc, records) "
    "VALUES (?, ?, ?, (SELECT id FROM run WHERE nonce = ?), ?, ?, ?, ?, ?, ?)"
)
"""Of a batch that may be there already: offsets are given once, so its base offset is its name."""

# -- what rides along, and what a reader leaves -----------------------------------------------------------------------

UPSERT_CURSOR = (
    "INSERT INTO cursor(name, next_offset, previous, ledger) VALUES (?, ?, ?, ?) ON CONFLICT(name) DO UPDATE SET "
    "next_offset = excluded.next_offset, previous = excluded.previous, ledger = excluded.ledger"
)
DROP_CURSOR = "DELETE FROM cursor WHERE name = ?"
UPSERT_CONSUMER = (
    "INSERT INTO consumer(name, spec, next_offset, previous, open, used) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT(name) DO UPDATE SET spec = excluded.spec, next_offset = excluded.next_offset, "
    "previous = excluded.previous, open = excluded.open, used = excluded.used"
)
DROP_CONSUMER = "DELETE FROM consumer WHERE name = ?"
INSERT_DEAD_LETTER = (
    "INSERT INTO dead_letter(consumer, offset, time, reason, event) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT(consumer, offset) DO UPDATE SET time = excluded.time, reason = excluded.reason"
)
LIMIT_DEAD_LETTERS = (
    "DELETE FROM dead_letter WHERE consumer = ?1 AND offset <= "
    "(SELECT offset FROM dead_letter WHERE consumer = ?1 ORDER BY offset DESC LIMIT 1 OFFSET ?2)"
)
DROP_DEAD_LETTERS = "DELETE FROM dead_letter WHERE consumer = ?"
INSERT_CHECKPOINT = "INSERT OR REPLACE INTO checkpoint(offset, codec, crc, state) VALUES (?, ?, ?, ?)"
LIMIT_CHECKPOINTS = (
    "DELETE FROM checkpoint WHERE offset NOT IN (SELECT offset FROM checkpoint ORDER BY offset DESC LIMIT ?)"
)

# -- what is forgotten, or summed up ----------------------------------------------------------------------------------

TRIM = "DELETE FROM batch WHERE last_offset < ?"
TRIM_RUNS = "DELETE FROM run WHERE id < (SELECT min(run) FROM batch)"
TRIM_ANCHORS = "DELETE FROM meta WHERE key LIKE 'anchor/%' AND substr(key, 8) NOT IN (SELECT boot FROM run)"
PURGE = ("DELETE FROM dead_letter WHERE offset < ?", "DELETE FROM checkpoint WHERE offset <= ?")
DROP_ROWS = "DELETE FROM batch WHERE base_offset >= ? AND base_offset < ?"
REWRITE = (  # of several neighbours the last is left: it keeps its instants and its run
    "UPDATE batch SET base_offset = ?, count = ?, codec = ?, crc = ?, records = ? WHERE base_offset = ?"
)

# -- single values: `meta` --------------------------------------------------------------------------------------------

KEEP = "INSERT INTO meta(key, value) VALUES (?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
FORGET = "DELETE FROM meta WHERE key = ?"
KEEP_NEXT_OFFSET = (
    "INSERT INTO meta(key, value) VALUES ('next_offset', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)
UPSERT_ANCHOR = (
    "INSERT INTO meta(key, value) VALUES ('anchor/' || ?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)
KEEP_LOSS = "INSERT INTO meta(key, value) VALUES ('loss', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
FORGET_LOSS = "DELETE FROM meta WHERE key = 'loss'"
KEEP_THINNED = (
    "INSERT INTO meta(key, value) VALUES ('thinned', ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)
MARK_UNUSED = (
    "INSERT INTO meta(key, value) VALUES ('unused/' || ?, ?) ON CONFLICT(key) DO UPDATE SET value = excluded.value"
)
UNMARK_UNUSED = "DELETE FROM meta WHERE key = 'unused/' || ?"

# -- whole rows of any table, for copies and salvage ------------------------------------------------------------------

_TABLES: Final = frozenset({"run", "batch", "cursor", "consumer", "dead_letter", "checkpoint", "meta"})


def insert_rows(table: str, columns: Sequence[str]) -> str:
    """What writes a row of that table, the values in the order of `columns`.

    Raises:
        LogCorrupt: no table or columns of ours.
    """
    if table not in _TABLES or not all(name.isidentifier() for name in columns):
        raise LogCorrupt(f"no part of a log: {table!r} with the columns {', '.join(map(repr, columns))}")
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table}({', '.join(columns)}) VALUES ({places})"  # noqa: S608 - checked above


def put(table: str, row: Sequence[Any]) -> Statement:
    """Inserts a whole row, in the order of the columns, unless one with its key is there."""
    marks = ", ".join("?" * len(row))
    return (f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608 - a name of ours
