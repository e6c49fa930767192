"""A disk that takes no writes, and flushes that fail: delivery goes on, and the log has everything afterwards."""

import json

import pytest

from tests.brokers import Mosquitto
from tests.rigs.faulty import Flushes, LoopDisk
from tests.service import Service, configuration, subscribed, wait_until

BACK_WITHIN_S = 5.0


@pytest.fixture
def disk(tmp_path):
    disk = LoopDisk(tmp_path)
    yield disk
    disk.unmount()


@pytest.fixture
def broker():
    with Mosquitto() as broker:
        yield broker


def store(service):
    return service.status()["log"]["store"]


def held(subscriber):
    return [a.id for a in list(subscriber.arrivals) if json.loads(a.payload).get("durable") is False]


def refuse_and_return(service, subscriber, refuse, give_back):
    """Delivery before, during and after; returns the ids that were sent while they were in memory only."""
    wait_until(lambda: len(subscriber.arrivals) > 300, 20, "events arrive")
    refuse()
    wait_until(lambda: len(held(subscriber)) > 300, 20, "events arrive that no disk has taken")
    assert store(service) != "ok"
    assert service.status()["log"]["held"] > 0
    give_back()
    wait_until(lambda: store(service) == "ok", BACK_WITHIN_S + 1, "the disk takes events again")
    assert service.status()["log"]["held"] == 0
    arrived = len(subscriber.arrivals)
    wait_until(lambda: len(subscriber.arrivals) > arrived + 300, 20, "events arrive again")
    return held(subscriber)


def judge(service, subscriber, sent_from_memory):
    accepted = service.accepted()
    wait_until(lambda: subscriber.has(accepted), 20, "everything in the log arrives")
    verdict = subscriber.judge(accepted)
    assert not verdict.lost
    assert not verdict.foreign, "whatever was sent from memory is in the log under the same id"
    assert not verdict.inversions
    assert not verdict.chain_breaks
    assert set(sent_from_memory) <= set(accepted)
    assert len({i.split("-")[0] for i in accepted}) >= 3, "before, from memory, after"
    types = {json.loads(a.payload)["type"].split(".")[-2] for a in subscriber.arrivals}
    assert {"degraded", "recovered"} <= types
    return verdict


@pytest.mark.rig
@pytest.mark.mosquitto
def test_a_file_system_that_went_read_only_does_not_end_delivery(tmp_path, disk, broker, capsys):
    file = configuration(tmp_path, "stiff", f"mqtt://127.0.0.1:{broker.port}", 200)
    file.write_text(file.read_text().replace("path: stiff.db", "path: disk/stiff.db"))
    service = Service(file, tmp_path)
    service.log_path = disk.path / "stiff.db"
    with subscribed(broker.port, "stiff") as subscriber:
        service.start()
        sent = refuse_and_return(service, subscriber, disk.fails, disk.is_replaced)
        service.stop()
        verdict = judge(service, subscriber, sent)
    with capsys.disabled():
        print(
            f"\n  read-only: {len(sent)} events delivered from memory, all in the log under the same ids;"
            f" 0 lost of {verdict.accepted}, {verdict.duplicates} repeated"
        )


@pytest.mark.rig
@pytest.mark.mosquitto
def test_flushes_that_fail_lose_and_double_nothing(tmp_path, broker, capsys):
    flushes = Flushes(tmp_path)
    file = configuration(tmp_path, "leaky", f"mqtt://127.0.0.1:{broker.port}", 200)
    service = Service(file, tmp_path)
    service.environ |= flushes.environ
    with subscribed(broker.port, "leaky") as subscriber:
        service.start()
        sent = refuse_and_return(service, subscriber, flushes.fail, flushes.work)
        for _ in range(5):  # short ones: each is a reopening, and nobody notices
            flushes.fail()
            before = len(subscriber.arrivals)
            wait_until(lambda: store(service) != "ok", 10, "a commit meets it")
            flushes.work()
            wait_until(lambda: store(service) == "ok", BACK_WITHIN_S + 1, "the disk takes events again")
            wait_until(lambda before=before: len(subscriber.arrivals) > before + 100, 20, "events arrive")
        sent = held(subscriber)
        service.kill()
        verdict = judge(service, subscriber, sent)
    with capsys.disabled():
        print(
            f"\n  failed flushes, then kill -9: 0 lost of {verdict.accepted}, {len(sent)} sent from memory,"
            f" {verdict.duplicates} repeated"
        )
