"""Which gateways run on this machine, and which of them is meant."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gateway.control.client import HOW_TO_START, ControlClient
from gateway.control.protocol import presence
from gateway.errors import ControlError, NotRunning
from gateway.locations import SOCKET_NAME, SYSTEM_RUNTIME, find_sockets

ASK_TIMEOUT_S = 2.0


class Running(NamedTuple):
    """A gateway that answers, or that this user may not ask (`denied`)."""

    path: Path
    id: str
    denied: bool = False


class Ambiguous(ControlError):
    """Several gateways run, and none was chosen."""

    exit_code = 2


async def running() -> list[Running]:
    """All gateways that this user can find."""
    found = [(path, presence(path)) for path in find_sockets(os.environ)]
    alive = [(path, state == "denied") for path, state in found if state != "dead"]
    if len(alive) > 1 or any(path == SYSTEM_RUNTIME / SOCKET_NAME for path, _ in alive):
        ids = await asyncio.gather(*(_ask_id(path) for path, _ in alive))
    else:
        ids = [path.parent.name for path, _ in alive]  # the directory is named after the gateway: no need to ask
    return [Running(path, id_, denied) for (path, denied), id_ in zip(alive, ids, strict=True)]


def choose(found: Sequence[Running], gateway_id: str | None) -> Running:
    """The gateway that is meant. One that may not be asked counts only where there is no other."""
    if gateway_id is not None:
        found = _named(found, gateway_id)
    open_to_us = [one for one in found if not one.denied] or found
    if not open_to_us:
        raise NotRunning(f"no gateway is running: {HOW_TO_START}")
    if len(open_to_us) > 1:
        listed = "".join(f"\n  {one.id:<24}  {one.path}" for one in open_to_us)
        which = "--socket PATH" if gateway_id is not None else "--gateway ID"
        raise Ambiguous(f"{len(open_to_us)} gateways are running; choose one with {which}:{listed}")
    return open_to_us[0]


def _named(found: Sequence[Running], gateway_id: str) -> list[Running]:
    named = [one for one in found if one.id == gateway_id]
    if not named and found:
        others = ", ".join(one.id for one in found)
        raise NotRunning(f"no gateway {gateway_id!r} is running (running: {others}): {HOW_TO_START}")
    return named


async def _ask_id(path: Path) -> str:
    try:
        status = await ControlClient(path).call("status", timeout_s=ASK_TIMEOUT_S)
        return str(status["gateway"]["id"])
    except (ControlError, KeyError, TypeError):
        return path.parent.name  # it is busy, or may not be asked: the directory's name says enough to choose
