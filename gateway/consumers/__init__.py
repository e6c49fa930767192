"""Named consumers: programs and people that read the log from a place of their own, at their own speed.

The decisions are in `gateway/consumer.py`; here they meet the log: `shell` is what readers ask, `register` what the log
keeps of them, `known` one of them while the log is open. Everything is asked for: `begin` names a consumer and gives a
session, `fetch` hands out at most so many events and waits for some if there are none, `ack`, `nak` and `reject` answer
for them. So a slow reader holds nothing but its place, and nothing is sent that was not asked for.

One reader at a time: a new session ends the former one, and what that one had in its hands is given again. What is
settled rides in a commit that happens anyway (`record.py`), like the cursors of the sinks; the price of a crash is that
some events are given again, with the same ids. Where a consumer begins is committed before `begin` returns.

Only `protect: true` makes the log wait for a consumer. What is trimmed before the others have read it is named to them
as a gap. An unprotected consumer that nobody asked for 7 days is forgotten.
"""

from gateway.consumers.shell import Consumers
from gateway.consumers.words import ConsumerError, Handed, SessionTaken, Standing, TooManyConsumers

__all__ = ["ConsumerError", "Consumers", "Handed", "SessionTaken", "Standing", "TooManyConsumers"]
