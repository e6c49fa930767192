"""Sequences: one thing after another, within a time, without a third in between. Pure.

Theory of operation. Steps are compiled once into a small graph (pattern.py), one per rule, immutable. Each key of the
rule has a `Matcher` (matcher.py) that holds the open *partial matches*: a node of the graph, the time of the last
event, and the events kept so far. An event moves partial matches along the graph; time completes those that wait for
a `not` to run out, and ends those whose `within` is over. Nothing else changes anything, and nothing grows: partial
matches and the events they keep have bounds, and what a bound costs is counted.

What a sequence means:

* **Selected.** Only events that fit a step, a branch or a `not` of the rule reach the matcher.
* **Links.** `then`: the first event that fits, others in between are passed over. `next`: the very next selected
  event must fit; else the attempt is broken. `any`: every event that fits; the attempt also goes on as if it had
  not taken it. The link of a step holds for each of its repetitions too.
* **`times: n..m`.** Less than `n`: the step needs more. From `n` on, an event that fits a later step goes there,
  one that fits only this step repeats it; `greedy: true` prefers the repetition. A last step completes at `n`; a
  greedy one takes what comes until `m`, the end of `within`, or an event that breaks it. `0..m`: the step may be
  left out.
* **`not`.** In the middle, with `for: d`: no event that fits in [e, e + d), e being the event before; the next step
  opens at e + d. Without `for:` until the next step. Last: the match is complete at e + d, or at the end of
  `within`. First: nothing in the last `d` before the first event; a violation counts it anew. Several in a row hold
  side by side, each from the step before them. A repeating step is followed by its `not` from the `n`-th event on,
  counted from the newest. A violation comes before anything else that the event could do.
* **Groups.** One event fills one branch, the first listed that is open and fits. `all` needs every branch, in any
  order.
* **`within`.** [s, s + within), s being the first event. A timer due at T fires before an event stamped T: an event
  exactly `within` late is too late, and so is one exactly at the end of a `not`. A last `not` whose time ends
  exactly with `within` completes.
* **Attempts.** `single`: one at a time. `restart`: an event that advances nothing but fits the start discards what
  is open and starts anew. `parallel`: every start is an attempt of its own. In `single` and `restart` matches do
  not overlap: the event that completes one starts nothing. An event that breaks an attempt is offered as a start.
* **Strict.** A sequence whose links are all `next` misses no match: in `single` and `restart` too, each event that
  may start one is tracked as a candidate. A match is reported when it is complete, of several the leftmost, and the
  others end with it.
* **Timeouts.** A start that matched nothing when its `within` ends times out once, with its furthest partial match;
  of overlapping candidates of a strict sequence, the first to time out speaks for those that it overlaps. A broken
  attempt is silent.
"""

from gateway.rules.sequence.matcher import Found, Matcher
from gateway.rules.sequence.partial import Match, Steps, Timeout
from gateway.rules.sequence.pattern import KEPT_MAX, Pattern
from gateway.rules.sequence.steps import (
    CONDITIONS_MAX,
    PARTIALS_MAX,
    AllOf,
    Condition,
    Link,
    Mode,
    Not,
    PatternError,
    Step,
    Where,
)

__all__ = [
    "CONDITIONS_MAX",
    "KEPT_MAX",
    "PARTIALS_MAX",
    "AllOf",
    "Condition",
    "Found",
    "Link",
    "Match",
    "Matcher",
    "Mode",
    "Not",
    "Pattern",
    "PatternError",
    "Step",
    "Steps",
    "Timeout",
    "Where",
]
