"""Supervises one driver per device, so that a sick one never disturbs another.

How a reading travels: the device's thread (`worker`) posts an outcome into the one inbox (`acquirer`), and the loop is
woken once for all that is in it. There the outcome becomes a fact, `supervise.decide` says what is next (`device`),
`normalize` makes events of the readings (`reports`), and `record` gets the events of one turn in one list.

Order, per device: `device.available` stands before the readings that proved it, `device.unavailable` after the last
readings that were heard, a `log.gap` before the readings that follow the dropped ones.
"""

from gateway.acquire.acquirer import Acquirer
from gateway.acquire.commands import TOGGLE, Toggle
from gateway.acquire.questions import Answer
from gateway.acquire.reports import DeviceState

__all__ = ["TOGGLE", "Acquirer", "Answer", "DeviceState", "Toggle"]
