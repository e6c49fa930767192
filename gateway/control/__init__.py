"""How commands talk to a running gateway: `ControlServer` in the service, `ControlClient` in every command."""

from gateway.control.client import HOW_TO_START, ControlClient, Disconnected
from gateway.control.protocol import Call, Presence, Stream, presence
from gateway.control.server import ControlServer

__all__ = ["HOW_TO_START", "Call", "ControlClient", "ControlServer", "Disconnected", "Presence", "Stream", "presence"]
