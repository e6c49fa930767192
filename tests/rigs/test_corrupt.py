"""A gateway whose log was damaged while it was away starts, delivers all that can be read, and names the rest."""

import json
import os

import pytest

from tests.brokers import Mosquitto, free_port
from tests.service import Service, configuration, subscribed, wait_until

JUMP = 10**9


def spoil(path, at, size):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(size))


DAMAGE = {
    "the first page is gone": lambda path: spoil(path, 0, 1024),
    "4 KiB in the middle are gone": lambda path: spoil(path, path.stat().st_size // 2048 * 1024, 4096),
    "the second half is gone": lambda path: os.truncate(path, path.stat().st_size // 2),
}


@pytest.mark.rig
@pytest.mark.mosquitto
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_what_can_be_read_is_delivered_and_the_rest_is_named(tmp_path, damage, capsys):
    port = free_port()
    service = Service(configuration(tmp_path, "torn", f"mqtt://127.0.0.1:{port}", 500), tmp_path)
    service.start()
    wait_until(lambda: service.status()["log"]["next_offset"] > 3000, 30, "a backlog gathers while the broker is away")
    service.stop()
    before = service.accepted()
    damage(service.log_path)
    with Mosquitto(port=port), subscribed(port, "torn") as subscriber:
        service.start()

        def gaps():
            events = [json.loads(arrival.payload) for arrival in list(subscriber.arrivals)]
            return [event["data"] for event in events if event["type"].endswith("log.gap.v1")]

        wait_until(lambda: any(int(g["last"]) - int(g["first"]) > JUMP // 2 for g in gaps()), 30, "the loss is told")
        status = service.status()
        service.stop()
    arrived = {arrival.id for arrival in subscriber.arrivals}
    named = {n for gap in gaps() for n in range(int(gap["first"]), min(int(gap["last"]), len(before)) + 1)}
    unnamed = [i for i in before if i not in arrived and int(i.split("-")[1]) not in named]
    (kept,) = [file for file in tmp_path.glob("torn.db.corrupt-*") if not file.name.endswith("-wal")]
    with capsys.disabled():
        there = sum(i in arrived for i in before)
        print(f"\n  {there} of {len(before)} events arrived, the others are named; the file is kept as {kept.name}")
    assert unnamed == []
    assert status["log"]["events"] < 2 * len(before), "the jump of the offsets is no event"
    assert "is damaged" in service.stderr.read_text()
    fresh = [arrival for arrival in subscriber.arrivals if arrival.sequence > JUMP]
    assert fresh, "and it goes on"
