"""What to do about one device next, decided from what happened. Pure: no clock, no thread, no driver.

`decide` takes the state of a device and one fact, and returns the new state, at most one task for the device's thread,
and whether the world must be told. The table at the end of this page is the whole behaviour; what it does not list
changes nothing.

    waiting ──due──> opening ──opened──> reading ──answered──> idle ──due──> reading ..
       ^                │                   │                  (a device that pushes goes from opening to idle,
       │                │                   │                   and stays there)
       │      failed, broken      failed 3 times, broken
       │                v                   v
       └──closed── closing <──returned── hung <──due── opening, reading, applying

    An output goes from opening to idle, and from there: idle ──commanded──> applying ──applied──> idle.

* One thread serves one device, and has at most one task. A task over its time limit makes the device *hung*: nothing
  more is asked of the thread until it returns; then what it brings is thrown away and the driver object is replaced.
* An outage begins with the first failure and is announced once. It ends, announced once, with the second good read in a
  row (a device that pushes: with a successful open). At start one good read is enough.
* Scheduled reads lie on the grid `origin + k * every`. A slow read skips the slots it missed; reads never bunch up.
* Devices that share a bus take turns: `Task.ENTER` asks for the turn, `Fact.ENTERED` brings it, and only from then on
  the time limit runs. While a hung task of one device blocks the bus, its neighbours are not entered; each is
  announced as unavailable once, reads again as soon as the bus is free, and returns as after any other outage.
* An output that fails is of unknown state: no second attempt, it is closed (made safe before) and opened anew. While
  another device blocks its bus it stays available: it is open, and a command waits for as long as it may.
* In an outage the back-off sets the pace: a ceiling of 1, 2, 4 .. 60 s with full jitter, so that devices which failed
  together do not return together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final, NamedTuple

from gateway.clock import NS_PER_S

BACKOFF_NS_FIRST: Final = 1 * NS_PER_S
BACKOFF_NS_MAX: Final = 60 * NS_PER_S
BACKOFF_NS_MIN: Final = NS_PER_S // 10
"""However small the jitter: a device that fails at once must not keep a core busy."""

CONFIRM_NS: Final = 1 * NS_PER_S
"""After the first good read of an outage the second one need not wait for the schedule."""

GOOD_READS_TO_RETURN: Final = 2
STRIKES_MAX: Final = 3
"""Failed reads after which a driver object is replaced: a glitch on the wire should not cost a new initialisation."""

GAP_NS_MIN: Final = 10 * NS_PER_S
"""A device that overruns its bound says so at most this often; counts add up in between."""

SPREAD_NS_MAX: Final = 1 * NS_PER_S


class Phase(Enum):
    """Where a device stands."""

    WAITING = auto()  # nothing is open; opened when due
    OPENING = auto()
    IDLE = auto()  # open; read when due
    READING = auto()
    APPLYING = auto()  # an output does what it was told
    HUNG = auto()  # a task is over its time limit and has not returned
    CLOSING = auto()
    STOPPED = auto()


class Fact(Enum):
    """What happened: the thread finished a task, a timer went off, somebody asked."""

    DUE = auto()
    OPENED = auto()
    ANSWERED = auto()
    FAILED = auto()  # the device did not answer
    BROKEN = auto()  # the driver has a bug; its object cannot be trusted
    CLOSED = auto()
    COMMANDED = auto()  # an output is to do something
    APPLIED = auto()
    WITHDRAWN = auto()  # whoever wanted it waits no more
    ASKED = auto()  # somebody wants a read now
    ENTERED = auto()  # the shared bus is this device's, until its task returns
    BLOCKED = auto()  # another device hangs in the shared bus
    FREED = auto()  # and returned
    STOP = auto()


class Task(Enum):
    """What the device's thread is told to do, or, for `ENTER`, the bus that it shares."""

    ENTER = auto()  # ask for a turn at the bus
    OPEN = auto()  # a new driver object
    READ = auto()
    APPLY = auto()  # the next command
    CLOSE = auto()
    END = auto()  # close, and end the thread


@dataclass(frozen=True, slots=True)
class Plan:
    """What does not change: the grid of the schedule, and the time limit of a task.

    `every_ns` is None for a device that pushes or acts. `shared` is True for a device that shares its bus.
    """

    origin_ns: int
    every_ns: int | None
    timeout_ns: int
    shared: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """Where a device stands. All instants are of the boot clock.

    `due_ns` is when `Fact.DUE` is expected, None for never. `available` is None until the device answered or failed.
    `reason` says why it is not available. `failures` counts since the outage began, `strikes` since the driver object
    was opened, `good` the good reads in a row since the last failure. `blocked` while another device blocks the bus.
    """

    phase: Phase
    due_ns: int | None
    available: bool | None = None
    reason: str = ""
    failures: int = 0
    strikes: int = 0
    good: int = 0
    blocked: bool = False


class Step(NamedTuple):
    """A decision: `announce` is the availability to tell the world, None where it has heard already."""

    state: State
    task: Task | None = None
    announce: bool | None = None


class Moment(NamedTuple):
    """The circumstances of a fact. `jitter` is a random number in 0..1, `reason` a sentence for failures."""

    now_ns: int
    reason: str = ""
    jitter: float = 1.0


class Gap:
    """Counts what a device lost by overrunning its bound, and says when to speak of it: at most every 10 s."""

    def __init__(self) -> None:
        self._count = 0
        self._next_ns = 0

    @property
    def due_ns(self) -> int | None:
        """When there is something to say, None while nothing is lost."""
        return self._next_ns if self._count else None

    def add(self, count: int) -> None:
        self._count += count

    def take(self, now_ns: int, *, last: bool = False) -> int:
        """How many to speak of now; 0 for silence. `last` does not wait."""
        if self.due_ns is None or not (last or now_ns >= self.due_ns):
            return 0
        taken, self._count, self._next_ns = self._count, 0, now_ns + GAP_NS_MIN
        return taken


def begin(plan: Plan) -> State:
    """The state of a device that was never opened."""
    return State(Phase.WAITING, plan.origin_ns)


def decide(plan: Plan, state: State, fact: Fact, moment: Moment) -> Step:
    """The next step. Facts that mean nothing in this phase, and timers that go off early, change nothing."""
    if fact is Fact.DUE and (state.due_ns is None or moment.now_ns < state.due_ns):
        return Step(state)
    rule = _TABLE.get((state.phase, fact))
    return rule(plan, state, moment) if rule else Step(state)


def next_slot_ns(plan: Plan, after_ns: int) -> int | None:
    """The first instant of the schedule later than `after_ns`, None for a device that pushes."""
    if plan.every_ns is None:
        return None
    return plan.origin_ns + max(0, (after_ns - plan.origin_ns) // plan.every_ns + 1) * plan.every_ns


def backoff_ns(failures: int, jitter: float) -> int:
    """How long to wait after so many failures: full jitter below a doubling ceiling."""
    ceiling_ns = min(BACKOFF_NS_MAX, BACKOFF_NS_FIRST << min(max(failures - 1, 0), 16))
    return max(BACKOFF_NS_MIN, round(jitter * ceiling_ns))


def spread_ns(index: int, every_ns: int | None) -> int:
    """How long the `index`-th device waits at start, so that many devices do not all read in the same instant.

    Multiples of the golden ratio, modulo one, lie apart for any number of devices.
    """
    return round(index * 0.618033988749895 % 1.0 * min(every_ns or 0, SPREAD_NS_MAX))


def _open(plan: Plan, state: State, moment: Moment) -> Step:
    return _begin(plan, replace(state, phase=Phase.OPENING, strikes=0), Task.OPEN, moment)


def _opened(plan: Plan, state: State, moment: Moment) -> Step:
    if plan.every_ns is not None:
        return _read(plan, state, moment)
    return _return(replace(state, phase=Phase.IDLE, due_ns=None))


def _read(plan: Plan, state: State, moment: Moment) -> Step:
    return _begin(plan, replace(state, phase=Phase.READING), Task.READ, moment)


def _apply(plan: Plan, state: State, moment: Moment) -> Step:
    return _begin(plan, replace(state, phase=Phase.APPLYING), Task.APPLY, moment)


def _applied(_plan: Plan, state: State, _moment: Moment) -> Step:
    return _return(replace(state, phase=Phase.IDLE, due_ns=None))


def _withdrawn(_plan: Plan, state: State, _moment: Moment) -> Step:
    return Step(replace(state, phase=Phase.IDLE, due_ns=None))


def _begin(plan: Plan, state: State, task: Task, moment: Moment) -> Step:
    """A task of the thread, at once or after a turn at the bus was given: waiting for that has no time limit."""
    if plan.shared:
        return Step(replace(state, due_ns=None), Task.ENTER)
    return Step(replace(state, due_ns=moment.now_ns + plan.timeout_ns), task)


def _entered(plan: Plan, state: State, moment: Moment) -> Step:
    task = {Phase.OPENING: Task.OPEN, Phase.APPLYING: Task.APPLY}.get(state.phase, Task.READ)
    return Step(replace(state, due_ns=moment.now_ns + plan.timeout_ns), task)


def _blocked(plan: Plan, state: State, moment: Moment) -> Step:
    """The bus of this device is blocked by another one. That is no failure of its own: the back-off stays as it is."""
    if plan.every_ns is None and state.phase is Phase.IDLE:
        return Step(state)  # it is open and speaks by itself
    out = replace(state, available=False, reason=moment.reason, good=0, blocked=True)
    return Step(out, None, None if state.available is False else False)


def _freed(_plan: Plan, state: State, moment: Moment) -> Step:
    """A blocked device reads again at once: the schedule may be an hour away."""
    soon = state.blocked and state.phase is Phase.IDLE
    return Step(replace(state, blocked=False, due_ns=moment.now_ns if soon else state.due_ns))


def _answered(plan: Plan, state: State, moment: Moment) -> Step:
    slot_ns = next_slot_ns(plan, moment.now_ns)
    answered = replace(state, phase=Phase.IDLE, due_ns=slot_ns, good=state.good + 1, strikes=0)
    if state.available is not False or answered.good >= GOOD_READS_TO_RETURN:
        return _return(answered)
    soon_ns = moment.now_ns + CONFIRM_NS
    return Step(replace(answered, due_ns=soon_ns if slot_ns is None else min(slot_ns, soon_ns)))


def _return(state: State) -> Step:
    """The device answers: the end of an outage, if there was one."""
    return Step(replace(state, available=True, reason="", failures=0), announce=None if state.available else True)


def _failed(plan: Plan, state: State, moment: Moment) -> Step:
    """A failed read: tried again on the same object, until that has failed too often."""
    if state.strikes + 1 >= STRIKES_MAX:
        return _broken(plan, state, moment)
    struck, announce = _outage(state, moment.reason)
    due_ns = moment.now_ns + backoff_ns(struck.failures, moment.jitter)
    return Step(replace(struck, phase=Phase.IDLE, due_ns=due_ns, strikes=state.strikes + 1), None, announce)


def _broken(_plan: Plan, state: State, moment: Moment) -> Step:
    """The driver object is of no more use."""
    closing, announce = _outage(state, moment.reason)
    return Step(replace(closing, phase=Phase.CLOSING, due_ns=None), Task.CLOSE, announce)


def _hung(plan: Plan, state: State, _moment: Moment) -> Step:
    hung, announce = _outage(state, f"no answer for {plan.timeout_ns / NS_PER_S:g} s")
    return Step(replace(hung, phase=Phase.HUNG, due_ns=None), None, announce)


def _returned(_plan: Plan, state: State, _moment: Moment) -> Step:
    """A hung task came back. Too late: its result is not used, and its object is replaced."""
    return Step(replace(state, phase=Phase.CLOSING), Task.CLOSE)


def _closed(_plan: Plan, state: State, moment: Moment) -> Step:
    due_ns = moment.now_ns + backoff_ns(state.failures, moment.jitter)
    return Step(replace(state, phase=Phase.WAITING, due_ns=due_ns))


def _stop(_plan: Plan, state: State, _moment: Moment) -> Step:
    return Step(replace(state, phase=Phase.STOPPED, due_ns=None), Task.END)


def _outage(state: State, reason: str) -> tuple[State, bool | None]:
    """The state in an outage, and what to announce: only its beginning."""
    out = replace(state, available=False, reason=reason, failures=state.failures + 1, good=0)
    return out, None if state.available is False else False


_Rule = Callable[[Plan, State, Moment], Step]

_NOT_BLOCKED: Final = {Phase.HUNG, Phase.APPLYING, Phase.STOPPED}

_TABLE: Final[Mapping[tuple[Phase, Fact], _Rule]] = {
    (Phase.WAITING, Fact.DUE): _open,
    (Phase.OPENING, Fact.OPENED): _opened,
    (Phase.OPENING, Fact.FAILED): _broken,
    (Phase.OPENING, Fact.BROKEN): _broken,
    (Phase.OPENING, Fact.DUE): _hung,
    (Phase.IDLE, Fact.DUE): _read,
    (Phase.IDLE, Fact.ASKED): _read,
    (Phase.IDLE, Fact.BROKEN): _broken,
    (Phase.READING, Fact.ANSWERED): _answered,
    (Phase.READING, Fact.FAILED): _failed,
    (Phase.READING, Fact.BROKEN): _broken,
    (Phase.READING, Fact.DUE): _hung,
    (Phase.IDLE, Fact.COMMANDED): _apply,
    (Phase.APPLYING, Fact.APPLIED): _applied,
    (Phase.APPLYING, Fact.WITHDRAWN): _withdrawn,
    (Phase.APPLYING, Fact.FAILED): _broken,
    (Phase.APPLYING, Fact.BROKEN): _broken,
    (Phase.APPLYING, Fact.DUE): _hung,
    (Phase.HUNG, Fact.APPLIED): _returned,
    (Phase.HUNG, Fact.OPENED): _returned,
    (Phase.HUNG, Fact.ANSWERED): _returned,
    (Phase.HUNG, Fact.FAILED): _returned,
    (Phase.HUNG, Fact.BROKEN): _returned,
    (Phase.CLOSING, Fact.CLOSED): _closed,
    (Phase.OPENING, Fact.ENTERED): _entered,
    (Phase.READING, Fact.ENTERED): _entered,
    (Phase.APPLYING, Fact.ENTERED): _entered,
    **{(phase, Fact.BLOCKED): _blocked for phase in Phase if phase not in _NOT_BLOCKED},
    **{(phase, Fact.FREED): _freed for phase in Phase if phase is not Phase.STOPPED},
    **{(phase, Fact.STOP): _stop for phase in Phase if phase is not Phase.STOPPED},
}
