"""`Connection.records`: commits as they were recorded, over the socket and in one's own process."""

import sqlite3
from contextlib import closing

import msgspec

from gateway.event import Event


async def read(connection, first, upto):
    records = connection.records(first, upto)
    return [events async for events in records.commits()], records.damaged


async def test_records_come_commit_by_commit_with_the_boot_clock(world, connection):
    first = await world.append(Event("reading", "air/temperature", 5_000, 77, 21.5, "Cel", "good"))
    second = await world.fill(3)
    commits, damaged = await read(connection, 1, 5)
    assert (commits, damaged) == ([first, second], 0)
    assert (commits[0][0].mono, commits[0][0].boot) == (77, world.clock.boot_id)


async def test_a_range_may_begin_and_end_within_a_commit(world, connection):
    await world.fill(10)
    await world.fill(10)
    commits, _ = await read(connection, 8, 13)
    assert [[event.offset for event in events] for events in commits] == [[8, 9, 10], [11, 12]]
    assert (await read(connection, 21, 21))[0] == []


async def test_a_log_of_many_pages_is_read_whole(world, connection):
    for _ in range(150):
        await world.fill(2)
    commits, _ = await read(connection, 1, 301)
    assert [event.offset for events in commits for event in events] == list(range(1, 301))


async def test_each_run_is_named(world, connection):
    await world.fill(2)
    before = world.log.run
    await world.stop()
    await world.open()
    await world.fill(2)
    commits, _ = await read(connection, 1, 5)
    assert [{event.run for event in events} for events in commits] == [{before}, {world.log.run}]


async def test_what_cannot_be_read_is_counted(world, connection):
    await world.fill(3)
    await world.fill(2)
    with closing(sqlite3.connect(world.path)) as raw, raw:
        raw.execute("UPDATE batch SET crc = crc + 1 WHERE base_offset = 1")
    commits, damaged = await read(connection, 1, 6)
    assert (len(commits), damaged) == (1, 3)


async def test_times_are_those_that_were_told_then(world, connection):
    told = Event("reading", "air/temperature", 5_000, 77, 21.5, "Cel", "good", synced=False)
    await world.append(told)
    ((event,),), _ = await read(connection, 1, 2)
    assert (event.time, event.synced) == (5_000, False)
    assert msgspec.structs.replace(event, offset=0, run="", boot="", recorded=0) == told
