-- Version 2: consumers that a program or a person names, and the ledger of what became of each offset.
-- Applied to a log of version 1, and behind it to a new one.

-- What a cursor's consumer did with the offsets it passed: MessagePack, `ledger.Ledger`. NULL: counted from here on.
ALTER TABLE cursor ADD COLUMN ledger BLOB;

-- Named consumers beside the sinks of the YAML. `spec` is MessagePack of `words.ConsumerSpec`: where it began, what it
-- wants, how it acknowledges. `used` (ns UTC) is when it last asked; 0 where the clock was not to be trusted.
CREATE TABLE consumer (
    name TEXT PRIMARY KEY,
    spec BLOB NOT NULL,
    used INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events that a consumer which acknowledges one by one was given and has not acknowledged. `due` (ns UTC) is when one is
-- given again.
CREATE TABLE pending (
    consumer TEXT NOT NULL,
    offset INTEGER NOT NULL,
    deliveries INTEGER NOT NULL,
    due INTEGER NOT NULL,
    PRIMARY KEY (consumer, offset)
) STRICT, WITHOUT ROWID;
