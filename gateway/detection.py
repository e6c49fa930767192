"""The detect stage: rules see events before they are recorded, and what they derive is recorded with them.

`rules.Detector` thinks; here it gets a place in a running gateway. Its state is a fold of the log (`folds`): at a start
it is restored and re-read, and what a crash left unsaid is said then. From there on it is fed by `detect`, before the
events are committed, and the commit of what it returned changes nothing more.

A reload makes a new engine and hands it the state of the old one. Rules that are the same go on; the others begin, or
end, with the record that says so (`announcements`). Without rules there is no engine in memory, only rule time.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.errors import StateUnfit
from gateway.event import Event
from gateway.eventlog import LogEnd
from gateway.rules.idle import DERIVED, Announcement, Idle, announced

if TYPE_CHECKING:
    from gateway.config import DeviceConfig
    from gateway.rules.detect import Detector
    from gateway.rules.fold import Fold
    from gateway.rules.model import RuleConfig

logger = logging.getLogger("gateway.rules")


def is_derived(event: Event) -> bool:
    """Whether rules have made it: what is shown to them anew must not be."""
    return event.type in DERIVED


class Detection:
    """The rules of one gateway. Between `restore` and `recovered` it reads the log, afterwards it detects."""

    def __init__(self, rules: Sequence[RuleConfig], devices: Sequence[DeviceConfig]) -> None:
        self._rules, self._devices = tuple(rules), tuple(devices)
        self._idle = Idle()
        self._detector: Detector | None = None
        self._reading: Fold | None = None
        self._live = False
        self._told: dict[str, str] = {}  # announced last; it may still wait to be recorded
        self.mismatches = 0
        """Derived events that were not derived again when the log was read at the start, or the other way round."""
        self.restore(None)

    # -- a fold of the log (`gateway.folds.Fold`) ---------------------------------------------------------------------

    def snapshot(self) -> bytes:
        return self._idle.checkpoint() if self._detector is None else self._detector.checkpoint()

    def restore(self, state: bytes | None) -> None:
        self._live = False
        try:
            self._take_over(state)
        except (ValueError, LookupError, TypeError, msgspec.DecodeError) as error:
            raise StateUnfit(f"the state of the rules cannot be read: {error}") from None
        if self._detector is not None:
            from gateway.rules.fold import Fold  # noqa: PLC0415 - as in `_detector_of`

            self._reading = Fold(self._detector)

    def _take_over(self, state: bytes | None) -> None:
        self._idle, self._detector, self._reading = Idle(), None, None
        if self._rules:
            self._detector = _detector_of(self._rules, self._devices)
            if state is not None:
                _restored(self._detector, state)
        elif state is not None:
            self._idle.restore(state)

    def fold(self, events: Sequence[Event]) -> None:
        """What `detect` saw before it was committed is not heard again."""
        if self._reading is not None:
            self._reading.read_all(events)
        elif not self._live:
            self._idle.hear(events)

    def recovered(self, at: LogEnd) -> list[Event]:
        """The log's end is reached, and it goes on at `at`: what a crash left unrecorded, mostly nothing."""
        reading, self._reading, self._live = self._reading, None, True
        if reading is None or self._detector is None:
            return []
        self._detector.begin_run(*at)
        left = reading.finish(at.offset)
        self.mismatches = reading.mismatches
        for sentence in reading.named:
            logger.warning("rules, read again: %s", sentence)
        return left

    def fresh(self) -> Detection:
        """The same rules, to be brought to the log's end once more: the state of these has left it."""
        return Detection(self._rules, self._devices)

    def become(self, fresh: Detection) -> None:
        """Go on with the state of `fresh`, which was brought to the log's end."""
        self._idle, self._detector, self._reading = fresh._idle, fresh._detector, fresh._reading

    # -- the stage ----------------------------------------------------------------------------------------------------

    def listens(self, events: Sequence[Event]) -> bool:
        """Whether some rule wants to see one of them at once."""
        if self._detector is None:
            return False
        judges = self._detector.engine.judges
        return any(judges(event) for event in events)

    def hear(self, recorded: Sequence[Event]) -> list[Event]:
        """The log recorded these by itself, at its end. Returns what follows from them, to be recorded next."""
        if self._detector is None:
            self._idle.hear(recorded)
            return []
        from gateway.rules.fold import Fold  # noqa: PLC0415 - as in `_detector_of`

        follows: list[Event] = []
        for event in recorded:
            reading = Fold(self._detector)
            reading.read(event)
            follows += reading.finish(recorded[-1].offset + 1 + len(follows))
        return follows

    def detect(self, events: Sequence[Event], at: LogEnd, mono_ns: int) -> list[Event]:
        """What is to be recorded from `at` on: the events, what is derived from them, and what is due."""
        detector = self._detector
        if detector is None:
            self._idle.begin_run(*at)
            self._idle.hear(events)
            return list(events)
        failed = detector.engine.failures
        detector.begin_run(*at)
        batch = detector.detect(events, at.offset)
        due = detector.deadline_mono()
        if due is not None and mono_ns >= due:
            batch += detector.tick(mono_ns, at.offset + len(batch))
        if detector.engine.failures > failed:
            _say_failures(batch)
        return batch

    def deadline_mono(self) -> int | None:
        """The boot time (ns) at which `detect` has something to say even without events; None: there is none."""
        return None if self._detector is None else self._detector.deadline_mono()

    def raised(self, rule_id: str) -> bool | None:
        """Whether the rule is raised for some key; None where nothing is known of it."""
        part = None if self._detector is None else self._detector.engine.parts.get(rule_id)
        if part is None or not part.active or not len(part.operator.keys):
            return None
        return any(getattr(state, "raised", False) for state in part.operator.keys)

    def describe(self, mono_ns: int, *, keys: bool, rule_id: str | None = None) -> dict[str, Any]:
        """What is told of the rules at this boot time, with or without their keys: see `gateway.rules.describe`."""
        if self._detector is None:
            return {"counts": {}, "rules": [], "mismatches": 0}
        from gateway.rules.describe import KEYS_SHOWN, described  # noqa: PLC0415 - as in `_detector_of`

        engine = self._detector.engine
        now = mono_ns + engine.context.mono_ns
        told = described(engine, now, keys_shown=KEYS_SHOWN if keys else 0, rule_id=rule_id)
        return told | {"mismatches": self.mismatches}

    # -- rules come and go --------------------------------------------------------------------------------------------

    def configure(self, rules: Sequence[RuleConfig], devices: Sequence[DeviceConfig]) -> None:
        """Other rules, or rules over other devices, from now on. State goes on where a rule is the same."""
        if tuple(rules) == self._rules and (tuple(devices) == self._devices or not rules):
            return
        state = self.snapshot()
        self._rules, self._devices = tuple(rules), tuple(devices)
        self._take_over(state)

    def announcements(self) -> list[Announcement]:
        """What is to be recorded after a start and a `configure`, so that the rules are in force, and no others."""
        told = self._idle if self._detector is None else self._detector
        known, self._told = {**told.in_force, **self._told}, {rule.id: rule.hash for rule in self._rules}
        return announced(known, self._told)


def _say_failures(batch: Sequence[Event]) -> None:
    for event in batch:
        if event.type == "rule.failed":
            logger.error("rule %s failed and is out of force: %s", event.data["rule"], event.reason)


def _detector_of(rules: Sequence[RuleConfig], devices: Sequence[DeviceConfig]) -> Detector:
    # A gateway without rules does not pay for the engine: some megabytes.
    from gateway.config.rules import subjects_of  # noqa: PLC0415
    from gateway.rules.detect import Detector  # noqa: PLC0415
    from gateway.rules.engine import Engine  # noqa: PLC0415

    return Detector(Engine(rules, subjects_of(devices)))


def _restored(detector: Detector, state: bytes) -> None:
    from gateway.rules.engine import SnapshotUnfit  # noqa: PLC0415 - as in `_detector_of`

    try:
        detector.restore(state)
    except SnapshotUnfit as error:
        raise ValueError(str(error)) from None
