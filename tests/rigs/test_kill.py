"""kill -9 at random moments: what was accepted arrives, once or again with the same id, in order."""

from random import Random

import pytest

from tests.brokers import Mosquitto
from tests.service import Service, Tail, configuration, subscribed, wait_until

KILLS = 20
EVENTS_PER_S = 500


@pytest.mark.rig
@pytest.mark.mosquitto
def test_no_event_seen_on_tail_is_lost_by_20_kills_at_500_events_a_second(tmp_path, mosquitto: Mosquitto, capsys):
    random = Random(20261123)
    file = configuration(tmp_path, "killed", f"mqtt://127.0.0.1:{mosquitto.port}", EVENTS_PER_S)
    service, seen = Service(file, tmp_path), []
    with subscribed(mosquitto.port, "killed") as subscriber:
        for _ in range(KILLS):
            service.start()
            tail = Tail(service, len(service_offsets(seen)) + 1)
            wait_until(lambda tail=tail: tail.seen, 10, "the tail shows events")
            pause = random.uniform(0.0, 2.0)
            reached = len(subscriber.arrivals) + pause * EVENTS_PER_S
            wait_until(lambda reached=reached: len(subscriber.arrivals) >= reached, 20, "events flow")
            service.kill()
            seen += tail.end()
        service.start()
        service.stop()
        accepted = service.accepted()
        wait_until(lambda: subscriber.has(accepted), 10, "everything accepted arrives")
        verdict = subscriber.judge(accepted)
    with capsys.disabled():
        print(
            f"\n  {KILLS} kills at {EVENTS_PER_S}/s: accepted {verdict.accepted}, seen on tail {len(set(seen))}, "
            f"arrived {verdict.arrived}, duplicates {verdict.duplicates} (same ids), lost {len(verdict.lost)}, "
            f"out of order {verdict.inversions}, integrity ok"
        )
    assert not set(seen) - set(accepted), "what tail showed is in the log"
    assert len(set(seen)) > KILLS * 10, "the rig saw enough to mean something"
    assert verdict.clean(), verdict
    assert verdict.duplicates < KILLS * 5 * EVENTS_PER_S


def service_offsets(ids: list[str]) -> set[int]:
    return {int(i.split("-")[1]) for i in ids}
