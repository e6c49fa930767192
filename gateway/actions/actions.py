"""All actions of one gateway: a consumer of the log for each, begun, ended and compared as forwarders are.

A dead webhook delays nobody else: each has its own cursor, connection and back-off. One whose action did not change
goes on through a reload; one that is new to the log begins at its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from gateway.action import Duty, NotifierConfig, Target, target, values_of
from gateway.actions.commander import Command, Commander, Raised
from gateway.actions.said import log_line, publication, publishing, rehearsed
from gateway.actions.web import RETRY_AFTER_MAX_S, notifying, place, webhook
from gateway.clock import NS_PER_S, Clock
from gateway.deliver import Delivery, Forwarder, Patience
from gateway.driver import Channel
from gateway.event import Event
from gateway.eventlog import Cursor, EventLog
from gateway.ledger import Ledger
from gateway.record import Recorder
from gateway.riding import CURSOR_AFTER_ACKS
from gateway.selection import Selection
from gateway.sink import Destination, Publisher
from gateway.template import Template
from gateway.watchdog import Stage

END_WITHIN_S: Final = 1.0
"""How long an action that a reload ends goes on, so that what is on its way is not done twice."""

WEB_BACKOFF: Final = (1.0, RETRY_AFTER_MAX_S)

Begin = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]


class Consumer(Protocol):
    """What `Forwarder` and `Commander` have in common."""

    sink_id: str
    delivery: Delivery
    stage: Stage

    @property
    def sink_name(self) -> str: ...
    @property
    def cursor(self) -> Cursor: ...
    def wake(self, events: list[Event]) -> None: ...
    async def run(self) -> None: ...
    async def drain(self, timeout_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all actions of a gateway share.

    `publisher` finds the sink of an id, None for the first one that publishes. `command` and `is_simulated` are the
    acquirer's, `raised` the rule engine's. With `rehearsal` nothing outside happens: actions say what they would do,
    and only simulated outputs are told.
    """

    log: EventLog
    recorder: Recorder
    clock: Clock
    random: Random
    gateway_id: str
    publisher: Callable[[str | None], Publisher | None]
    command: Command
    is_simulated: Callable[[str], bool]
    raised: Raised
    rehearsal: bool


class _Terms(NamedTuple):
    """All that one consumer is made from: what is equal goes on."""

    duty: Duty
    target: Target | None
    notifier: NotifierConfig | None


class _Running(NamedTuple):
    terms: _Terms
    consumer: Consumer
    task: asyncio.Task[None]
    unwatch: Callable[[], None]


class Fired(Selection):
    """The events that start one action; unlike for a sink nothing else passes."""

    def __init__(self, duty: Duty) -> None:
        super().__init__(subjects=[f"rule/{duty.rule}"])
        self._duty = duty

    def selects(self, event: Event) -> bool:
        return self._duty.wants(event)


class Actions(Mapping[str, Consumer]):
    """The consumers by name: `rule/cellar-hot/do/webhook`."""

    def __init__(self, around: Surroundings, begin: Begin) -> None:
        """`begin` runs a consumer as a task of that name."""
        self._around, self._begin = around, begin
        self._running: dict[str, _Running] = {}

    def __getitem__(self, name: str) -> Consumer:
        return self._running[name].consumer

    def __iter__(self) -> Iterator[str]:
        return iter(self._running)

    def __len__(self) -> int:
        return len(self._running)

    def wants(self, name: str) -> Selection:
        """The events that start the action of that name."""
        return Fired(self._running[name].terms.duty)

    async def have(
        self,
        duties: Sequence[Duty],
        outputs: Mapping[str, Sequence[Channel]],
        notifier: NotifierConfig | None = None,
    ) -> None:
        """Have exactly these from now on; at start and at each reload, after the sinks and the devices have begun.

        `outputs` has the channels of every device that acts, `notifier` is the `notify:` of the configuration.
        """
        wanted = {duty.name: _terms(duty, outputs, notifier) for duty in duties}
        ending = [name for name, running in self._running.items() if wanted.get(name) != running.terms]
        await asyncio.gather(*(self._end(self._running.pop(name)) for name in ending))
        for name, terms in wanted.items():
            if name not in self._running:
                self._running[name] = self._start(terms)
        self._around.log.consumers = frozenset({*(self._around.log.consumers or ()), *self._running})

    async def drain(self, timeout_s: float) -> None:
        """Do what is in the log as far as that is possible in this time, and end."""
        await asyncio.gather(*(running.consumer.drain(timeout_s) for running in self._running.values()))

    async def _end(self, running: _Running) -> None:
        consumer = running.consumer
        if consumer.delivery.connected:
            settled = asyncio.ensure_future(consumer.drain(END_WITHIN_S))
            await asyncio.wait({settled, running.task}, timeout=2 * END_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
            settled.cancel()
        running.task.cancel()
        await asyncio.wait({running.task})
        running.unwatch()
        self._around.log.cursors[consumer.sink_id] = consumer.cursor
        self._around.recorder.ride(consumer.sink_id, consumer.cursor, 0)

    def _start(self, terms: _Terms) -> _Running:
        around, name = self._around, terms.duty.name
        if name not in around.log.cursors:
            around.log.cursors[name] = start = Cursor(around.log.next_offset, None, Ledger(around.log.next_offset))
            around.recorder.ride(name, start, CURSOR_AFTER_ACKS)
        consumer = self._consumer(terms)
        unwatch = around.recorder.watch(consumer.wake)
        return _Running(terms, consumer, self._begin(name, consumer.run()), unwatch)

    def _consumer(self, terms: _Terms) -> Consumer:
        around, duty = self._around, terms.duty
        if terms.target is not None:
            device = terms.target.device
            return Commander(
                duty,
                terms.target,
                around.log,
                around.recorder,
                clock=around.clock,
                command=around.command,
                raised=around.raised,
                may_act=lambda: not around.rehearsal or around.is_simulated(device),
            )
        timeout_s = duty.action.webhook.timeout_s if duty.action.webhook is not None else 10.0
        return Forwarder(
            duty.name,
            rehearsal(duty, around.gateway_id) if around.rehearsal else self._destination(terms),
            around.log,
            around.recorder,
            clock=around.clock,
            random=around.random,
            selection=Fired(duty),
            patience=Patience(timeout_s + 5.0, *WEB_BACKOFF) if duty.action.kind in {"webhook", "notify"} else None,
        )

    def _destination(self, terms: _Terms) -> Destination:
        action, gateway_id = terms.duty.action, self._around.gateway_id
        if action.publish is not None:
            wanted = action.publish.sink
            return publishing(action.publish, gateway_id, lambda: self._around.publisher(wanted))
        if action.webhook is not None:
            return webhook(action.webhook, gateway_id, self._too_old(action.webhook.max_age_s))
        if action.notify is not None:
            return notifying(action.notify, terms.notifier, gateway_id, self._too_old(action.notify.max_age_s))
        assert action.log is not None, "an action is of one kind"
        return log_line(action.log, gateway_id)

    def _too_old(self, max_age_s: float | None) -> Callable[[Event], str]:
        """Why an event is not sent any more; empty where it is. In this boot that needs no wall clock."""
        clock = self._around.clock

        def judge(event: Event) -> str:
            if max_age_s is None:
                return ""
            same_boot = event.boot == clock.boot_id
            age_ns = clock.mono_ns() - event.mono if same_boot else clock.wall_ns() - event.recorded
            return f"older than max_age, {max_age_s:g} s" if age_ns > max_age_s * NS_PER_S else ""

        return judge


def rehearsal(duty: Duty, gateway_id: str) -> Destination:
    """What the action would do, in words. A log line is nothing outside, and is written."""
    action = duty.action
    if action.log is not None:
        return log_line(action.log, gateway_id)
    if action.publish is not None:
        config = action.publish

        def would_publish(event: Event) -> str:
            message = publication(config, event, "gateway", gateway_id)
            return f"publish to {message.topic}: {message.payload.decode()}"

        return rehearsed("publish", would_publish)
    if action.webhook is not None:
        where = f"{action.webhook.method} to {place(action.webhook.url)}"
        return rehearsed("webhook", lambda _: where)
    assert action.notify is not None, "an output is no destination"
    text = Template(action.notify.text)
    return rehearsed("notify", lambda event: f"notify: {text.fill(values_of(event, gateway=gateway_id))}")


def _terms(duty: Duty, outputs: Mapping[str, Sequence[Channel]], notifier: NotifierConfig | None) -> _Terms:
    """Raises ValueError where the action is about no output; `gateway check` says so first."""
    return _Terms(
        duty,
        target(duty.action, outputs) if duty.action.output is not None else None,
        notifier if duty.action.notify is not None else None,
    )
