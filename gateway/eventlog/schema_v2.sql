-- Version 2: consumers that a program or a person names, and the ledger of what became of each offset.
-- Applied to a log of version 1, and behind it to a new one.

-- What a cursor's consumer did with the offsets it passed: MessagePack, `ledger.Ledger`. NULL: counted from here on.
ALTER TABLE cursor ADD COLUMN ledger BLOB;

-- Named consumers beside the sinks of the YAML. `spec` is MessagePack of `words.ConsumerSpec`: what it wants, how it
-- acknowledges. Everything from `next_offset` on is new to it; `previous` is the last offset of its selection before that.
-- `open` is MessagePack of what lies before and is not settled (`words.ConsumerState.open`), NULL for nothing: position
-- and open events change together, and a row of its own for each would be written as often as they are. `used` (ns UTC)
-- is when somebody last asked; 0 where the clock was not to be trusted.
CREATE TABLE consumer (
    name TEXT PRIMARY KEY,
    spec BLOB NOT NULL,
    next_offset INTEGER NOT NULL,
    previous INTEGER,
    open BLOB,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
