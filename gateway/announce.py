"""What a gateway says about itself: how it started, what is in force, and its birth document."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gateway import __version__
from gateway.config import DeviceConfig
from gateway.event import rfc3339
from gateway.present import SHOWN
from gateway.reload import ReloadPlan

if TYPE_CHECKING:
    from gateway.app import Gateway


def note_start(gateway: Gateway) -> None:
    """The first words of a run: how the last one ended, and what is in force now."""
    last, clock = gateway.log.last_event, gateway.clock
    gap_ns = None
    if last is not None and last.boot == clock.boot_id:
        gap_ns = clock.mono_ns() - last.mono
    clean = last is None or last.type == "gateway.stopped"
    gateway.recorder.note("gateway.started", {"version": __version__, "clean": clean, "gap_ns": gap_ns})
    note_rules(gateway)
    note_config(gateway)


def note_rules(gateway: Gateway) -> None:
    """Which rules are in force from here on, and which no longer. One that is the same goes on."""
    for told in gateway.detection.announcements():
        gateway.recorder.note(told.type, told.data, about=f"rule/{told.rule}")


def note_config(gateway: Gateway, plan: ReloadPlan | None = None) -> None:
    """A configuration came into force; after a reload also with how much of it is new."""
    config = gateway.config
    data: dict[str, Any] = {"hash": config.hash, "devices": len(config.devices), "sinks": len(config.sinks)}
    if plan is not None:
        devices, sinks = plan.devices.counts, plan.sinks.counts
        data["reload"] = {what: devices[what] + sinks[what] for what in devices}
    gateway.recorder.note("config.loaded", data)


def birth(gateway: Gateway) -> dict[str, Any]:
    """The retained status document: what this gateway is."""
    config = gateway.config
    return {
        "version": __version__,
        "config": config.hash,
        "started": rfc3339(gateway.started_ns),
        "clocksync": gateway.clock.synced(),
        "simulated": gateway.simulated,
        "labels": dict(config.gateway.labels),
        "devices": {device.id: device.driver.name for device in config.devices},
    }


def lasting(devices: Iterable[DeviceConfig]) -> dict[str, list[str]]:
    """Device id -> those of its channels whose value holds until the next one."""
    return {device.id: [one.name for one in device.declared if one.event_type in SHOWN] for device in devices}
