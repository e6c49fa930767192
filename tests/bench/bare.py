"""The bare baseline: a socket, packets that were encoded before, a window, and nothing else. A process of its own.

What the gateway adds to this is what it costs: acquisition, normalisation, the log on the disk, encoding, cursors.
"""

from __future__ import annotations

import itertools
import pickle
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, monotonic_ns

from tests.bench.child import Orders, obey
from tests.bench.wire import NUMBERS, Arrival, connected, publish

VALUE = re.compile(rb'"value":\d+')


def flood(wire: socket.socket, packets: list[bytes], window: int) -> None:
    """All packets, as fast as the window lets them go."""
    sent = answered_bytes = 0
    while answered_bytes < 4 * len(packets):  # a PUBACK that says no more than "taken" has four bytes
        room = window - (sent - answered_bytes // 4)
        if room > 0 and sent < len(packets):
            wire.sendall(b"".join(packets[sent : sent + room]))
            sent += min(room, len(packets) - sent)
        answered_bytes += len(wire.recv(1 << 16))


def paced(wire: socket.socket, arrivals: list[Arrival], per_s: int) -> None:
    """One message at a time; its value says when it left, in microseconds of the monotonic clock."""
    reader = threading.Thread(target=lambda: [None for _ in iter(lambda: wire.recv(1 << 16), b"")], daemon=True)
    reader.start()
    for n, wait in enumerate(beats(per_s, len(arrivals))):
        wait()
        topic, rest, _ = arrivals[n]
        stamped = VALUE.sub(b'"value":%d' % (monotonic_ns() // 1000), rest)
        wire.sendall(publish(topic, n % NUMBERS + 1, stamped))


def beats(per_s: int, count: int) -> Iterator[Callable[[], object]]:
    """A wait for each message: until its place on a schedule that does not slip."""
    pause, begun = threading.Event(), monotonic()
    for n in range(count):
        due = begun + n / per_s
        yield lambda due=due: pause.wait(max(0.0, due - monotonic()))


def main(port: int, recorded: Path, window: int, per_s: int) -> None:
    arrivals: list[Arrival] = pickle.loads(recorded.read_bytes())
    packets = [publish(a.topic, n, a.rest) for a, n in zip(arrivals, itertools.cycle(range(1, NUMBERS + 1)))]
    wire = connected(port, "bench-bare")
    orders = Orders()
    obey(orders, (lambda: paced(wire, arrivals, per_s)) if per_s else (lambda: flood(wire, packets, window)))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
