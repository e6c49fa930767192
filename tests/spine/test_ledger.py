"""Every offset is delivered, not selected, dead-lettered, evicted or pending, and exactly one of these."""

from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.event import Event
from gateway.eventlog import EventLog
from gateway.ledger import OTHER, REASONS_MAX, UNACCOUNTED, Book, Ledger
from gateway.selection import Selection
from tests.spine.conftest import PlayedSink, Spine, until


def test_each_offset_is_counted_once_the_cursor_passes_it():
    book = Book(Ledger(5))
    book.delivered(6)
    book.not_selected(5)
    book.dead_lettered(7, "too large: 900 bytes")
    book.evicted(8, 10, "trimmed")
    assert book.ledger == Ledger(5), "nothing is counted ahead of the cursor"
    book.close(8)
    assert book.ledger == Ledger(5, 1, 1, {"too large": 1})
    book.close(10)
    book.close(12)
    assert book.ledger == Ledger(5, 1, 1, {"too large": 1}, {"trimmed": 3, UNACCOUNTED: 1})
    assert book.ledger.next_offset == 12


def test_what_is_sent_again_is_counted_once():
    book = Book(Ledger(1))
    book.delivered(2)
    book.not_selected(3)
    book.begin_again()
    book.delivered(1)
    book.dead_lettered(2, "refused")
    book.not_selected(3)
    book.close(4)
    assert book.ledger == Ledger(1, 1, 1, {"refused": 1})


def test_reasons_are_bounded():
    book = Book(Ledger(1))
    for offset in range(1, REASONS_MAX + 6):
        book.dead_lettered(offset, f"reason {offset} (detail)")
    book.close(REASONS_MAX + 6)
    assert len(book.ledger.dead_lettered) == REASONS_MAX + 1
    assert book.ledger.dead_lettered[OTHER] == 5
    assert book.ledger.next_offset == REASONS_MAX + 6


def test_memory_does_not_grow_with_what_nobody_wants():
    book = Book(Ledger(1))
    for offset in range(1, 100_001):
        book.not_selected(offset)
    assert len(book._stretches) == 1


FATES = st.lists(st.sampled_from(["delivered", "not_selected", "refused", "evicted"]), max_size=60)


@given(fates=FATES, steps=st.lists(st.integers(0, 60)), first=st.integers(1, 10**12), data=st.data())
def test_the_counts_always_add_up_to_the_cursor(fates, steps, first, data):
    """Whatever becomes of each, in whatever order they settle, wherever the cursor halts."""
    book = Book(Ledger(first))
    settled = [n for n, fate in enumerate(fates) if fate in {"delivered", "refused"}]
    for n, fate in enumerate(fates):
        if fate == "not_selected":
            book.not_selected(first + n)
        elif fate == "evicted":
            book.evicted(first + n, first + n, "trimmed")
    for n in data.draw(st.permutations(settled)):
        if fates[n] == "delivered":
            book.delivered(first + n)
        else:
            book.dead_lettered(first + n, "refused")
    for step in sorted({min(step, len(fates)) for step in steps} | {len(fates)}):
        book.close(first + step)
        kept = msgspec.msgpack.decode(msgspec.msgpack.encode(book.ledger), type=Ledger)
        assert kept == book.ledger
        done = fates[:step]
        assert (kept.next_offset, kept.delivered, kept.not_selected) == (
            first + step,
            done.count("delivered"),
            done.count("not_selected"),
        )
        assert sum(kept.dead_lettered.values()) == done.count("refused")
        assert kept.evicted == ({"trimmed": done.count("evicted")} if "evicted" in done else {})


def readings(count):
    return [Event("reading", f"device/{'ab'[n % 2]}", 1, 1, float(n), "Cel", "good") for n in range(count)]


class Always(list):
    """An answer that is given each time: an event that is sent again after a kill is refused again."""

    def __init__(self, answer):
        super().__init__([answer])
        self.given = False

    def pop(self, _index):
        self.given = True
        return self[0]


async def test_the_ledger_survives_cuts_kills_refusals_and_trims(tmp_path):
    """The sink wants every second event. It refuses some, its link breaks, the process dies, the log is trimmed."""
    clock, random, sink = SystemClock(), Random(7), PlayedSink()
    sink.verdicts = {offset: Always(("refused", "too large: really")) for offset in range(7, 400, 40)}
    trimmed = range(0)
    for life in range(6):
        log = await EventLog.open(tmp_path / "events.db", clock)
        if life == 3:  # while nobody looked
            at = log.cursors["home"].next_offset
            upto = min(at + 20, log.next_offset - 1)
            await log._retention.cut(upto)
            trimmed = range(at, log.first_offset)
        sink.sessions.clear()
        sink.mute = life == 2
        spine = Spine(log, clock, sink, selection=Selection(subjects=["device/a"]))
        spine.recorder.offer(readings(60))
        for _ in range(3):
            await until(lambda: sink.sessions and sink.sessions[-1].alive)
            sink.cut()
            spine.recorder.offer(readings(random.randrange(5)))
        await spine.recorder.flush()
        if life in {1, 2}:
            await spine.kill()
        else:
            await until(lambda log=log, it=spine: it.forwarder.cursor.next_offset >= log.next_offset)
            await spine.stop()
    log = await EventLog.open(tmp_path / "events.db", clock)
    kept = log.cursors["home"].ledger
    everything = log.next_offset - 1
    await log.close()
    assert kept.next_offset == log.cursors["home"].next_offset == everything + 1
    assert len(trimmed) > 0
    assert kept.evicted == {"trimmed": len(trimmed)}, "also those whose acknowledgement the kill forgot"
    assert kept.delivered == len(set(sink.offsets) - set(trimmed)), "events that came twice count once"
    dead = {offset for offset, answer in sink.verdicts.items() if answer.given} - set(trimmed)
    assert kept.dead_lettered == {"too large": len(dead)}
    assert kept.delivered + kept.not_selected + len(dead) + len(trimmed) == everything
