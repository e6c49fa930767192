"""What a gateway that simulates says of itself to sinks that are real."""

from dataclasses import replace

import pytest

from gateway.app import Gateway
from gateway.config import SinkConfig, parse_config
from gateway.errors import LinkError
from gateway.options import Options
from gateway.plugins import Plugins
from gateway.sink import Sink


@pytest.mark.parametrize("simulate", [True, False])
async def test_a_live_sink_is_told_whether_the_world_is_simulated(tmp_path, simulate):
    told = []

    class Listening(Sink):
        name, summary = "listening", "for tests"

        @classmethod
        def create(cls, options, identity):
            told.append(identity.simulated)
            return cls()

        async def connect(self, report):
            raise LinkError("nobody there")

    config = parse_config(f"gateway: {{id: g}}\nbuffer: {{path: {tmp_path}/events.db}}\n", "g.yaml", Plugins())
    config = replace(config, sinks=(SinkConfig("s", Listening, Options()),))
    async with Gateway(config, simulate=simulate, live_sinks=True):
        pass
    assert told == [simulate]
