"""Every fault of the link at random, and the gateway killed and stopped in between: nothing lost, nothing disordered.

CHAOS_S is the length in seconds, 600 where nothing is said.
"""

import asyncio
import os
from collections import Counter
from random import Random

import pytest

from tests.brokers import Mosquitto
from tests.faultproxy import FaultProxy
from tests.rigs.test_links import pause
from tests.service import Service, Subscriber, configuration, wait_until

CHAOS_S = float(os.environ.get("CHAOS_S", "600"))
EVENTS_PER_S = 200
FAULTS = ("refuse", "blackhole", "reset", "slow", "half-open")
FAULT_S, PASS_S = (1.0, 10.0), (0.5, 5.0)
ENDS = ("kill", "kill", "kill", "stop", "stop")
CAUGHT_UP_S = 3.0


@pytest.mark.rig
@pytest.mark.mosquitto
async def test_nothing_is_lost_or_disordered_in_chaos(tmp_path, mosquitto: Mosquitto, capsys):
    random, fate = Random(20261123), Random(1123)
    subscriber = await asyncio.to_thread(Subscriber, mosquitto.port, "chaos")
    async with FaultProxy("127.0.0.1", mosquitto.port) as proxy:
        file = configuration(tmp_path, "chaos", f"mqtt://127.0.0.1:{proxy.port}", EVENTS_PER_S)
        service = await asyncio.to_thread(Service(file, tmp_path).start)
        faults, _ = await asyncio.gather(weather(proxy, random), accidents(service, fate))
        await asyncio.to_thread(wait_until, lambda: subscriber.lag_s() < CAUGHT_UP_S, 120, "the backlog is delivered")
        await asyncio.to_thread(service.stop)
        accepted = service.accepted()
        await asyncio.to_thread(wait_until, lambda: subscriber.has(accepted), 30, "everything accepted arrives")
    subscriber.close()
    verdict = subscriber.judge(accepted)
    text = (
        f"  {CHAOS_S:g} s of chaos at {EVENTS_PER_S}/s, {dict(faults)}, {dict(Counter(ENDS))}: "
        f"accepted {verdict.accepted}, arrived {verdict.arrived}, lost {len(verdict.lost)}, "
        f"out of order {verdict.inversions}, duplicates {verdict.duplicates} (same ids), "
        f"chain breaks {verdict.chain_breaks}, altered {verdict.altered}, "
        f"{proxy.accepted} connections, {proxy.held_bytes} bytes swallowed"
    )
    with capsys.disabled():
        print(f"\n{text}")
    assert verdict.clean(), text
    assert verdict.accepted >= 0.8 * EVENTS_PER_S * CHAOS_S, "the rig saw enough to mean something"
    assert min(faults[fault] for fault in FAULTS) >= 1 or CHAOS_S < 120


async def weather(proxy, random):
    """Faults and fair spells in turn; returns how often each fault was."""
    loop, seen = asyncio.get_running_loop(), Counter()
    until = loop.time() + CHAOS_S
    while (left := until - loop.time()) > 0:
        fault = random.choice(FAULTS)
        seen[fault] += 1
        await proxy.become(fault)
        await pause(min(left, random.uniform(*FAULT_S)))
        await proxy.become("pass")
        await pause(random.uniform(*PASS_S))
    return seen


async def accidents(service, random):
    """The gateway is killed and stopped at random moments, in random order, and started again at once."""
    ends = random.sample(ENDS, len(ENDS))
    begun = asyncio.get_running_loop().time()
    moments = sorted(random.uniform(0.05, 0.95) * CHAOS_S for _ in ends)
    for end, moment in zip(ends, moments, strict=True):
        await pause(max(0.0, begun + moment - asyncio.get_running_loop().time()))
        await asyncio.to_thread(service.kill if end == "kill" else service.stop)
        await asyncio.to_thread(service.start)
