"""A broker that needs no root, whichever is installed."""

import socket
import sys
from importlib.util import find_spec

import pytest

from gateway.broker import KINDS, Broker, BrokerError, accepts, find_broker
from gateway.clock import SystemClock

BROKERS = [
    pytest.param("mosquitto", marks=pytest.mark.mosquitto),
    pytest.param(
        "iotcore",
        marks=pytest.mark.skipif(
            find_spec("iotcore") is None, reason="iotcore is not installed: it is the extra `demo`"
        ),
    ),
]


@pytest.mark.parametrize("kind", BROKERS)
def test_it_accepts_inside_and_is_gone_afterwards(kind):
    with find_broker(kind) as broker:
        port, pid = broker.port, broker.pid
        assert accepts(port)
        assert broker.describe().startswith(f"{kind} ")
        assert broker.describe()[-1].isdigit()

    assert pid is not None
    assert broker.pid is None
    assert not accepts(port)


@pytest.mark.parametrize("kind", BROKERS)
def test_nobody_from_outside_can_reach_it(kind):
    with find_broker(kind) as broker, socket.socket() as outside:
        # The whole of 127.0.0.0/8 is this machine; a broker that listened on every address would hold this one too.
        outside.bind(("127.0.0.2", broker.port))


def test_without_any_broker_it_says_what_to_install(monkeypatch):
    for kind in KINDS:
        monkeypatch.setitem(KINDS, kind, KINDS[kind].__class__(lambda: None, str, "x.conf", ""))

    with pytest.raises(BrokerError, match=r"sudo apt install mosquitto.*sensor-event-gateway\[demo\]"):
        find_broker()


def test_a_broker_that_ends_at_start_is_quoted():
    broker = Broker(
        "mosquitto", [sys.executable, "-c", "print('no such listener'); raise SystemExit(3)"], SystemClock()
    )

    with pytest.raises(BrokerError, match=r"ended with status 3 at start; its last words: no such listener"):
        broker.start()

    assert broker.pid is None
