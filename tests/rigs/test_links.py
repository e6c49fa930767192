"""Dead links: nothing lost, nothing out of order, and delivery moves within 5 s of the link's return.

Stopping the broker does not find these bugs; a link that swallows bytes and says nothing does.
"""

import asyncio
from time import monotonic

import pytest

from tests.brokers import Mosquitto
from tests.faultproxy import FaultProxy
from tests.service import Service, Subscriber, configuration, wait_until

MOVES_WITHIN_S = 5.0
CAUGHT_UP_S = 3.0
CASES = [(mode, rate) for mode in ("refuse", "blackhole") for rate in (20, 500)]


@pytest.mark.rig
@pytest.mark.mosquitto
@pytest.mark.parametrize("away_s", [5, 15, 60])
async def test_nothing_is_lost_or_disordered_while_the_link_is_away(tmp_path, mosquitto: Mosquitto, capsys, away_s):
    rows = await asyncio.gather(*(away(tmp_path, mosquitto.port, mode, rate, away_s) for mode, rate in CASES))
    with capsys.disabled():
        print()
        for row in rows:
            print(row[0])
    for text, verdict, moved_s in rows:
        assert verdict.clean(), text
        assert moved_s <= MOVES_WITHIN_S, text


async def away(folder, broker_port, mode, rate, away_s):
    name = f"{mode}-{rate}-{away_s}"
    subscriber = await asyncio.to_thread(Subscriber, broker_port, name)
    async with FaultProxy("127.0.0.1", broker_port) as proxy:
        file = configuration(folder, name, f"mqtt://127.0.0.1:{proxy.port}", rate)
        service = await asyncio.to_thread(Service(file, folder).start)
        await asyncio.to_thread(wait_until, lambda: len(subscriber.arrivals) > 3 * rate, 30, "events flow")
        await proxy.become(mode)
        await pause(away_s)
        before = len(subscriber.arrivals)
        await proxy.become("pass")
        back = monotonic()
        await asyncio.to_thread(wait_until, lambda: len(subscriber.arrivals) > before, 20, "delivery moves")
        moved_s = subscriber.arrivals[before].at - back
        await asyncio.to_thread(wait_until, lambda: subscriber.lag_s() < CAUGHT_UP_S, 120, "the backlog is delivered")
        caught_up_s = monotonic() - back
        await asyncio.to_thread(service.stop)
        accepted = service.accepted()
        await asyncio.to_thread(wait_until, lambda: subscriber.has(accepted), 20, "everything accepted arrives")
    subscriber.close()
    verdict = subscriber.judge(accepted)
    text = (
        f"  {mode:9} {away_s:3} s at {rate:3}/s: accepted {verdict.accepted:6}  lost {len(verdict.lost)}  "
        f"out of order {verdict.inversions}  duplicates {verdict.duplicates:4}  first event after {moved_s:.2f} s, "
        f"all after {caught_up_s:.1f} s"
    )
    return text, verdict, moved_s


async def pause(seconds):
    """The fault's length is real time: that is what is tested."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done
