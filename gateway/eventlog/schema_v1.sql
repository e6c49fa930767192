-- Version 1 of the event log. Never edited once released: a change is a new file and a migration.
-- No secondary index and no random key: either multiplies the bytes that reach the card by eight and more.

-- One opening of the log for writing. `nonce` makes event ids unique (64 random bits, hex); `anchor` is wall clock minus
-- CLOCK_BOOTTIME in nanoseconds, as known when the run began.
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    nonce TEXT NOT NULL,
    boot TEXT NOT NULL,
    first_offset INTEGER NOT NULL,
    anchor INTEGER NOT NULL
) STRICT;

-- One group commit. `recorded` (UTC) and `mono` (CLOCK_BOOTTIME) are the instant of the commit in nanoseconds, `rule_time`
-- is max(previous rule_time, mono + anchor): it never runs backwards. `crc` is CRC-32 of `records` as stored.
CREATE TABLE batch (
    base_offset INTEGER PRIMARY KEY,
    last_offset INTEGER NOT NULL,
    count INTEGER NOT NULL,
    run INTEGER NOT NULL,
    recorded INTEGER NOT NULL,
    mono INTEGER NOT NULL,
    rule_time INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    records BLOB NOT NULL
) STRICT;

-- How far each consumer has read. `previous` is the last offset of its selection before `next_offset`.
CREATE TABLE cursor (
    name TEXT PRIMARY KEY,
    next_offset INTEGER NOT NULL,
    previous INTEGER
) STRICT, WITHOUT ROWID;

-- Snapshots of what is folded from the log; the newest one bounds what a start must read again.
CREATE TABLE checkpoint (
    offset INTEGER PRIMARY KEY,
    codec INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    state BLOB NOT NULL
) STRICT;

-- Events that a consumer gave up on, each with its own copy: retention may trim the log behind it.
CREATE TABLE dead_letter (
    consumer TEXT NOT NULL,
    offset INTEGER NOT NULL,
    time INTEGER NOT NULL,
    reason TEXT NOT NULL,
    event BLOB NOT NULL,
    PRIMARY KEY (consumer, offset)
) STRICT, WITHOUT ROWID;

-- `next_offset`: written when a trim takes the newest batch, so that no offset is ever given twice.
-- `anchor/<boot>`: what the records of that boot told of its wall clock, MessagePack of `anchors.BootAnchor`.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
