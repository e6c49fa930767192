"""The bench's own parts: a wrong ruler measures nothing."""

from types import SimpleNamespace

from tests.bench import runs
from tests.bench.disk import COMMITS, PER_COMMIT, batches
from tests.bench.profile import part_of
from tests.bench.table import Figure, breakdown, missed, table
from tests.bench.wire import Arrival, Subscriber, number_at, packed_number, publish
from tests.service import ProcessIo


class Played:
    def __init__(self):
        self.sent = b""

    def sendall(self, data):
        self.sent += data


def listening():
    ear = Subscriber.__new__(Subscriber)
    ear.arrivals, ear._rest, ear._wire = [], b"", Played()
    return ear


def test_numbers_of_every_length_come_back():
    for value in (0, 127, 128, 16_383, 16_384, 2_097_151):
        assert number_at(packed_number(value) + b"\xff", 0) == (value, len(packed_number(value)))


def test_messages_are_found_and_acknowledged_however_the_bytes_are_cut():
    topic, rests = b"\x00\x03a/b", [b"\x00" + bytes([n]) * (40 * n) for n in range(1, 6)]
    stream = b"".join(publish(topic, 300 + n, rest) for n, rest in enumerate(rests))
    for size in (1, 2, 7, 130, len(stream)):
        ear = listening()
        for at in range(0, len(stream), size):
            ear._feed(stream[at : at + size])
        assert [(a.topic, a.rest) for a in ear.arrivals] == [(topic, rest) for rest in rests]
        assert [a.payload for a in ear.arrivals] == [rest[1:] for rest in rests]
        assert ear._wire.sent == b"".join(b"\x40\x02" + (300 + n).to_bytes(2, "big") for n in range(5))


def test_only_gates_fail_the_bench():
    figures = [
        Figure("latency", "20 ms", bar="<= 3", ok=False),
        Figure("lost", "1", bar="0", ok=False, gate=True),
        Figure("bytes", "80 B", "416 B", 0.19, "<= 300", ok=True, gate=True),
        Figure("rate", "1", gate=True),
    ]
    assert missed(figures) == ["lost"]
    lines = table(figures).splitlines()
    assert lines[1].endswith("missed, not judged")
    assert lines[2].endswith("MISSED")
    assert lines[3].split() == ["bytes", "80", "B", "416", "B", "0.19", "<=", "300", "ok"]


def test_the_breakdown_is_per_event_and_adds_up():
    text = breakdown({"the event loop": 0.3, "SQLite's threads": 0.1}, {"wire": 0.25, "encode": 0.75}, 10_000)
    assert "30.0 us  the event loop" in text
    assert "22.5 us   75 %  encode" in text
    assert text.index("encode") < text.index("wire")


def test_a_frame_belongs_to_the_innermost_part_of_the_story():
    def frame(file, back=None):
        return SimpleNamespace(f_code=SimpleNamespace(co_filename=file), f_back=back)

    session = frame("/x/gateway/sinks/mqtt_session.py", frame("/x/asyncio/events.py"))
    assert part_of(session) == "session"
    assert part_of(frame("/x/gateway/event.py", session)) == "encode"
    assert part_of(frame("/x/json/encoder.py", session)) == "session"
    assert part_of(frame("/x/asyncio/events.py")) == "event loop"


def test_the_events_of_the_disk_measurement_differ_as_readings_do():
    made = batches()
    assert len(made) == COMMITS
    assert {len(batch) for batch in made} == {PER_COMMIT}
    assert len({event.subject for event in made[0]}) == PER_COMMIT
    assert len({event.value for batch in made for event in batch}) > 500


def arrival(sequence, at_s, value=0):
    return Arrival(b"", b'\x00{"id":"5f0c-%d","data":{"value":%d}}' % (sequence, value), at_s)


def test_what_is_lost_repeated_or_out_of_order_is_counted():
    before, after = ProcessIo(100, 1000, 1.0, 5), ProcessIo(900, 1400, 3.0, 9)
    arrivals = [arrival(n, at_s) for n, at_s in ((7, 10.0), (9, 10.5), (8, 11.0), (8, 12.0))]
    run = runs._judged(arrivals, 4, before, after, "", gateway=True)
    assert (run.lost, run.duplicates, run.inversions) == (1, 1, 1)
    assert (run.per_s, run.cpu_us, run.written_bytes, run.rss_kib) == (1.5, 500_000.0, 200.0, 9)


def test_latency_is_from_the_value_to_the_arrival():
    idle = ProcessIo(0, 0, 0.0, 0)
    run = runs._judged([arrival(1, 10.0, 9_997_500)], 1, idle, idle, "", gateway=True)
    assert [round(ms, 6) for ms in run.latencies_ms] == [2.5]
    assert runs.quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 3.0
    assert runs.quantile([1.0, 2.0], 0.99) == 2.0
