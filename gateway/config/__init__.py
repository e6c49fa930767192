"""The configuration: one YAML file, the main interface.

`model` says what a configuration is, `yaml` reads YAML 1.2 strictly and remembers where everything stood, `load` brings
the two together and finds every problem at once, `schema` describes it all to editors.
"""

from gateway.config.load import load_config, parse_config
from gateway.config.model import (
    BufferConfig,
    ChannelConfig,
    Config,
    DeviceConfig,
    GatewayConfig,
    KeepConfig,
    SinkConfig,
)

__all__ = [
    "BufferConfig",
    "ChannelConfig",
    "Config",
    "DeviceConfig",
    "GatewayConfig",
    "KeepConfig",
    "SinkConfig",
    "load_config",
    "parse_config",
]
